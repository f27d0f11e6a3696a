"""``peelfleet report``: the report of a run, written again; of an unfinished run, from its partial log."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import pyarrow.compute as pc
import typer

from emulator.cli.options import Data, Store
from emulator.cli.terminal import RunDisplay
from emulator.report.page import write_report
from emulator.run_directory.event_log import Tables, merge_shards
from emulator.run_directory.layout import PARTIAL, SCENARIO, SUMMARY, read_scenario
from emulator.run_directory.manifest import list_unchecked
from emulator.run_directory.model_note import ModelNote, read_model_note
from emulator.runner.results import write_results
from emulator.simulation.job import PreparedJob, prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Outcome
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.units import NS_PER_S


def report(
    run_directory: Annotated[Path, typer.Argument(help="A run directory, finished or not.")],
    data: Data = None,
    store: Store = None,
) -> None:
    """Write the report of a run again; of an unfinished run, from what it had logged."""
    for line in rewrite_report(run_directory, data, store):
        typer.echo(line)
    for note in list_unchecked([run_directory]):
        typer.echo(f"note: {note}", err=True)


def rewrite_report(folder: Path, data: Path | None, store: Path | None) -> list[str]:
    """Write the report of the run in *folder*; return lines for the user.

    Args:
        folder: a run directory, finished or not.
        data: the folder or file of the scenario's data; only an unfinished run needs them.
        store: the folder of cached models; likewise. None: the folder that the run had.

    Raises:
        InputError: the folder is not a run directory, is damaged, or nothing was logged.
    """
    drafts = sorted(folder.glob(".shard-*"))
    if not drafts and not folder.name.endswith(PARTIAL):
        return [str(write_report(folder))]
    if drafts:
        words = _measure(folder, drafts, data, store)
    elif (folder / SUMMARY).exists():
        words = "the simulation had ended, but its tables and report may be incomplete"
    elif not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    else:
        raise InputError(f"{folder}: this run did not finish, and had logged nothing")
    return [f"NOT FINISHED: {words}", str(write_report(folder))]


def _measure(folder: Path, drafts: Sequence[Path], data: Path | None, store: Path | None) -> str:
    """Write the results of the draft journals to the run directory; return a line on their extent."""
    scenario = parse(read_scenario(folder), str(folder / SCENARIO))
    if folder.name.startswith(f"{scenario.name}-replay-"):
        raise InputError(
            f"{folder}: this replay did not finish, and cannot be measured: replay the recording again"
        )
    scenario = _with_data(scenario, data)
    note = read_model_note(folder)
    with RunDisplay() as display:
        if store is None and note is not None:
            store = Path(note.store)
            if not store.exists():
                display.on_warning(f"{store}: does not exist any more: the model of the run is trained again")
        prepared = prepare(scenario, store, drafts[0], on_training=display.on_training)
        display.on_model(prepared.models[0])
        _check_models(folder, note, prepared)
        display.on_writing()
        job = prepared.job
        names = [device.name for device in job.devices]
        tables = merge_shards(drafts, names)
        seen = {name for table in tables.values() for name in pc.unique(table["device"]).to_pylist()}
        if not tables["quality"].num_rows:
            raise InputError(f"{folder}: this run did not finish, and had logged nothing of its devices")
        end_ns = _end_ns(tables)
        devices = tuple(device for device in job.devices if device.name in seen)
        outcome = Outcome(_wall_seconds(tables), None, unfinished_ns=min(end_ns, int(scenario.stop_time)))
        write_results(folder, scenario, replace(job, devices=devices), outcome, drafts, names)
    return (
        f"this run had come to {end_ns / NS_PER_S:,.0f} s of {scenario.stop_time / NS_PER_S:,.0f} s of "
        f"simulated time; what follows is measured on that part, of {len(devices)} of {len(names)} devices"
    )


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


def _end_ns(tables: Tables) -> int:
    """Return the latest simulated time in the log."""
    return max(int(pc.max(table["t_ns"]).as_py()) for table in tables.values() if table.num_rows)


def _wall_seconds(tables: Tables) -> float:
    """Return the wall time from the first to the last row of the log."""
    ranges = [pc.min_max(table["wall_s"]).as_py() for table in tables.values() if table.num_rows]
    return float(max(span["max"] for span in ranges) - min(span["min"] for span in ranges))
