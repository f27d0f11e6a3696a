"""``peelfleet gather``: one run directory of the shards of a fleet that ran on several machines."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from devices.event_log import COLUMNS
from devices.simulated.roster import count_devices
from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import Data, Out, RunJson, RunQuiet, Store
from emulator.cli.terminal import RunDisplay
from emulator.metrics.realtime_measurements import (
    ExpectedTimes,
    ShardMeasurements,
    ShardRun,
    read_measurements,
    summarize_shards,
)
from emulator.processes.shard_processes import MEASURED
from emulator.report.page import write_report
from emulator.run_directory.event_log import JOURNAL, read_draft_rows
from emulator.run_directory.event_split import draft_rows, split_rows
from emulator.run_directory.layout import EVENTS, SCENARIO, new_run_directory, read_scenario
from emulator.runner.observer import RunObserver
from emulator.runner.ranges import range_executor
from emulator.runner.resolved_scenario import write_scenario
from emulator.runner.results import write_results
from emulator.runner.runner import RunResult
from emulator.simulation.job import prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Outcome
from emulator.simulation.trace_files import read_trace_files
from scenarios.language.load import check_readable, parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.output_files import os_error_text

BEGIN_WITHIN_S = 60.0
"""Shards without a start time begin when they are ready: some a little after others have ended."""


def gather(
    shards: Annotated[
        list[Path], typer.Argument(help="Folders as `devices --out` wrote them.", show_default=False)
    ],
    out: Out = Path("runs"),
    data: Data = None,
    store: Store = None,
    json: RunJson = False,
    quiet: RunQuiet = False,
) -> None:
    """Make a run directory of the shards of a fleet that ran on several machines."""
    with RunDisplay(quiet=quiet) as display:
        finished = gather_shards(shards, out, data, store, display)
    display.show(finished, json=json)
    if not finished.passed:
        raise typer.Exit(THRESHOLD_BROKE)


def gather_shards(
    folders: Sequence[Path], out: Path, data: Path | None, store: Path | None, observer: RunObserver
) -> RunResult:
    """Write the run directory of the fleet whose shards are in *folders*.

    Args:
        folders: one for each shard.
        out: the folder for run directories.
        data: replaces the path of the scenario's data.
        store: where models are cached; None: the default.
        observer: receives warnings and progress.

    Raises:
        InputError: a folder holds no shard, a shard did not end, or they are not all the shards of one run.
    """
    scenario, measured, notes = read_shards(folders)
    scenario = msgspec.structs.replace(scenario, data=resolve_data(scenario.data, data))
    check_readable(scenario)
    with new_run_directory(out, scenario.name, scenario.seed, datetime.now()) as draft:
        recordings = read_trace_files(scenario.fleet, scenario.stop_time)
        prepared = prepare(scenario, store, draft.folder, on_training=observer.on_training, traces=recordings)
        observer.on_model(prepared.models[0])
        for note in notes:
            observer.on_warning(note)
        write_scenario(draft.folder, scenario)
        draft.keep()
        observer.on_writing()
        aborted = [shard.aborted_ns for shard in measured if shard.aborted_ns is not None]
        outcome = Outcome(
            max(shard.wall_seconds for shard in measured),
            None,
            min(aborted, default=None),
            summarize_shards(measured, ExpectedTimes.from_scenario(scenario), {}),
        )
        devices = len(prepared.job.devices)
        leaves = split_rows(draft_rows(folders), devices, draft.folder / EVENTS, wall=True)
        with range_executor(None, devices) as executor:
            summary = write_results(draft.folder, scenario, prepared.job, outcome, leaves, executor)
            write_report(draft.folder, executor)
    return RunResult(draft.final, summary)


def read_shards(folders: Sequence[Path]) -> tuple[Scenario, list[ShardMeasurements], list[str]]:
    """Return the scenario of the shards in *folders*, their measurements, and notes on missing checks.

    Raises:
        InputError: a shard is damaged or did not end, or they are not all the shards of one run.
    """
    scenario = _scenario(folders)
    measured = [_measured(folder) for folder in folders]
    _check_complete(folders, measured)
    notes = [*check_one_run(folders, measured), *_check_checksums(folders, measured)]
    _check_devices(folders, measured, count_devices(scenario.fleet))
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
    """Check that all shards are of one run; return notes if that cannot be known.

    Raises:
        InputError: two are of different runs.
    """
    runs = [shard.run for shard in measured]
    first = runs[0]
    for folder, run in zip(folders, runs, strict=True):
        if (run is None) != (first is None):
            silent, other = (folder, folders[0]) if run is None else (folders[0], folder)
            raise InputError(f"{silent}: does not name its run, as {other} does")
        if run is not None and first is not None and (why := _difference(first, run, measured)):
            raise InputError(f"{folders[0]} and {folder} are shards of different runs: {why}")
    if len(runs) < 2 or (first is not None and (first.name, first.start_at) != (None, None)):
        return []
    if first is None:
        return [
            f"{folders[0]}: an older version wrote it: it cannot be checked that all shards are of one run"
        ]
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
    longest_s = max(shard.wall_seconds for shard in measured)
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
    for folder, shard in zip(folders, measured, strict=True):
        if shard.has_checksums and not (folder / JOURNAL).exists():
            raise InputError(f"{folder / JOURNAL}: no such file, but the shard has written it")
    return [
        f"{folder}: has no {JOURNAL}: an older version wrote it, and damage to its log may show nowhere"
        for folder, shard in zip(folders, measured, strict=True)
        if not shard.has_checksums
    ]


def _check_devices(folders: Sequence[Path], measured: Sequence[ShardMeasurements], count: int) -> None:
    """Check that each shard's log holds only its own devices: files may be mixed up in copying."""
    for folder, shard in zip(folders, measured, strict=True):
        ours = set(range(shard.shard, count, shard.shards))
        for name in COLUMNS:
            numbers = (np.unique(rows["device"]).tolist() for rows in read_draft_rows(folder, name))
            if not all(ours.issuperset(batch) for batch in numbers):
                raise InputError(
                    f"{folder / name}.arrows: holds devices that are not of shard {shard.shard + 1} of "
                    f"{shard.shards}: it is the log of another shard or run"
                )


def _check_complete(folders: Sequence[Path], measured: Sequence[ShardMeasurements]) -> None:
    count = measured[0].shards
    indices = {shard.shard for shard in measured}
    if others := sorted({shard.shards for shard in measured} - {count}):
        raise InputError(
            f"{folders[0]} is one of {count} shards, others are of {others[0]}: one run has one count"
        )
    missing = [str(index + 1) for index in range(count) if index not in indices]
    if missing or len(folders) != count:
        raise InputError(
            f"there must be each of {count} shards once; missing: {', '.join(missing) or 'none'}"
        )
