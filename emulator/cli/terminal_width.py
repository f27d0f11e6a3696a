"""Terminal widths: wide tables if there is room, and no number is cut."""

import os

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

LINE = 160


def wide_terminal() -> Console:
    """Return standard output; wide where no screen limits it: a file or a pipe, and no COLUMNS is set."""
    terminal = Console()
    if terminal.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
        return terminal
    return Console(width=LINE)


def fits(terminal: Console, table: Table) -> bool:
    """Tell whether *terminal* is wide enough to show *table* whole."""
    return Measurement.get(terminal, terminal.options.update(width=10_000), table).maximum <= terminal.width


def print_line(terminal: Console, line: str) -> None:
    """Print *line* as it is: brackets in it are brackets, and it is never cut."""
    terminal.print(line, soft_wrap=True, highlight=False, markup=False)


def plain_for(terminal: Console, text: str) -> str:
    """Return *text* with signs that the terminal's encoding has."""
    try:
        text.encode(terminal.encoding)
    except (UnicodeEncodeError, LookupError):
        return text.replace("±", "+-").replace("×", "x")
    return text
