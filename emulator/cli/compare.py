"""``peelfleet compare``: effects, intervals and verdicts, as a table, as JSON and as CSV."""

import csv as csv_format
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import path_option, quiet_option
from emulator.cli.terminal_width import print_prose, wide_terminal
from emulator.cli.text_table import TextTable, print_table
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

STANDARD_OUTPUT: Final = Path("-")
"""The name of a file that stands for standard output."""


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="Run directories, or folders of runs; the first is the baseline.", metavar="A B [C...]"
        ),
    ],
    json: Annotated[Path | None, path_option("File for the comparison, as JSON; - prints it.")] = None,
    csv: Annotated[Path | None, path_option("File to write a row per metric to.")] = None,
    fail_on_difference: Annotated[
        bool, typer.Option("--fail-on-difference", help="Exit with 99 if a metric differs.")
    ] = False,
    quiet: Annotated[bool, quiet_option("Print only the verdict on each comparison.")] = False,
) -> None:
    """Show how runs differ from the first: paired by device and seed, with confidence intervals."""
    comparisons = compare_runs(sides)
    for note in list_notes(comparisons):
        typer.echo(f"note: {note}", err=True)
    if json == STANDARD_OUTPUT:
        typer.echo(json_text(comparisons))
        json = None
    else:
        show(comparisons, quiet=quiet)
    write(comparisons, json, csv)
    if fail_on_difference and any(comparison.differs for comparison in comparisons):
        raise typer.Exit(THRESHOLD_BROKE)


def show(comparisons: Sequence[Comparison], *, quiet: bool = False) -> None:
    """Print each comparison: its sides, warnings, effects and verdict; only the verdict if it is *quiet*."""
    terminal = wide_terminal()
    for comparison in comparisons:
        if not quiet:
            for line in (*headlines(comparison), *list_warnings(comparison)):
                print_prose(terminal, line)
            print_table(terminal, effects_table(comparison))
        print_prose(terminal, conclusion(comparison))


def effects_table(comparison: Comparison) -> TextTable:
    """Return a table for people: effect, interval, verdict."""
    metrics = comparison.metrics.items()
    return TextTable(
        title=title(comparison),
        head=("metric", "baseline", "compared", "difference", "relative", "interval", "verdict"),
        words=("verdict",),
        rows=[(name, *metric_cells(name, judged), verdict(name, judged)) for name, judged in metrics],
        narrow=[line for name, judged in metrics for line in (*metric_lines(name, judged), "")][:-1],
    )


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


def json_text(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as JSON: a list with an object for each."""
    plain = [as_plain(comparison) for comparison in comparisons]
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()


def write(comparisons: Sequence[Comparison], json: Path | None, csv: Path | None) -> None:
    """Write the comparisons to the JSON file and to the CSV file, if they are given.

    Raises:
        InputError: a file cannot be written.
    """
    try:
        if json is not None:
            write_atomically(json, f"{json_text(comparisons)}\n".encode())
        if csv is not None:
            with atomic_file(csv) as draft, draft.open("w", newline="", encoding="utf-8") as file:
                rows = [row for comparison in comparisons for row in metric_rows(comparison)]
                writer = csv_format.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None
