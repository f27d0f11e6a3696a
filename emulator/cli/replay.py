"""``peelfleet replay`` and ``peelfleet diff``: play a run again, and see where two event logs differ."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulator.cli.terminal import Console
from emulator.compare.event_log_diff import TableDiff, diff_tables
from emulator.replay.replay import read_replay, read_run
from emulator.run_directory.event_log import Tables, logical_sha256
from emulator.run_directory.manifest import list_unchecked
from emulator.run_directory.run_files import RunFiles
from emulator.runner.runner import RunOptions, RunResult, run

_DERIVED = ("devices", "metrics")
"""Tables that are no part of the event log."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to play, and how."""

    folder: Path
    overrides: Sequence[str] = ()
    clock: str | None = None


def replay(wanted: Wanted, options: RunOptions) -> RunResult:
    """Play a recorded run again and show what came of it.

    Raises:
        InputError: it is no finished run, or a change contradicts it.
        RunError: the replay failed.
    """
    with Console() as console:
        scenario, recording, warnings = read_replay(wanted.folder, wanted.overrides, wanted.clock)
        for warning in [*list_unchecked([wanted.folder]), *warnings]:
            console.warned(warning)
        finished = run(scenario, options, console, recording)
        if recording.exact and not finished.summary["replay_log_equal"]:
            console.warned(f"the event log differs from that of {wanted.folder}: --diff shows where")
    console.show(finished)
    return finished


def show_diff(before: Path, after: Path, say: Say, most: int) -> bool:
    """Say where the event logs of two runs differ; return whether they are equal.

    Args:
        before: a finished run.
        after: another.
        say: told line by line.
        most: how many differences of a table to show.

    Raises:
        InputError: one is no finished run, or is damaged.
    """
    for folder in (before, after):
        read_run(folder)
    runs = RunFiles(before), RunFiles(after)
    for note in list_unchecked([before, after]):
        say(f"note: {note}")
    one, other = (run.events for run in runs)
    found = [*diff_tables(one, other, most), *diff_tables(_derived(runs[0]), _derived(runs[1]), most)]
    equal = logical_sha256(one) == logical_sha256(other)
    for line in lines(found, equal):
        say(line)
    return equal


def _derived(run: RunFiles) -> Tables:
    """Return the tables of a run that hold no events: those that it has."""
    metrics = {} if run.metrics is None else {"metrics": run.metrics}
    return {"devices": run.devices(("device",)), **metrics}


def lines(found: Sequence[TableDiff], equal: bool) -> Iterator[str]:
    """Yield what a person reads of a difference.

    Args:
        found: a difference per table.
        equal: whether the event logs have the same hash.
    """
    yield f"{'':<12}{'equal':>10}{'changed':>10}{'only first':>12}{'only second':>13}"
    for table in found:
        yield (
            f"{table.name:<12}{table.equal:>10}{table.changed:>10}"
            f"{table.only_before:>12}{table.only_after:>13}"
        )
    for table in found:
        yield from table.samples
    other = [table.name for table in found if table.name in _DERIVED and not table.same]
    if other:
        yield f"tables that are not part of the event log differ: {', '.join(other)}"
    if equal:
        yield "the event logs are the same"
    elif all(table.same for table in found if table.name not in _DERIVED):
        yield "the event logs differ only in the order of a device's rows"
    else:
        yield "the event logs differ"
