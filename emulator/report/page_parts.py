"""The parts of which pages are made: tables, texts and sections as values, and the templates that draw them.

The report and the web application draw with the same templates, style and script.
"""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Final, Literal

import msgspec
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from emulator.report.figures import ReportFigure, View
from emulator.report.terms import TERMS, explain

PAGES: Final = Path(__file__).parent / "pages"
STYLE: Final = PAGES / "parts.css"
CHARTS: Final = PAGES / "charts.js"
PLOTLY: Final = PAGES / "vendor" / "plotly-basic.min.js"
"""The part of plotly.js that draws lines and bars: a quarter of the whole."""
MOST_NARROW: Final = 5
"""Most columns of a table on a narrow page: one with more turns, into a block for each row."""
MOST_BESIDE: Final = 16
"""Most characters of cells of which two stand beside each other once a table has turned."""
MOST_ON_PAPER: Final = 9
"""Most columns of a table on paper."""


@dataclass(frozen=True)
class ReportCell:
    """A cell of a table."""

    text: str
    code: bool = False
    strong: bool = False
    mark: str = ""
    """A word that sets the row apart; it stands after the text."""
    link: str = ""
    """The address that it leads to."""


def _text(cell: ReportCell | str) -> str:
    return cell if isinstance(cell, str) else cell.text


@dataclass(frozen=True)
class ReportRow:
    """A row of a table."""

    cells: Sequence[ReportCell | str]
    state: Literal["", "passed", "failed", "worst"] = ""


@dataclass(frozen=True)
class ReportTable:
    """A table of texts."""

    kind: ClassVar[str] = "table"
    label: str
    """The name of the table, for who does not see it."""
    head: Sequence[str]
    rows: Sequence[ReportRow]
    left: int = 1
    """Number of columns that are texts, not numbers."""
    long: bool = False
    """True if it may have hundreds of rows."""

    @property
    def turns(self) -> str:
        """The classes that say where the table turns: on narrow pages, on paper, on both or on none."""
        columns = len(self.head)
        if columns <= MOST_NARROW:
            return ""
        texts = [*self.head, *(_text(cell) for row in self.rows for cell in row.cells[1:])]
        long = max(map(len, texts), default=0) > MOST_BESIDE
        return " ".join(["turns"] + ["in-lines"] * long + ["turns-on-paper"] * (columns > MOST_ON_PAPER))


@dataclass(frozen=True)
class ReportText:
    """Paragraphs or a list, with a heading of its own or without."""

    kind: ClassVar[str] = "text"
    lines: Sequence[str]
    heading: str = ""
    listed: bool = False
    """True for a list."""
    code: bool = False
    """True for a text that is shown as it stands, such as a file."""


@dataclass(frozen=True)
class ReportChoice:
    """Tables of which one is shown at a time."""

    kind: ClassVar[str] = "choice"
    name: str
    label: str
    tables: Sequence[ReportTable]


ReportPart = ReportTable | ReportText | ReportChoice | ReportFigure


@dataclass(frozen=True)
class ReportSection:
    """A section that folds; its finding is read without opening it."""

    name: str
    """Its anchor in the page."""
    topic: str
    finding: str
    """One sentence on what came out; empty if there is none."""
    caption: str
    """Tells what to look for, and what words mean."""
    parts: Sequence[ReportPart]
    folded: bool = False
    search: bool = False
    """True if the rows of its tables can be searched."""
    beside: bool = False
    """True for small figures that stand beside each other."""


@dataclass(frozen=True)
class PageScripts:
    """The scripts of a page that loads nothing."""

    texts: Sequence[str]

    @property
    def policy(self) -> Markup:
        """The sources of a content security policy that allow these scripts, and no other."""
        return Markup(" ".join(f"'{_sha256(text)}'" for text in self.texts))


def page_scripts(*own: Path) -> PageScripts:
    """Return the scripts of a page: its *own*, and those that draw charts.

    Its own come first: before a page is printed, they open what charts are in.
    """
    return PageScripts([path.read_text(encoding="utf-8") for path in (*own, PLOTLY, CHARTS)])


@cache
def environment(*packages: str) -> Environment:
    """Return the templates of *packages*, and before any other those of the parts."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, "emulator.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Callable[..., object]] = {"explained": explain, "embedded": embed_views}
    made.filters.update(filters)
    made.globals["TERMS"] = TERMS
    return made


def embed_views(views: Sequence[View]) -> Markup:
    """Return *views* as JSON without ``<``, so that it cannot end a script in the page."""
    return Markup(msgspec.json.encode(views).decode().replace("<", "\\u003c"))


def _sha256(script: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(script.encode()).digest()).decode()
