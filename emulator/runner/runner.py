"""Runs a scenario: from its resolved file to a finished run directory."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from broker_config.dropped_messages import DropMonitor
from devices.mqtt.sessions import check_open_files
from devices.simulated.roster import DeviceNames, count_devices
from emulator.executors.executor import Executor
from emulator.executors.open_executor import ExecutorName
from emulator.live.deeds import DEEDS, read_deeds
from emulator.metrics.realtime_measurements import (
    ExpectedTimes,
    ShardMeasurements,
    read_doubts,
    summarize_shards,
)
from emulator.processes.cloud_process import cloud_process
from emulator.processes.event_loop import run_interruptibly
from emulator.realtime.local_fleet import LocalFleet, run_local_fleet
from emulator.replay.replay import Playback
from emulator.report.page import write_report
from emulator.run_directory.event_parts import Leaf
from emulator.run_directory.event_split import draft_rows, split_rows
from emulator.run_directory.layout import EVENTS, PARTS, SCENARIO, RunDraft, new_run_directory, write_summary
from emulator.run_directory.manifest import add_files
from emulator.run_directory.model_note import NOTE, write_model_note
from emulator.runner.broker import RunBroker, open_broker
from emulator.runner.observer import RunObserver
from emulator.runner.ranges import check_executor, check_shards, range_executor, simulate_ranges
from emulator.runner.resolved_scenario import resolve_scenario, write_scenario
from emulator.runner.results import write_results
from emulator.runner.titles import recommender_or_warning
from emulator.runner.watched_run import WatchedObserver, watched_run
from emulator.simulation.engines import check_engine, must_compile
from emulator.simulation.job import Job, PreparedJob, prepare
from emulator.simulation.live_hooks import NOT_WATCHED, LiveHooks
from emulator.simulation.simulation import Outcome, Simulation
from emulator.simulation.trace_files import TraceFiles, read_trace_files
from emulator.space.check_space import check_space, describe_size
from emulator.space.fleet_size import estimate_size, recorded_size
from emulator.space.space_estimate import Processes, estimate_space
from scenarios.language.checks import BROKERS
from scenarios.language.scenario import Scenario
from scenarios.language.warnings import scenario_warnings
from wire.errors import InputError, NoAnswerError
from wire.no_answer import count_text, no_answer_text
from wire.topics import Role

DROPS_WAIT_S = 1.5
"""Time to wait for the last count of dropped messages, which the broker publishes every second."""


@dataclass(frozen=True)
class RunOptions:
    """Options of the command line beside the scenario."""

    out: Path
    broker: str | None = None
    """Replaces the scenario's broker. It is not written anywhere, since it may hold a password."""
    data: Path | None = None
    store: Path | None = None
    shards: int = 1
    """Processes of the fleet in real time; under the virtual clock the same as *workers*."""
    workers: int | None = None
    """Most processes of a fleet under the virtual clock; None: a process for each core."""
    executor: ExecutorName | None = None
    """The place of these processes, where devices share nothing; None: this machine."""
    report: bool = True
    """True to write the report, some megabytes per run."""
    force: bool = False
    """True to start where disk or memory will not suffice."""
    watched: bool = False
    """True to let pages show the run while it lasts, and steer it."""


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    folder: Path
    summary: dict[str, object]

    @property
    def passed(self) -> bool:
        """True if no threshold is broken."""
        verdicts = self.summary["thresholds"]
        assert isinstance(verdicts, list)
        return all(verdict["passed"] for verdict in verdicts)


def run(
    scenario: Scenario, options: RunOptions, observer: RunObserver, replay: Playback | None = None
) -> RunResult:
    """Run *scenario* and write its run directory.

    Args:
        scenario: the scenario.
        options: of the command line.
        observer: receives the progress of the run.
        replay: the recorded run to replay.

    Raises:
        InputError: the scenario, an option or a data file is wrong; no folder is left behind.
        RunError: the run failed; its files are left in a folder that ends in ``.partial``.
    """
    scenario = resolve_scenario(scenario, options.data)
    devices = len(DeviceNames(scenario.fleet, scenario.seed, scenario.sample))
    check_shards(scenario, options.shards, devices)
    check_executor(scenario, options.executor)
    _check_open_files(scenario, options)
    for note in check_engine(scenario, is_replay=replay is not None):
        observer.on_warning(note)
    for doubt in scenario_warnings(scenario) if replay is None else ():
        observer.on_warning(doubt)
    if replay is not None and scenario.clock == "realtime":
        raise InputError("clock(='realtime') must be virtual or lockstep to play a recording again")
    name = scenario.name if replay is None else f"{scenario.name}-replay"
    with (
        open_broker(scenario, options.broker or scenario.broker, observer.on_warning) as broker,
        new_run_directory(options.out, name, scenario.seed, datetime.now()) as draft,
        _watched(draft.folder, scenario, devices, observer, options) as told,
        range_executor(_workers(options), devices, options.executor) as executor,
    ):
        executor.check_folder(draft.folder)
        summary = _run_in(draft, scenario, options, broker, executor, told, replay)
    return RunResult(draft.final, summary)


@contextmanager
def _watched(
    folder: Path, scenario: Scenario, devices: int, observer: RunObserver, options: RunOptions
) -> Iterator[RunObserver]:
    """Yield the observer of a run, with its live side where the run is watched."""
    if not options.watched:
        yield observer
        return
    with watched_run(folder, scenario, devices, observer) as told:
        yield told


def _run_in(
    draft: RunDraft,
    scenario: Scenario,
    options: RunOptions,
    broker: RunBroker | None,
    executor: Executor,
    observer: RunObserver,
    replay: Playback | None,
) -> dict[str, object]:
    """Prepare the job, simulate it and write its run directory; return the summary."""
    traces = TraceFiles() if replay else read_trace_files(scenario.fleet, scenario.stop_time)
    for warning in (*traces.warnings, *_check_space(scenario, traces, options, executor, replay)):
        observer.on_warning(warning)
    prepared = prepare(
        scenario,
        options.store,
        draft.folder / ".shard-0",
        on_training=observer.on_training,
        on_model=observer.on_model,
        traces=traces,
        replay=replay,
    )
    for mismatch in replay.mismatches(prepared.models[0].store.version) if replay else ():
        observer.on_warning(mismatch)
    write_scenario(draft.folder, scenario)
    write_model_note(draft.folder, options.store, [model.store.version for model in prepared.models])
    draft.keep()
    summary = _simulate_and_write(draft.folder, prepared, options, broker, executor, observer)
    if options.report:
        recommend, no_titles = recommender_or_warning(scenario.data, prepared.models[0], prepared.job.devices)
        if no_titles is not None:
            observer.on_warning(no_titles)
        write_report(draft.folder, executor, recommend)
    (draft.folder / NOTE).unlink()
    return summary


def _workers(options: RunOptions) -> int | None:
    return options.shards if options.shards > 1 else options.workers


def _check_space(
    scenario: Scenario, traces: TraceFiles, options: RunOptions, executor: Executor, replay: Playback | None
) -> Iterator[str]:
    """Yield a warning where disk or memory may not suffice.

    Raises:
        InputError: they will not by far.
    """
    size = estimate_size(scenario, traces) if replay is None else recorded_size(replay.folder)
    if size is None:
        return
    # The memory of the other machines of a cluster cannot be read here.
    here = options.executor is None or options.executor.address is None
    processes = Processes(executor.workers if here else 1, options.shards, replay is not None)
    yield from check_space(
        describe_size(size),
        estimate_space(scenario, size, processes),
        options.out,
        force=options.force,
        remedy="fewer --workers need less" if processes.workers > 1 else "",
    )


def _check_open_files(scenario: Scenario, options: RunOptions) -> None:
    """Check now that the shards, and a broker that the run starts, can open a connection per device.

    Raises:
        InputError: they cannot.
    """
    if scenario.clock != "realtime" or scenario.realtime.connections != "per_device":
        return
    devices = count_devices(scenario.fleet)
    managed = (options.broker or scenario.broker) in BROKERS
    check_open_files(devices if managed else -(-devices // options.shards))


def _simulate_and_write(
    folder: Path,
    prepared: PreparedJob,
    options: RunOptions,
    broker: RunBroker | None,
    executor: Executor,
    observer: RunObserver,
) -> dict[str, object]:
    """Simulate the job, write the results into *folder*, and return the summary."""
    job = prepared.job
    observer.on_fleet(len(job.devices))
    stores = [model.folder for model in prepared.models]
    if broker is None and not job.scenario.shared:
        outcome, leaves = _simulate_ranges(folder, job, executor, observer)
        observer.on_writing()
    else:
        outcome, logs = _simulate(job, broker, options, stores, observer)
        observer.on_writing()
        wall = job.scenario.clock != "virtual"
        leaves = split_rows(draft_rows(logs), len(job.devices), folder / EVENTS, wall=wall)
        for log in logs:
            shutil.rmtree(log)
    summary = write_results(folder, job.scenario, job, outcome, leaves, executor, observer.on_measuring)
    if job.replay is not None:
        summary |= job.replay.summary_keys(summary["event_log_sha256"])
        job.replay.copy_deeds(folder)
    deeds = read_deeds(folder / DEEDS)
    if deeds:
        add_files(folder, {DEEDS: None})
        summary["steered_by_hand"] = len(deeds)
        summary["stopped_by_hand"] = deeds[-1].command.kind == "stop"
    if deeds or job.replay is not None:
        write_summary(folder, summary)
    return summary


def _simulate_ranges(
    folder: Path, job: Job, executor: Executor, observer: RunObserver
) -> tuple[Outcome, list[Leaf]]:
    """Simulate the ranges of a fleet that shares nothing; put their parts into the run directory."""
    stop_ns, started_s = int(job.scenario.stop_time), time.monotonic()
    if must_compile(job.scenario, is_replay=job.replay is not None):
        observer.on_compiling()
    watch = observer.range_watch() if isinstance(observer, WatchedObserver) else None
    leaves = simulate_ranges(
        job, executor, lambda share: observer.on_progress(int(share * stop_ns), stop_ns), watch
    )
    stopped_ns = None if job.replay is None else job.replay.stopped_ns
    outcome = Outcome(time.monotonic() - started_s, None, stopped_ns)
    (folder / PARTS).rename(folder / EVENTS)
    return outcome, leaves


def _simulate(
    job: Job, broker: RunBroker | None, options: RunOptions, stores: Sequence[Path], observer: RunObserver
) -> tuple[Outcome, list[Path]]:
    """Simulate the job under its clock; return the outcome and the folders of the event logs."""
    stop_ns = int(job.scenario.stop_time)

    def progress(now_ns: int) -> None:
        observer.on_progress(min(now_ns, stop_ns), stop_ns)

    live = observer.hooks() if isinstance(observer, WatchedObserver) else NOT_WATCHED
    if broker is None:
        return Simulation(job, progress).run_virtual(live), [job.folder]
    if job.scenario.clock == "realtime":
        return _run_realtime(job, options, broker, stores, observer)
    simulation = Simulation(job, progress)
    with cloud_process(stores, broker.endpoint, job.fleet, job.scenario.updates) as cloud:

        def check() -> None:
            broker.check()
            cloud.check()

        if live is NOT_WATCHED and observer.wants_status:
            live = LiveHooks(lambda status: observer.on_status(status, stop_ns))
        connection = broker.endpoint.connection(Role.FLEET, f"fleet-{job.fleet}")
        try:
            return run_interruptibly(simulation.run_lockstep(connection, check, live)), [job.folder]
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}. At its end {cloud.stop_and_summarise()}") from error


def _run_realtime(
    job: Job, options: RunOptions, broker: RunBroker, stores: Sequence[Path], observer: RunObserver
) -> tuple[Outcome, list[Path]]:
    scenario_file, stop_ns = job.folder.parent / SCENARIO, int(job.scenario.stop_time)
    local_fleet = LocalFleet(
        job,
        scenario_file,
        stores,
        options.store,
        options.shards,
        broker.endpoint,
        broker.passwords,
        broker.process is not None,
        may_be_late=observer.wants_status,
        steering=observer.steering() if isinstance(observer, WatchedObserver) else None,
    )
    drops = DropMonitor(broker.endpoint)
    with drops.listening():
        fleet = run_local_fleet(
            local_fleet, broker.restart_if_dead, lambda status: observer.on_status(status, stop_ns)
        )
        dropped = drops.messages(DROPS_WAIT_S)
    measured = fleet.measurements
    counts = _count_answers(measured)
    text = _answers_text(counts, fleet.cloud, dropped)
    if counts["unanswered"] and not counts["answered"] and not counts["late"]:
        raise NoAnswerError(text)
    expected = ExpectedTimes.from_scenario(job.scenario)
    real = summarize_shards(measured, expected, {**fleet.restarts, "broker": broker.restarts()}, dropped)
    if dropped:
        observer.on_warning(f"the broker dropped {dropped:,} messages: a queue was full; docs/realtime.md")
    for doubt in read_doubts(real):
        observer.on_warning(doubt)
    if counts["unanswered"]:
        observer.on_warning(text)
    if suspicious := counts["suspicious"]:
        observer.on_warning(
            f"{count_text(suspicious, 'device')} lost connections again and again, soon after they were up: "
            "a broker that died often, or a client id that is used twice"
        )
    aborted = [shard.aborted_ns for shard in measured if shard.aborted_ns is not None]
    wall_seconds = max(shard.wall_seconds for shard in measured)
    return Outcome(wall_seconds, None, min(aborted, default=None), real), list(fleet.folders)


def _count_answers(measured: Sequence[ShardMeasurements]) -> dict[str, int]:
    """Return how many reports were published and answered in all shards, and how many answers were late."""
    keys = {
        "published": "reports_published",
        "answered": "reports_answered",
        "unanswered": "reports_unanswered",
        "late": "duplicates",
        "suspicious": "suspicious",
    }
    return {name: sum(shard.counts.get(key, 0) for shard in measured) for name, key in keys.items()}


def _answers_text(counts: Mapping[str, int], cloud: str, dropped: int | None) -> str:
    """Return a sentence with the number of reports that were published, and of those without an answer."""
    return no_answer_text(
        f"{count_text(counts['published'], 'report')} published",
        f"{counts['unanswered']:,} of them had no complete answer within updates.retry_after",
        f"{count_text(counts['late'], 'part')} of answers came twice or too late" if counts["late"] else "",
        cloud,
        f"the broker says that it dropped {dropped:,} messages" if dropped else "",
    )
