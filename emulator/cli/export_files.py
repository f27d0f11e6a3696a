"""Options of verbs that write a table or a figure for a paper."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from rich.console import Console

from emulator.cli.options import path_option
from emulator.cli.terminal_width import print_line
from emulator.exports.figure_file import check_figure_file
from emulator.exports.table_file import check_table_file

TableFiles = Annotated[
    list[Path] | None, path_option("File for the table: .csv, .parquet, .tex or .md; may be repeated.")
]
FigureFiles = Annotated[
    list[Path] | None, path_option("File for the figure: .svg, .png or .html; may be repeated.")
]


def check_files(tables: Sequence[Path] | None, figures: Sequence[Path] | None) -> None:
    """Check the names of the files before anything takes time.

    Raises:
        InputError: an ending is unknown, or what draws it is not installed.
    """
    for file in tables or ():
        check_table_file(file)
    for file in figures or ():
        check_figure_file(file)


def write_files(
    tables: Sequence[Path] | None,
    figures: Sequence[Path] | None,
    write_table: Callable[[Path], None],
    write_figure: Callable[[Path], None],
    *,
    names: bool = True,
) -> None:
    """Write the files, and print their *names*."""
    terminal = Console(quiet=not names)
    for file in tables or ():
        write_table(file)
        print_line(terminal, f"table: {file}")
    for file in figures or ():
        write_figure(file)
        print_line(terminal, f"figure: {file}")
