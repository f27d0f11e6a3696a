"""``peelfleet gather``: the shards of a fleet that ran on several machines, as one run directory."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow.compute as pc

from devices.event_log import COLUMNS
from devices.simulated.roster import device_names
from emulator.cli.terminal import Console
from emulator.metrics.realtime_measurements import (
    ExpectedTimes,
    ShardMeasurements,
    ShardRun,
    read_measurements,
    summarize_shards,
)
from emulator.processes.shard_processes import MEASURED
from emulator.report.page import write_report
from emulator.run_directory.event_log import JOURNAL, read_draft
from emulator.run_directory.layout import SCENARIO, new_run_directory, read_scenario
from emulator.runner.runner import RunResult, write_results, write_scenario
from emulator.simulation.job import prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Outcome
from emulator.simulation.trace_files import read_trace_files
from scenarios.language.load import check_readable, parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.output_files import os_error_text

BEGIN_WITHIN_S = 60.0
"""Shards that nobody gave a moment begin when they are ready, some a little after others have ended."""


def gather(folders: Sequence[Path], out: Path, data: Path | None, store: Path | None) -> RunResult:
    """Write the run directory of the fleet whose shards lie in *folders*.

    Raises:
        InputError: a folder holds no shard, one did not end, or they are not all the shards of one run.
    """
    scenario, measured, notes = read_shards(folders)
    scenario = msgspec.structs.replace(scenario, data=resolve_data(scenario.data, data))
    check_readable(scenario)
    with (
        Console() as console,
        new_run_directory(out, scenario.name, scenario.seed, datetime.now()) as draft,
    ):
        recordings = read_trace_files(scenario.fleet, scenario.stop_time)
        prepared = prepare(scenario, store, draft.folder, training=console.training, recordings=recordings)
        console.prepared(prepared.models[0])
        for note in notes:
            console.warned(note)
        write_scenario(draft.folder, scenario)
        draft.keep()
        console.reporting()
        aborted = [each.aborted_ns for each in measured if each.aborted_ns is not None]
        outcome = Outcome(
            max(each.wall_seconds for each in measured),
            None,
            min(aborted, default=None),
            summarize_shards(measured, ExpectedTimes.from_scenario(scenario), {}),
        )
        summary = write_results(draft.folder, scenario, prepared.job, outcome, folders)
        write_report(draft.folder)
    return RunResult(draft.final, summary)


def read_shards(folders: Sequence[Path]) -> tuple[Scenario, list[ShardMeasurements], list[str]]:
    """Return what the shards in *folders* ran, what each measured, and notes on what cannot be checked.

    Raises:
        InputError: one is damaged or did not end, or they are not all the shards of one run.
    """
    scenario = _scenario(folders)
    measured = [_measured(folder) for folder in folders]
    _check_whole(folders, measured)
    notes = [*check_one_run(folders, measured), *_check_checksums(folders, measured)]
    _check_devices(folders, measured, len(list(device_names(scenario.fleet))))
    return scenario, measured, notes


def _scenario(folders: Sequence[Path]) -> Scenario:
    texts = {}
    for folder in folders:
        try:
            texts[folder] = read_scenario(folder, JOURNAL)
        except InputError as error:
            raise InputError(f"{folder}: holds no shard, as `devices --out` writes it: {error}") from None
    first = folders[0]
    for folder, text in texts.items():
        if text != texts[first]:
            raise InputError(f"{folder / SCENARIO} must be the same as {first / SCENARIO}")
    return parse(texts[first], str(first / SCENARIO))


def _measured(folder: Path) -> ShardMeasurements:
    try:
        return read_measurements(folder / MEASURED)
    except FileNotFoundError:
        raise InputError(f"{folder}: this shard did not end") from None
    except OSError as error:
        raise InputError(f"{folder / MEASURED}: cannot be read: {os_error_text(error)}") from None


def check_one_run(folders: Sequence[Path], measured: Sequence[ShardMeasurements]) -> list[str]:
    """Check that all shards are of one run, by what its shards share; return notes where that cannot be told.

    Raises:
        InputError: two are of different runs.
    """
    runs = [each.run for each in measured]
    first = runs[0]
    for folder, run in zip(folders, runs, strict=True):
        if (run is None) != (first is None):
            silent, other = (folder, folders[0]) if run is None else (folders[0], folder)
            raise InputError(f"{silent}: does not say of which run it is a shard, as {other} does")
        if run is not None and first is not None and (why := _difference(first, run, measured)):
            raise InputError(f"{folders[0]} and {folder} are shards of different runs: {why}")
    if len(runs) < 2 or (first is not None and (first.name, first.start_at) != (None, None)):
        return []
    if first is None:
        return [f"{folders[0]}: an older version wrote it: that all are shards of one run cannot be told"]
    return ["the shards have no --run and no --start-at: only their times say that they are of one run"]


def _difference(first: ShardRun, run: ShardRun, measured: Sequence[ShardMeasurements]) -> str | None:
    for what, one, other in (
        ("--run", first.name, run.name),
        ("fleet", first.fleet, run.fleet),
        ("model", ", ".join(first.models), ", ".join(run.models)),
        ("--start-at", first.start_at, run.start_at),
    ):
        if one != other:
            return f"{what} was {_shown(one)} and {_shown(other)}"
    apart_s = abs(first.began_at - run.began_at)
    longest_s = max(each.wall_seconds for each in measured)
    if (run.name, run.start_at) == (None, None) and apart_s > longest_s + BEGIN_WITHIN_S:
        return (
            f"they began {apart_s:,.0f} s apart and took {longest_s:,.0f} s; "
            "give the shards of one run the same --start-at, or --run"
        )
    return None


def _shown(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return "not given" if value is None else value


def _check_checksums(folders: Sequence[Path], measured: Sequence[ShardMeasurements]) -> list[str]:
    """Check that each shard that wrote checksums has them; return a note for each of an older version."""
    for folder, each in zip(folders, measured, strict=True):
        if each.has_checksums and not (folder / JOURNAL).exists():
            raise InputError(f"{folder / JOURNAL}: no such file, but the shard has written it")
    return [
        f"{folder}: has no {JOURNAL}: an older version wrote it, and damage to its log may show nowhere"
        for folder, each in zip(folders, measured, strict=True)
        if not each.has_checksums
    ]


def _check_devices(folders: Sequence[Path], measured: Sequence[ShardMeasurements], count: int) -> None:
    """Check that each shard's log is whole and of its own devices: files get mixed up in copying."""
    for folder, each in zip(folders, measured, strict=True):
        ours = set(range(each.shard, count, each.shards))
        for name in COLUMNS:
            if not ours.issuperset(pc.unique(read_draft(folder, name)["device"]).to_pylist()):
                raise InputError(
                    f"{folder / name}.arrows: holds devices that are not of shard {each.shard + 1} of "
                    f"{each.shards}: it is the log of another shard or run"
                )


def _check_whole(folders: Sequence[Path], measured: Sequence[ShardMeasurements]) -> None:
    count = measured[0].shards
    places = {each.shard: folder for each, folder in zip(measured, folders, strict=True)}
    if others := sorted({each.shards for each in measured} - {count}):
        raise InputError(
            f"{folders[0]} is one of {count} shards, others are of {others[0]}: one run has one count"
        )
    missing = [str(place + 1) for place in range(count) if place not in places]
    if missing or len(folders) != count:
        raise InputError(
            f"there must be each of {count} shards once; missing: {', '.join(missing) or 'none'}"
        )
