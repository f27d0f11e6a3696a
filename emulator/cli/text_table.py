"""A table of texts for the terminal: as a table where it fits, else as lines, a figure in each.

No cell is ever cut. Only as many columns are used as the terminal has; a file or a pipe has `LINE` columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emulator.cli.terminal_width import needed_width, plain_for, print_prose


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Named rows of texts."""

    title: str
    head: Sequence[str]
    """Headings, that of the names of the rows first."""
    rows: Sequence[Sequence[str]]
    """The texts of each row, its name first; a text may have several lines."""
    words: Sequence[str] = ()
    """Headings of columns of words; others have numbers, which stand on the right."""
    caption: str = ""
    narrow: Sequence[str] = ()
    """Lines to print where the terminal is too narrow; without them, a line for each text is printed."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """Styles of the texts that are a key of it."""


def print_table(terminal: Console, table: TextTable) -> None:
    """Print *table*, as lines where the terminal is too narrow for it."""
    if not table.rows:
        return
    drawn = _drawn(terminal, table)
    width = needed_width(terminal, drawn)
    if width <= terminal.width:
        terminal.print(drawn)
    else:
        print_prose(terminal, f"{table.title} (as lines: the table needs {width} columns)", style="italic")
        for line in map(Text, table.narrow) if table.narrow else table_lines(table):
            terminal.print(Text(plain_for(terminal, line.plain), spans=line.spans), soft_wrap=True)
        terminal.print()
    if table.caption:
        print_prose(terminal, table.caption)
        terminal.print()


def _drawn(terminal: Console, table: TextTable) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, title=Text(plain_for(terminal, table.title)))
    for name in table.head:
        left = name in (table.head[0], *table.words)
        drawn.add_column(Text(plain_for(terminal, name)), justify="left" if left else "right", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(_styled(table, plain_for(terminal, cell)) for cell in row))
    return drawn


def table_lines(table: TextTable) -> Iterator[Text]:
    """Yield the name of each row, and below it a line for each of its texts."""
    widest = max(map(len, table.head[1:]), default=0)
    for name, *cells in table.rows:
        yield Text(name, style="bold")
        for heading, cell in zip(table.head[1:], cells, strict=True):
            yield Text.assemble(f"    {heading:<{widest}}  ", _styled(table, "  ".join(cell.split("\n"))))


def _styled(table: TextTable, cell: str) -> Text:
    return Text(cell, style=table.styles.get(cell, ""))
