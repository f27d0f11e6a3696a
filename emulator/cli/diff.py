"""``peelfleet diff``: the rows in which the event logs of two runs differ."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import RunDirectory
from emulator.compare.event_log_diff import TableDiff
from emulator.compare.run_diff import DERIVED, diff_runs
from emulator.replay.replay import read_run
from emulator.run_directory.event_reader import EventReader
from emulator.run_directory.manifest import list_unchecked
from emulator.run_directory.run_files import RunFiles

SAMPLES: Final = 5
"""Differences to show of each table, by default."""


def diff(
    first: RunDirectory,
    second: RunDirectory,
    samples: Annotated[
        int, typer.Option(min=0, max=1000, help="Differences to show of each table.")
    ] = SAMPLES,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 99 if they differ.")] = False,
) -> None:
    """Show where the event logs of two runs differ, row by row."""
    equal, lines = describe_difference(first, second, samples)
    for line in lines:
        typer.echo(line)
    if strict and not equal:
        raise typer.Exit(THRESHOLD_BROKE)


def describe_difference(before: Path, after: Path, samples: int) -> tuple[bool, list[str]]:
    """Return whether the event logs of two runs are equal, and lines that describe their differences.

    Args:
        before: a finished run.
        after: another finished run.
        samples: the maximum number of differences to describe of each table.

    Raises:
        InputError: one is not a finished run, or is damaged.
    """
    for folder in (before, after):
        read_run(folder)
    differences = diff_runs(RunFiles(before), RunFiles(after), samples)
    equal = EventReader(before).sha256() == EventReader(after).sha256()
    notes = (f"note: {note}" for note in list_unchecked([before, after]))
    return equal, [*notes, *_lines(differences, equal)]


def _lines(differences: Sequence[TableDiff], equal: bool) -> Iterator[str]:
    """Yield the lines that describe a difference.

    Args:
        differences: one per table.
        equal: whether the event logs have the same hash.
    """
    yield f"{'':<12}{'equal':>10}{'changed':>10}{'only first':>12}{'only second':>13}"
    for table in differences:
        yield (
            f"{table.name:<12}{table.equal:>10}{table.changed:>10}"
            f"{table.only_before:>12}{table.only_after:>13}"
        )
    for table in differences:
        yield from table.samples
    derived = [table.name for table in differences if table.name in DERIVED and not table.same]
    if derived:
        yield f"tables that are not part of the event log differ: {', '.join(derived)}"
    if equal:
        yield "the event logs are the same"
    elif all(table.same for table in differences if table.name not in DERIVED):
        yield "the event logs differ only in the order of a device's rows"
    else:
        yield "the event logs differ"
