"""Terminal widths: wide tables if there is room, and no number is cut."""

import os

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


def fits(terminal: Console, table: Table) -> bool:
    """Return whether *terminal* is wide enough for *table*."""
    return Measurement.get(terminal, terminal.options.update(width=10_000), table).maximum <= terminal.width


def print_line(terminal: Console, line: str) -> None:
    """Print *line* unchanged: without markup, and never cut."""
    terminal.print(line, soft_wrap=True, highlight=False, markup=False)


def plain_for(terminal: Console, text: str) -> str:
    """Return *text* without signs that the terminal's encoding lacks."""
    try:
        text.encode(terminal.encoding)
    except (UnicodeEncodeError, LookupError):
        return text.replace("±", "+-").replace("×", "x")
    return text
