"""Turn the formulas of a page into MathML, which browsers show without a script: a hook of MkDocs."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert


def on_page_content(html: str, **_: Any) -> str:  # Any: what MkDocs says of the page
    """Return the page with its formulas as MathML."""
    return re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>',
        lambda formula: convert(unescape(formula[1])),
        html,
        flags=re.DOTALL,
    )
