"""Terminal widths: what fits is printed as it is, and no number is cut."""

import os
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

LINE = 160


def wide_terminal() -> Console:
    """Return standard output; a file or a pipe is wide, unless COLUMNS is set."""
    terminal = Console()
    if terminal.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
        return terminal
    return Console(width=LINE)


def needed_width(terminal: Console, table: Table) -> int:
    """Return the number of columns that *table* needs on *terminal*."""
    return Measurement.get(terminal, terminal.options.update(width=10_000), table).maximum


def print_line(terminal: Console, line: str, style: str | None = None) -> None:
    """Print *line* unchanged: without markup, and never cut."""
    terminal.print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def print_prose(
    terminal: Console, text: str, style: str | None = None, indent: int = 0, hanging: int = 0
) -> None:
    """Print *text* in lines that fit into *terminal*, broken between words; in a file or a pipe as it is.

    Args:
        terminal: standard output or standard error.
        text: words, which may have line breaks.
        style: of the text.
        indent: of all lines, in columns.
        hanging: of the lines that continue another one, besides.
    """
    width = terminal.width - indent if terminal.is_terminal else None
    for line in prose_lines(plain_for(terminal, text), width, hanging):
        print_line(terminal, " " * indent + line, style)


def prose_lines(text: str, width: int | None, hanging: int = 0) -> Sequence[str]:
    """Return the lines of *text*, broken between words at *width* columns; a longer word is left whole.

    Args:
        text: words, which may have line breaks.
        width: None: lines stay as long as they are.
        hanging: indent of the lines that continue another one, in columns.
    """
    if width is None:
        return text.split("\n")
    return [
        part
        for line in text.split("\n")
        for part in textwrap.wrap(
            line,
            max(width, 1),
            subsequent_indent=" " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [""]
    ]


def plain_for(terminal: Console, text: str) -> str:
    """Return *text* without signs that the terminal's encoding lacks."""
    try:
        text.encode(terminal.encoding)
    except (UnicodeEncodeError, LookupError):
        return text.replace("±", "+-").replace("×", "x")
    return text
