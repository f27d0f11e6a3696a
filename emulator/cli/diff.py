"""``peelfleet diff``: the rows in which the event logs of two runs differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import Json, RunDirectory, quiet_option
from emulator.cli.terminal_width import print_prose, wide_terminal
from emulator.cli.text_table import TextTable, print_table
from emulator.compare.event_log_diff import TableDiff
from emulator.compare.run_diff import DERIVED, diff_runs
from emulator.replay.replay import read_run
from emulator.run_directory.event_reader import EventReader
from emulator.run_directory.manifest import list_unchecked
from emulator.run_directory.run_files import RunFiles

SAMPLES: Final = 5
"""Differences to show of each table, by default."""
_COUNTS: Final = ("equal", "changed", "only_before", "only_after")
"""The counts of rows of a `TableDiff`."""


def diff(
    first: RunDirectory,
    second: RunDirectory,
    samples: Annotated[
        int, typer.Option(min=0, max=1000, help="Differences to show of each table.")
    ] = SAMPLES,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 99 if they differ.")] = False,
    json: Json = False,
    quiet: Annotated[bool, quiet_option("Print only whether they differ.")] = False,
) -> None:
    """Show where the event logs of two runs differ, row by row."""
    found = compare_logs(first, second, samples)
    if json:
        typer.echo(msgspec.json.encode(found.facts()).decode())
    else:
        found.show(quiet=quiet)
    if strict and not found.equal:
        raise typer.Exit(THRESHOLD_BROKE)


@dataclass(frozen=True)
class LogDifference:
    """The difference between the event logs of two runs."""

    equal: bool
    """True if both have the same hash."""
    tables: Sequence[TableDiff]
    notes: Sequence[str]
    """Notes on runs without checksums."""

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.equal:
            return "the event logs are the same"
        if all(table.same for table in self.tables if table.name not in DERIVED):
            return "the event logs differ only in the order of a device's rows"
        return "the event logs differ"

    @property
    def derived(self) -> list[str]:
        """The tables that are not part of the event log, and differ."""
        return [table.name for table in self.tables if table.name in DERIVED and not table.same]

    def facts(self) -> dict[str, object]:
        """Return the difference for JSON."""
        return {
            "equal": self.equal,
            "verdict": self.verdict,
            "tables": {
                table.name: {name: getattr(table, name) for name in _COUNTS} | {"samples": table.samples}
                for table in self.tables
            },
            "notes": self.notes,
        }

    def show(self, *, quiet: bool = False) -> None:
        """Print the counts of each table, the first differences, and the verdict; only that if *quiet*."""
        terminal = wide_terminal()
        if not quiet:
            for note in self.notes:
                print_prose(terminal, f"note: {note}")
            print_table(terminal, self._counts())
            for table in self.tables:
                for sample in table.samples:
                    print_prose(terminal, sample)
            if self.derived:
                names = ", ".join(self.derived)
                print_prose(terminal, f"tables that are not part of the event log differ: {names}")
        print_prose(terminal, self.verdict)

    def _counts(self) -> TextTable:
        return TextTable(
            title="rows",
            head=("table", "equal", "changed", "only first", "only second"),
            rows=[(table.name, *(f"{getattr(table, name):,}" for name in _COUNTS)) for table in self.tables],
        )


def compare_logs(before: Path, after: Path, samples: int) -> LogDifference:
    """Return the difference between the event logs of two runs.

    Args:
        before: a finished run.
        after: another finished run.
        samples: the maximum number of differences to describe of each table.

    Raises:
        InputError: one is not a finished run, or is damaged.
    """
    for folder in (before, after):
        read_run(folder)
    tables = diff_runs(RunFiles(before), RunFiles(after), samples)
    equal = EventReader(before).sha256() == EventReader(after).sha256()
    return LogDifference(equal, tables, list_unchecked([before, after]))
