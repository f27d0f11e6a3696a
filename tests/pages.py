"""The examples on the pages of the documentation."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: Path, language: str = "") -> Sequence[str]:
    """Return the blocks of code of a page that are in *language*; without one, blocks of commands."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block[2] for block in found if block[1] == language]


def commands(page: Path) -> Sequence[Sequence[str]]:
    """Return the arguments of each command `peelfleet` on a page."""
    return [shlex.split(line)[1:] for block in blocks(page) for line in block.splitlines()]
