"""Runs a scenario from a resolved file to a finished run directory."""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa

from broker_config.dropped_messages import DropMonitor
from broker_config.endpoint import parse_url
from devices.memory import Replay
from devices.mqtt.sessions import check_open_files
from devices.simulated.roster import FleetGroup, device_names
from devices.traces.availability import Availability
from emulator.metrics.by_dimension import metrics_table
from emulator.metrics.device_table import build_device_table
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.realtime_measurements import (
    ExpectedTimes,
    empty_measurements,
    read_doubts,
    summarize_shards,
)
from emulator.metrics.rollout_progress import count_egress, rollout_progress
from emulator.metrics.summary import RunInfo, compute_metrics, judge_rules, summarize
from emulator.metrics.timeline import RunTimeline
from emulator.processes.cloud_process import cloud_process
from emulator.processes.event_loop import run_interruptibly
from emulator.processes.worker_pool import interruptible, worker_pool
from emulator.realtime.local_fleet import LocalFleet, run_local_fleet
from emulator.replay.replay import Playback
from emulator.report.page import write_report
from emulator.run_directory.event_log import merge_shards, with_descriptions, write_table, write_tables
from emulator.run_directory.layout import DEVICES, EVENTS, METRICS, SCENARIO, new_run_directory, write_summary
from emulator.run_directory.manifest import write_manifest
from emulator.run_directory.model_note import NOTE, write_model_note
from emulator.runner.broker import MANAGED, RunBroker, open_broker
from emulator.simulation.job import Job, build_timeline, prepare
from emulator.simulation.model_cache import PreparedModel, resolve_data
from emulator.simulation.simulation import Outcome, Simulation, evaluate, make_responder
from emulator.simulation.trace_files import TraceFiles, read_trace_files
from scenarios.catalogue.event_columns import DEVICE_COLUMNS, METRIC_COLUMNS, meanings_of
from scenarios.language.load import check_readable, dump
from scenarios.language.scenario import Scenario
from scenarios.language.thresholds import rules_of
from scenarios.language.warnings import doubts
from wire.errors import InputError, NoAnswerError, RunError
from wire.no_answer import count_text, no_answer_text
from wire.output_files import naming
from wire.topics import Role

MOST_SHARDS = 256
DROPS_WAIT_S = 1.5
"""For the last count of dropped messages, which a broker of ours publishes every second."""


class RunObserver(Protocol):
    """Is told how a run goes."""

    live: bool
    """Whether it wants to be told what the fleet is doing while it lives."""

    def training(self, stage: str, done: int, total: int, note: str) -> None:
        """A step of training is done."""

    def warned(self, text: str) -> None:
        """Something is allowed, but the user should know of it."""

    def prepared(self, model: PreparedModel) -> None:
        """The model is there."""

    def simulating(self, now_ns: int, stop_ns: int) -> None:
        """Simulated time has advanced."""

    def pulsed(self, pulse: LiveStatus, stop_ns: int) -> None:
        """A fleet in real time has told what it is doing."""

    def reporting(self) -> None:
        """The simulation is over; tables and the report are being written."""


class Unwatched:
    """A watcher that says nothing."""

    live = False

    def training(self, stage: str, done: int, total: int, note: str) -> None:
        """Say nothing."""

    def warned(self, text: str) -> None:
        """Say nothing."""

    def prepared(self, model: PreparedModel) -> None:
        """Say nothing."""

    def simulating(self, now_ns: int, stop_ns: int) -> None:
        """Say nothing."""

    def pulsed(self, pulse: LiveStatus, stop_ns: int) -> None:
        """Say nothing."""

    def reporting(self) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line says beside the scenario."""

    out: Path
    broker: str | None = None
    """Wins over the scenario's; kept out of what is written, since it may hold a password."""
    data: Path | None = None
    store: Path | None = None
    shards: int = 1
    report: bool = True
    """Whether to write the report, some megabytes a run."""


@dataclass(frozen=True)
class RunResult:
    """A run that is complete."""

    folder: Path
    summary: dict[str, object]

    @property
    def passed(self) -> bool:
        """Whether no threshold is broken."""
        verdicts = self.summary["thresholds"]
        assert isinstance(verdicts, list)
        return all(verdict["passed"] for verdict in verdicts)


def run(
    scenario: Scenario, options: RunOptions, watcher: RunObserver, replay: Playback | None = None
) -> RunResult:
    """Run *scenario*.

    Args:
        scenario: what to run.
        options: what the command line says beside it.
        watcher: told how the run goes.
        replay: the recorded run to play again.

    Raises:
        InputError: the scenario, an argument or a data file is wrong; nothing is left behind.
        RunError: the run failed; what it wrote is left in a folder that ends in ``.partial``.
    """
    scenario = resolve_scenario(scenario, options)
    _check_shards(scenario, options.shards)
    _check_open_files(scenario, options)
    for doubt in doubts(scenario) if replay is None else ():
        watcher.warned(doubt)
    if replay is not None and scenario.clock == "realtime":
        raise InputError("clock(='realtime') must be virtual or lockstep to play a recording again")
    with (
        open_broker(scenario, options.broker or scenario.broker, watcher.warned) as broker,
        new_run_directory(
            options.out, _folder_name(scenario, replay), scenario.seed, datetime.now()
        ) as draft,
    ):
        recordings = TraceFiles() if replay else read_trace_files(scenario.fleet, scenario.stop_time)
        for warning in recordings.warnings:
            watcher.warned(warning)
        prepared = prepare(
            scenario,
            options.store,
            draft.folder / ".shard-0",
            training=watcher.training,
            found=watcher.prepared,
            recordings=recordings,
            replay=replay,
        )
        job = prepared.job
        for doubt in replay.mismatches(prepared.models[0].store.version) if replay else ():
            watcher.warned(doubt)
        write_scenario(draft.folder, scenario)
        write_model_note(draft.folder, options.store, [each.store.version for each in prepared.models])
        draft.keep()
        stores = [model.folder for model in prepared.models]
        outcome, folders = _simulate(job, options, broker, stores, watcher)
        watcher.reporting()
        summary = write_results(draft.folder, scenario, job, outcome, folders)
        for folder in folders:
            shutil.rmtree(folder)
        if replay is not None:
            summary |= replay.note(summary["event_log_sha256"])
            write_summary(draft.folder, summary)
        if options.report:
            write_report(draft.folder)
        (draft.folder / NOTE).unlink()
    return RunResult(draft.final, summary)


def _check_shards(scenario: Scenario, shards: int) -> None:
    why = scenario.shared_by or ("the clock is lockstep" if scenario.clock == "lockstep" else None)
    if shards > 1 and why:
        raise InputError(f"shards(={shards}) must be 1: {why}")
    devices = len(list(device_names(scenario.fleet))) if shards > 1 else 1
    if shards > devices:
        raise InputError(f"shards(={shards}) must not exceed the number of devices (={devices})")
    if shards > MOST_SHARDS:
        raise InputError(f"shards(={shards}) must not exceed {MOST_SHARDS}: each is a process")


def _check_open_files(scenario: Scenario, options: RunOptions) -> None:
    """Refuse now what the shards, and a broker of ours, could not open later."""
    if scenario.clock != "realtime" or scenario.realtime.connections != "per_device":
        return
    devices = len(list(device_names(scenario.fleet)))
    ours = (options.broker or scenario.broker) in MANAGED
    check_open_files(devices if ours else -(-devices // options.shards))


def resolve_scenario(scenario: Scenario, options: RunOptions) -> Scenario:
    """Return *scenario* with every path absolute, so that it means the same from any folder, and no sweep.

    Raises:
        InputError: its data are nowhere, or it is too large to be read again.
    """
    data = resolve_data(scenario.data, options.data)
    fleet = tuple(map(_with_whole_paths, scenario.fleet))
    resolved = msgspec.structs.replace(scenario, data=data, fleet=fleet, sweep=None)
    check_readable(without_password(resolved))
    return resolved


def write_scenario(folder: Path, scenario: Scenario) -> None:
    """Write the resolved *scenario* into a run directory, without the password of a broker."""
    with naming(folder / SCENARIO):
        (folder / SCENARIO).write_text(dump(without_password(scenario)), encoding="utf-8")


def _with_whole_paths(group: FleetGroup) -> FleetGroup:
    played = {
        name: msgspec.structs.replace(value, file=os.path.realpath(value.file))
        for name, value in msgspec.structs.asdict(group).items()
        if isinstance(value, Replay | Availability)
    }
    return msgspec.structs.replace(group, **played)


def without_password(scenario: Scenario) -> Scenario:
    """Return *scenario* as it may be written down: a broker's user and password left out."""
    if not scenario.broker.startswith(("mqtt://", "mqtts://")):
        return scenario
    return msgspec.structs.replace(scenario, broker=parse_url(scenario.broker).url)


def _folder_name(scenario: Scenario, replay: Playback | None) -> str:
    return scenario.name if replay is None else f"{scenario.name}-replay"


def _simulate(
    job: Job, options: RunOptions, broker: RunBroker | None, stores: Sequence[Path], watcher: RunObserver
) -> tuple[Outcome, list[Path]]:
    stop_ns = int(job.scenario.stop_time)

    def progress(now_ns: int) -> None:
        watcher.simulating(min(now_ns, stop_ns), stop_ns)

    if broker is None:
        return _run_shards(job, options.shards, progress)
    if job.scenario.clock == "realtime":
        return _in_real_time(job, options, broker, stores, watcher)
    simulation = Simulation(job, progress)
    with cloud_process(stores, broker.endpoint, job.fleet, job.scenario.updates) as cloud:

        def check() -> None:
            broker.check()
            cloud.check()

        told = (lambda pulse: watcher.pulsed(pulse, stop_ns)) if watcher.live else None
        connection = broker.endpoint.connection(Role.FLEET, f"fleet-{job.fleet}")
        try:
            return run_interruptibly(simulation.run_lockstep(connection, check, told)), [job.folder]
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}. At its end {cloud.stop_and_summarise()}") from error


def _in_real_time(
    job: Job, options: RunOptions, broker: RunBroker, stores: Sequence[Path], watcher: RunObserver
) -> tuple[Outcome, list[Path]]:
    scenario_file, stop_ns = job.folder.parent / SCENARIO, int(job.scenario.stop_time)
    fleet = LocalFleet(
        job,
        scenario_file,
        stores,
        options.store,
        options.shards,
        broker.endpoint,
        broker.passwords,
        broker.ours is not None,
        may_be_late=watcher.live,
    )
    expected = ExpectedTimes.from_scenario(job.scenario)
    drops = DropMonitor(broker.endpoint)
    with drops.listening():
        result = run_local_fleet(fleet, broker.revive, lambda pulse: watcher.pulsed(pulse, stop_ns))
        dropped = drops.messages(DROPS_WAIT_S)
    published, answered, unanswered = (
        sum(each.counts.get(f"reports_{key}", 0) for each in result.measurements)
        for key in ("published", "answered", "unanswered")
    )
    late = sum(each.counts.get("duplicates", 0) for each in result.measurements)
    words = _silence(published, unanswered, late, result.cloud, dropped)
    if unanswered and not answered and not late:
        raise NoAnswerError(words)
    if dropped:
        watcher.warned(f"the broker dropped {dropped:,} messages: a queue was full; docs/realtime.md")
    wall_seconds = max(each.wall_seconds for each in result.measurements)
    aborted = [each.aborted_ns for each in result.measurements if each.aborted_ns is not None]
    real = summarize_shards(
        result.measurements,
        expected,
        {**result.restarts, "broker": broker.restarts()},
        dropped,
    )
    for doubt in read_doubts(real):
        watcher.warned(doubt)
    if unanswered:
        watcher.warned(words)
    if often := sum(each.counts.get("suspicious", 0) for each in result.measurements):
        watcher.warned(
            f"{count_text(often, 'device')} lost connections again and again, soon after they were up: "
            "a broker that died often, or a client id that is used twice"
        )
    return Outcome(wall_seconds, None, min(aborted, default=None), real), list(result.folders)


def _silence(published: int, unanswered: int, late: int, cloud: str, dropped: int | None) -> str:
    """Say how much was published and how much of it was not answered."""
    return no_answer_text(
        f"{count_text(published, 'report')} published",
        f"{unanswered:,} of them had no complete answer within updates.retry_after",
        f"{count_text(late, 'part')} of answers came twice or too late" if late else "",
        cloud,
        f"the broker says that it dropped {dropped:,} messages" if dropped else "",
    )


def _run_shards(job: Job, shards: int, progress: Callable[[int], None]) -> tuple[Outcome, list[Path]]:
    """Run the fleet in so many processes; devices share nothing, so the log is the same."""
    if shards == 1:
        return Simulation(job, progress).run_virtual(), [job.folder]
    jobs = [
        replace(job, devices=job.devices[place::shards], folder=job.folder.with_name(f".shard-{place}"))
        for place in range(shards)
    ]
    try:
        with worker_pool(shards) as pool:
            outcomes = list(pool.map(_run_shard, jobs))
    except BrokenProcessPool:
        raise RunError("the process of a shard has died: killed for want of memory?") from None
    return Outcome(max(each.wall_seconds for each in outcomes), None), [each.folder for each in jobs]


def _run_shard(job: Job) -> Outcome:
    simulation = Simulation(job, lambda _: None)
    with interruptible():
        return simulation.run_virtual()


def write_results(
    folder: Path,
    scenario: Scenario,
    job: Job,
    outcome: Outcome,
    shards: Sequence[Path],
    names: Sequence[str] | None = None,
) -> dict[str, object]:
    """Turn the draft journals in *shards* into what a run leaves, and return the summary.

    Args:
        folder: of the run.
        scenario: what was run.
        job: the devices to measure, and their model.
        outcome: of the simulation.
        shards: the folders of the draft journals.
        names: device ids by device number, where they are more than the devices to measure.
    """
    tables = merge_shards(shards, names or [each.name for each in job.devices])
    write_tables(tables, folder / EVENTS)
    devices = _devices_table(job)
    write_table(with_descriptions(devices, meanings_of(DEVICE_COLUMNS)), folder / DEVICES)
    aborted = outcome.aborted_ns is not None
    ends = (outcome.aborted_ns, outcome.unfinished_ns, int(scenario.stop_time))
    stop_ns = next(each for each in ends if each is not None)
    identity = RunInfo(scenario.name, scenario.seed, scenario.clock, job.store.version, stop_ns, aborted)
    metrics = compute_metrics(tables, devices, RunTimeline.from_scenario(scenario).until(stop_ns))
    splits = metrics_table(metrics)
    write_table(with_descriptions(splits, meanings_of(METRIC_COLUMNS)), folder / METRICS)
    rows = {f"{EVENTS}/{name}.parquet": table.num_rows for name, table in tables.items()}
    write_manifest(folder, {**rows, DEVICES: devices.num_rows, METRICS: splits.num_rows, SCENARIO: None})
    summary = summarize(identity, tables, metrics, outcome.wall_seconds)
    summary |= count_egress(tables["update"], _retained_bytes(job))
    summary["rollout"] = rollout_progress(tables["rollout"])
    summary["reports_sent_again"] = outcome.reports_sent_again
    summary |= outcome.realtime or empty_measurements()
    summary["thresholds"] = judge_rules(rules_of(scenario.thresholds), metrics, summary)
    if outcome.unfinished_ns is not None:
        summary["unfinished"] = True
    write_summary(folder, summary)
    return summary


def _retained_bytes(job: Job) -> int:
    """Return the payload that the cloud leaves on the topics of layers: each layer of each version, once."""
    if job.scenario.updates.delivery != "shared":
        return 0
    stores = [job.store] if job.newer is None else [job.store, job.newer]
    responders = [make_responder(job.scenario, store) for store in stores]
    return sum(
        len(each.layer_part(group, layer)) for each in responders for group, layer, _ in each.layer_sizes()
    )


def _devices_table(job: Job) -> pa.Table:
    """Return one row per device: who it is, and the quality of the whole ranking for its first user.

    Columns that end in ``_by_version`` have a value for each model version, in the order of ``version``
    in the quality table.
    """
    stores = [job.store] if job.newer is None else [job.store, job.newer]
    versions = [evaluate(store, job.truth, job.users)[1] for store in stores]
    full = {user: quality.full for user, quality in versions[0].items()}
    devices, groups = job.devices, job.store.groups
    table = build_device_table(devices, job.store, build_timeline(job.scenario))
    more = {
        "full_bytes": [groups[job.store.user_groups[each.user]].layers.bytes[-1] for each in devices],
        "full_ndcg_at_10": [full[each.user].ndcg_at_10 for each in devices],
        "full_recall_at_20": [full[each.user].recall_at_20 for each in devices],
        "full_hit_rate_at_10": [full[each.user].hit_rate_at_10 for each in devices],
        "user_group_by_version": [[of[each.user].user_group for of in versions] for each in devices],
        "full_bytes_by_version": [[of[each.user].layers.bytes[-1] for of in versions] for each in devices],
        "full_ndcg_at_10_by_version": [
            [of[each.user].full.ndcg_at_10 for of in versions] for each in devices
        ],
    }
    for name, values in more.items():
        table = table.append_column(name, [values])
    return table
