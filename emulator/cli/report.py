"""``peelfleet report``: the report of a run again; of one that did not finish, from what it had logged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow.compute as pc

from emulator.cli.terminal import Console
from emulator.report.page import write_report
from emulator.run_directory.event_log import Tables, merge_shards
from emulator.run_directory.layout import PARTIAL, SCENARIO, SUMMARY, read_scenario
from emulator.run_directory.model_note import ModelNote, read_model_note
from emulator.runner.runner import write_results
from emulator.simulation.job import PreparedJob, prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Outcome
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.units import NS_PER_S


def report(folder: Path, data: Path | None, store: Path | None) -> list[str]:
    """Write the report of the run in *folder*; return what to say of it.

    Args:
        folder: a run directory, finished or not.
        data: where the scenario's data set is; needed only for a run that did not finish.
        store: where its model is cached; likewise. None: where the run had it.

    Raises:
        InputError: it is no run directory, it is damaged, or nothing was logged.
    """
    drafts = sorted(folder.glob(".shard-*"))
    if not drafts and not folder.name.endswith(PARTIAL):
        return [str(write_report(folder))]
    if drafts:
        words = _measure(folder, drafts, data, store)
    elif (folder / SUMMARY).exists():
        words = "all of it was simulated, but its tables and report may be incomplete"
    elif not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    else:
        raise InputError(f"{folder}: this run did not finish, and had logged nothing")
    return [f"NOT FINISHED: {words}", str(write_report(folder))]


def _measure(folder: Path, drafts: Sequence[Path], data: Path | None, store: Path | None) -> str:
    """Measure what the draft journals hold, into the run directory; return how far the run had come."""
    scenario = parse(read_scenario(folder), str(folder / SCENARIO))
    if folder.name.startswith(f"{scenario.name}-replay-"):
        raise InputError(f"{folder}: this replay did not finish: only a replay of the recording tells of it")
    scenario = _with_data(scenario, data)
    note = read_model_note(folder)
    with Console() as console:
        if store is None and note is not None:
            store = Path(note.store)
            if not store.exists():
                console.warned(f"{store}: is not there any more: the model of the run is trained again")
        prepared = prepare(scenario, store, drafts[0], training=console.training)
        console.prepared(prepared.models[0])
        _check_models(folder, note, prepared)
        console.reporting()
        job = prepared.job
        names = [each.name for each in job.devices]
        tables = merge_shards(drafts, names)
        seen = {name for table in tables.values() for name in pc.unique(table["device"]).to_pylist()}
        if not tables["quality"].num_rows:
            raise InputError(f"{folder}: this run did not finish, and had logged nothing of its devices")
        end_ns = _end_ns(tables)
        devices = tuple(each for each in job.devices if each.name in seen)
        outcome = Outcome(_wall_seconds(tables), None, unfinished_ns=min(end_ns, int(scenario.stop_time)))
        write_results(folder, scenario, replace(job, devices=devices), outcome, drafts, names)
    return (
        f"this run had come to {end_ns / NS_PER_S:,.0f} s of {scenario.stop_time / NS_PER_S:,.0f} s of "
        f"simulated time; what follows is measured on that part, of {len(devices)} of {len(names)} devices"
    )


def _check_models(folder: Path, note: ModelNote | None, prepared: PreparedJob) -> None:
    """Check that the models are those that the run had: others would give its log another quality."""
    versions = tuple(each.store.version for each in prepared.models)
    if note is not None and note.versions != versions:
        raise InputError(
            f"{folder}: this run had model {', '.join(note.versions)}, but what was found or trained now is "
            f"{', '.join(versions)}: name the folder that caches its model with --store"
        )


def _with_data(scenario: Scenario, data: Path | None) -> Scenario:
    return msgspec.structs.replace(scenario, data=resolve_data(scenario.data, data))


def _end_ns(tables: Tables) -> int:
    """Return the last moment that was logged."""
    return max(int(pc.max(table["t_ns"]).as_py()) for table in tables.values() if table.num_rows)


def _wall_seconds(tables: Tables) -> float:
    """Return how long the log grew."""
    found = [pc.min_max(table["wall_s"]).as_py() for table in tables.values() if table.num_rows]
    return float(max(each["max"] for each in found) - min(each["min"] for each in found))
