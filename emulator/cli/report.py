"""``peelfleet report``: of a run, written again, or from its partial log; or one page over several runs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np
import typer

from devices.event_log import WALL
from emulator.cli.options import Data, Store, path_option, quiet_option
from emulator.cli.terminal import RunDisplay
from emulator.report.page import write_report
from emulator.run_directory.event_split import TableRows, draft_rows, part_rows, renumber, split_rows
from emulator.run_directory.layout import (
    DRAFTS,
    EVENTS,
    PARTIAL,
    PARTS,
    REPORT,
    SCENARIO,
    SUMMARY,
    read_scenario,
)
from emulator.run_directory.manifest import list_unchecked
from emulator.run_directory.model_note import ModelNote, read_model_note
from emulator.runner.ranges import range_executor
from emulator.runner.results import write_results
from emulator.runs_report.page import is_sweep, write_runs_report
from emulator.simulation.job import PreparedJob, prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Outcome
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.units import NS_PER_S


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="A run directory, finished or not; or several, or folders of runs, the baseline first; or a "
            "sweep.",
            metavar="RUN...",
        ),
    ],
    out: Annotated[
        Path | None,
        path_option(
            "File of the page over several runs; default: comparison.html, of a sweep its report.html."
        ),
    ] = None,
    data: Data = None,
    store: Store = None,
    quiet: Annotated[bool, quiet_option("Print the files only; no progress.")] = False,
) -> None:
    """Write the report of a run again, even of an unfinished one; or one page over several runs."""
    if len(runs) > 1 or is_sweep(Path(runs[0])):
        file = out or (Path(runs[0]) / REPORT if len(runs) == 1 else Path("comparison.html"))
        typer.echo(write_runs_report(runs, file))
        return
    if out is not None:
        raise InputError(f"--out(={out}) is for several runs: the report of one lies in its folder")
    folder = Path(runs[0])
    for line in rewrite_report(folder, data, store, quiet=quiet):
        typer.echo(line)
    for note in list_unchecked([folder]):
        typer.echo(f"note: {note}", err=True)


def rewrite_report(folder: Path, data: Path | None, store: Path | None, *, quiet: bool = False) -> list[str]:
    """Write the report of the run in *folder*; return lines for the user.

    Args:
        folder: a run directory, finished or not.
        data: the folder or file of the scenario's data; only an unfinished run needs them.
        store: the folder of cached models; likewise. None: the folder that the run had.
        quiet: True to show no progress.

    Raises:
        InputError: the folder is not a run directory, is damaged, or nothing was logged.
    """
    drafts = sorted(path for path in folder.glob(DRAFTS) if any(path.iterdir()))
    logged = bool(drafts) or (folder / PARTS).exists()
    if not logged and not folder.name.endswith(PARTIAL):
        return [str(write_report(folder))]
    if logged:
        words = _measure(folder, drafts, data, store, quiet=quiet)
    elif (folder / SUMMARY).exists():
        words = "the simulation had ended, but its tables and report may be incomplete"
    elif not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    else:
        raise InputError(f"{folder}: this run did not finish, and had logged nothing")
    return [f"NOT FINISHED: {words}", str(write_report(folder))]


def _measure(
    folder: Path, drafts: Sequence[Path], data: Path | None, store: Path | None, *, quiet: bool
) -> str:
    """Write the results of the draft journals to the run directory; return a line on their extent."""
    scenario = parse(read_scenario(folder), str(folder / SCENARIO))
    if folder.name.startswith(f"{scenario.name}-replay-"):
        raise InputError(
            f"{folder}: this replay did not finish, and cannot be measured: replay the recording again"
        )
    scenario = _with_data(scenario, data)
    note = read_model_note(folder)
    with RunDisplay(quiet=quiet) as display:
        if store is None and note is not None:
            store = Path(note.store)
            if not store.exists():
                display.on_warning(f"{store}: does not exist any more: the model of the run is trained again")
        prepared = prepare(scenario, store, folder / PARTS, on_training=display.on_training)
        display.on_model(prepared.models[0])
        _check_models(folder, note, prepared)
        display.on_writing()
        job, extent = prepared.job, _Extent.of(_logged(folder, drafts))
        if not extent.states:
            raise InputError(f"{folder}: this run did not finish, and had logged nothing of its devices")
        wall = scenario.clock != "virtual"
        rows = renumber(_logged(folder, drafts), extent.devices)
        leaves = split_rows(rows, len(extent.devices), folder / EVENTS, wall=wall)
        outcome = Outcome(
            extent.wall_s if wall else _seconds_since_start(folder), None,
            unfinished_ns=min(extent.end_ns, int(scenario.stop_time)),
        )  # fmt: skip
        devices = [job.devices[number] for number in extent.devices]
        with range_executor(None, len(devices)) as executor:
            write_results(folder, scenario, replace(job, devices=devices), outcome, leaves, executor)
    end_s, stop_s = extent.end_ns / NS_PER_S, scenario.stop_time / NS_PER_S
    return (
        f"this run had come to {end_s:,.0f} s of {stop_s:,.0f} s of simulated time; what follows is measured "
        f"on that part, of {len(devices)} of {len(job.devices)} devices"
    )


def _logged(folder: Path, drafts: Sequence[Path]) -> Iterator[TableRows]:
    """Yield all rows that the run had logged: in parts of its ranges, or in drafts."""
    yield from part_rows(folder / PARTS)
    yield from draft_rows(drafts)


@dataclass(frozen=True)
class _Extent:
    """The extent of what a run had logged."""

    devices: Sequence[int]
    """Numbers of the devices that have a row, in order."""
    states: int
    """Number of rows of the quality table, without which nothing can be measured."""
    end_ns: int
    """The latest simulated time."""
    wall_s: float
    """Wall time from the first to the last row."""

    @classmethod
    def of(cls, rows: Iterable[TableRows]) -> Self:
        """Return the extent of *rows*."""
        seen, states, end_ns, first_s, last_s = set[int](), 0, 0, math.inf, 0.0
        for name, batch in rows:
            states += len(batch) if name == "quality" else 0
            if len(batch):
                seen.update(np.unique(batch["device"]).tolist())
                end_ns = max(end_ns, int(batch["t_ns"].max()))
                first_s = min(first_s, float(batch[WALL].min()))
                last_s = max(last_s, float(batch[WALL].max()))
        return cls(sorted(seen), states, end_ns, max(last_s - first_s, 0.0))


def _seconds_since_start(folder: Path) -> float:
    """Return the wall time from the start of the run in *folder* to its last part."""
    parts = [file.stat().st_mtime for file in (folder / PARTS).glob("*/*")]
    started_s = (folder / SCENARIO).stat().st_mtime
    return max(max(parts, default=started_s) - started_s, 0.0)


def _check_models(folder: Path, note: ModelNote | None, prepared: PreparedJob) -> None:
    """Check that the models are those of the run: with others, its quality would differ."""
    versions = tuple(model.store.version for model in prepared.models)
    if note is not None and note.versions != versions:
        raise InputError(
            f"{folder}: this run had model {', '.join(note.versions)}, but the cached or newly trained "
            f"model is {', '.join(versions)}: name the folder that caches its model with --store"
        )


def _with_data(scenario: Scenario, data: Path | None) -> Scenario:
    return msgspec.structs.replace(scenario, data=resolve_data(scenario.data, data))
