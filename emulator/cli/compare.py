"""``peelfleet compare``: effects, intervals and verdicts, as a table, as JSON and as CSV."""

import csv as csv_format
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.table import Table

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import path_option
from emulator.cli.terminal_width import fits, print_line, wide_terminal
from emulator.compare.compare_runs import compare_runs, list_notes
from emulator.compare.descriptions import (
    as_plain,
    conclusion,
    headlines,
    list_warnings,
    metric_cells,
    metric_rows,
    title,
    verdict,
)
from emulator.compare.run_sets import Comparison
from emulator.compare.statistics import MetricDifference
from wire.errors import InputError
from wire.output_files import atomic_file, write_atomically


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="Run directories, or folders of runs; the first is the baseline.", metavar="A B [C...]"
        ),
    ],
    json: Annotated[Path | None, path_option("File to write the comparison to, as JSON.")] = None,
    csv: Annotated[Path | None, path_option("File to write a row per metric to.")] = None,
    fail_on_difference: Annotated[
        bool, typer.Option("--fail-on-difference", help="Exit with 99 if a metric differs.")
    ] = False,
) -> None:
    """Show how runs differ from the first: paired by device and seed, with confidence intervals."""
    comparisons = compare_runs(sides)
    for note in list_notes(comparisons):
        typer.echo(f"note: {note}", err=True)
    show(comparisons)
    write(comparisons, json, csv)
    if fail_on_difference and any(comparison.differs for comparison in comparisons):
        raise typer.Exit(THRESHOLD_BROKE)


def show(comparisons: Sequence[Comparison]) -> None:
    """Print each comparison: its sides, warnings, effects and verdict."""
    terminal = wide_terminal()
    for comparison in comparisons:
        for line in (*headlines(comparison), *list_warnings(comparison)):
            print_line(terminal, line)
        table = effects_table(comparison)
        if fits(terminal, table):
            terminal.print(table)
        else:
            for line in effects_lines(comparison):
                print_line(terminal, line)
        print_line(terminal, conclusion(comparison))


def effects_table(comparison: Comparison) -> Table:
    """Return a table for people: effect, interval, verdict."""
    table = Table(box=box.SIMPLE_HEAD, title=title(comparison))
    for name in ("metric", "baseline", "compared", "difference", "relative", "interval", "verdict"):
        table.add_column(name, justify="left" if name in ("metric", "verdict") else "right", no_wrap=True)
    for name, judged in comparison.metrics.items():
        table.add_row(name, *metric_cells(name, judged), verdict(name, judged))
    return table


def effects_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the table as short lines, for a narrow terminal."""
    yield ""
    yield title(comparison)
    for name, judged in comparison.metrics.items():
        yield ""
        yield from metric_lines(name, judged)
    yield ""


def metric_lines(name: str, judged: MetricDifference) -> Iterator[str]:
    """Yield the results of one metric, a line for each figure."""
    first, second, difference, relative, interval = metric_cells(name, judged)
    yield name
    yield f"    verdict    {verdict(name, judged)}"
    yield f"    {first} -> {second}"
    if not judged.equal:
        yield f"    difference {difference} ({relative})"
    if interval != "-":
        yield f"    interval   {interval}"


def write(comparisons: Sequence[Comparison], json: Path | None, csv: Path | None) -> None:
    """Write the comparisons to the JSON file and to the CSV file, if they are given.

    Raises:
        InputError: a file cannot be written.
    """
    try:
        if json is not None:
            text = msgspec.json.format(
                msgspec.json.encode([as_plain(comparison) for comparison in comparisons]), indent=2
            )
            write_atomically(json, text + b"\n")
        if csv is not None:
            with atomic_file(csv) as draft, draft.open("w", newline="", encoding="utf-8") as file:
                rows = [row for comparison in comparisons for row in metric_rows(comparison)]
                writer = csv_format.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None
