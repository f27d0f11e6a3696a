"""``peelfleet devices``: one shard of a fleet in real time, in its own process."""

import asyncio
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
import typer

from broker_config.accounts import Account, read_credentials
from broker_config.endpoint import Endpoint, check_reachable
from devices.mqtt.gateway import Gateway
from devices.mqtt.sessions import check_open_files
from devices.simulated.roster import count_devices
from emulator.cli.metered_run import fleet_metrics, run_display
from emulator.cli.options import (
    Data,
    Overrides,
    ScenarioFile,
    Seed,
    Store,
    default,
    name_option,
    overrides,
    path_option,
    quiet_option,
    wrong,
)
from emulator.cli.service_options import BrokerUrl, MetricsHost, MetricsPort
from emulator.live.deeds import read_deeds
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.prometheus import FleetCollector
from emulator.metrics.realtime_measurements import ShardMeasurements, ShardRun, write_measurements
from emulator.processes.event_loop import run_interruptibly
from emulator.processes.shard_processes import MEASURED
from emulator.realtime.shard import Shard, ShardLinks
from emulator.realtime.start_time import StartTime
from emulator.realtime.steered_fleet import DeedFeed
from emulator.run_directory.event_log import JOURNAL
from emulator.run_directory.layout import SCENARIO, RunDraft, os_error_of
from emulator.run_directory.manifest import add_entries
from emulator.simulation.garbage_collection import fewer_gc_runs
from emulator.simulation.job import prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Simulation
from emulator.simulation.trace_files import read_trace_files
from scenarios.language.load import check_readable, dump, load
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError
from wire.mqtt.connection import Connection
from wire.topics import Role
from wire.units import NS_PER_S, format_duration

REACH_TIMEOUT_S = 5.0
MAX_SHARDS: Final = 10_000

OnTraining = Callable[[str, int, int, str], None]
OnStatus = Callable[[LiveStatus], None]


class ShardPosition(NamedTuple):
    """The rank of a shard, from 0, and the number of shards."""

    rank: int
    shards: int


def shard_position(text: str) -> ShardPosition:
    """Return the position that ``2/4`` stands for: the second of four shards."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= MAX_SHARDS):
        wrong(text, "a shard such as 2/4: the second of four")
    return ShardPosition(int(number) - 1, int(count))


def unix_time(text: str) -> float:
    """Return the seconds since 1970 of a date and time such as ``2026-11-24T12:00:00Z``, or of a number."""
    with suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds):
            return seconds
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        wrong(text, "a time such as 2026-11-24T12:00:00Z, or seconds since 1970")


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """Settings of a shard that are not part of its scenario."""

    broker: Endpoint
    position: ShardPosition
    out: Path
    data: Path | None = None
    store: Path | None = None
    credentials: Path | None = None
    fleet: str | None = None
    """The fleet's name in topics; None: that of the scenario, which depends on the path of its data."""
    start_at: float | None = None
    """The seconds since 1970 at which simulated time is 0; None: the parent process says, or at once."""
    first_seq: int | None = None
    may_be_late: bool = False
    """Count turns that are later than `realtime.max_lag`; False: such a turn ends the run."""
    supervised: bool = False
    """A run has started this process: it sends the start time, and reads the status."""
    run: str | None = None
    """A name that all shards of the run share; None: it has none."""
    deeds: Path | None = None
    """The file of deeds by hand; None: nobody can do any."""
    quiet: bool = False
    """Show no progress."""


def devices(
    scenario: ScenarioFile,
    broker: BrokerUrl,
    shard: Annotated[
        ShardPosition,
        typer.Option(
            parser=shard_position,
            metavar="<i/n>",
            help="The part of the fleet: 2/4 is the second of four.",
        ),
    ] = default("1/1"),
    out: Annotated[Path, path_option("The folder to create for the shard's logs.")] = Path("shard"),
    set_: Overrides = None,
    seed: Seed = None,
    start_at: Annotated[
        float | None,
        typer.Option(
            parser=unix_time,
            metavar="<time>",
            help="Start of simulated time, such as 2026-11-24T12:00:00Z; later shards join at once.",
        ),
    ] = None,
    credentials: Annotated[
        Path | None, path_option("Users and passwords of devices, as `broker init` writes them.")
    ] = None,
    fleet: Annotated[
        str | None, name_option("The fleet's name in topics; else the scenario's, with a hash.")
    ] = None,
    data: Data = None,
    store: Store = None,
    first_seq: Annotated[int | None, typer.Option(hidden=True, min=0)] = None,
    may_be_late: Annotated[
        bool, typer.Option("--may-be-late", help="Count turns later than realtime.max_lag; do not end.")
    ] = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    deeds: Annotated[Path | None, typer.Option(hidden=True)] = None,
    run: Annotated[
        str | None, name_option("A name that the shards of one run share: `gather` mixes no two.")
    ] = None,
    quiet: Annotated[bool, quiet_option("Print only the folder of the shard; no progress.")] = False,
) -> None:
    """Run a part of a scenario's fleet in real time, on a broker that a cloud serves; see `gather`."""
    resolved = load(scenario, overrides(set_, seed=seed, clock="realtime"))
    options = ShardOptions(
        broker=broker, position=shard, out=out, data=data, store=store, credentials=credentials,
        fleet=fleet, start_at=start_at, first_seq=first_seq, may_be_late=may_be_late,
        supervised=supervised, run=run, deeds=deeds, quiet=quiet,
    )  # fmt: skip
    with (
        fleet_metrics(resolved, metrics_host, metrics_port) as metrics,
        progress_callbacks(resolved, options, metrics) as (on_training, on_status),
    ):
        folder = run_shard(resolved, options, on_training, on_status)
    if not supervised:
        typer.echo(f"shard: {folder}")


@contextmanager
def progress_callbacks(
    scenario: Scenario, options: ShardOptions, metrics: FleetCollector | None
) -> Iterator[tuple[OnTraining, OnStatus]]:
    """Yield the callbacks for progress: to the terminal, or to the parent run."""
    if options.supervised:
        yield _ignore, _write_status
        return
    stop_ns = int(scenario.stop_time)
    with run_display(metrics, None, quiet=options.quiet) as display:
        yield display.on_training, lambda status: display.on_status(status, stop_ns)


def _ignore(*_: object) -> None:
    """Ignore the progress of training: the parent run has trained the model already."""


def _write_status(status: LiveStatus) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
    sys.stdout.buffer.flush()


def run_shard(
    scenario: Scenario, options: ShardOptions, on_training: OnTraining, on_status: OnStatus
) -> Path:
    """Run one shard to the end of its scenario; return its folder.

    Raises:
        InputError: an option contradicts the scenario, or a file is wrong.
        RunError: the shard failed; its files are left.
    """
    rank, count = options.position
    if count > 1 and scenario.shared_by:
        raise InputError(f"--shard(={rank + 1}/{count}) must be 1/1: {scenario.shared_by}")
    _check_not_over(scenario, options)
    if scenario.realtime.connections == "per_device":
        check_open_files(len(range(rank, count_devices(scenario.fleet), count)))
    check_reachable(options.broker, REACH_TIMEOUT_S)
    logins = _logins(options.credentials)
    check_readable(scenario)
    with _new_folder(options.out) as draft:
        folder = draft.folder
        recordings = read_trace_files(scenario.fleet, scenario.stop_time)
        resolved = msgspec.structs.replace(scenario, data=resolve_data(scenario.data, options.data))
        job = prepare(resolved, options.store, folder, on_training=on_training, traces=recordings).job
        text = dump(msgspec.structs.replace(resolved, broker="auto"))
        (folder / SCENARIO).write_text(text, encoding="utf-8")
        job = replace(job, devices=job.devices[rank::count], fleet=options.fleet or job.fleet)
        simulation = Simulation(job, lambda _: None)
        with fewer_gc_runs():
            measured = run_interruptibly(_run(simulation, options, logins, on_status, draft.keep))
        add_entries(folder / JOURNAL, {SCENARIO: text.encode()})
        write_measurements(folder / MEASURED, measured)
    return folder


def _check_not_over(scenario: Scenario, options: ShardOptions) -> None:
    if options.start_at is None or options.supervised:
        return
    late_ns = (time.time() - options.start_at) * scenario.realtime.speed * NS_PER_S
    if late_ns >= scenario.stop_time:
        stop = format_duration(scenario.stop_time)
        raise InputError(f"--start-at: {stop} of simulated time after that time are over already")


async def _run(
    simulation: Simulation,
    options: ShardOptions,
    logins: Mapping[str, Account],
    on_status: OnStatus,
    keep: Callable[[], None],
) -> ShardMeasurements:
    """Wait for the start time, then run the shard; call *keep* when simulated time begins."""
    job, endpoint = simulation.job, options.broker
    client_id = f"{job.fleet}-shard-{options.position.rank + 1}"
    fleet = endpoint.connection(Role.FLEET, f"fleet-{client_id}")
    settings = job.scenario.realtime

    def device(name: str) -> Connection:
        login = logins.get(name)
        connection = endpoint.connection(Role.FLEET, f"{job.fleet}.{name}")
        if login is not None:
            connection = replace(connection, user=login.user, password=login.password)
        keep_alive_s = int(settings.keep_alive) // NS_PER_S
        return replace(connection, persistent=settings.persistent, keep_alive_s=keep_alive_s)

    def check() -> None:
        """Check nothing: others supervise the broker and the cloud."""

    feed = None if options.deeds is None else DeedFeed(read_deeds(options.deeds))
    start = StartTime(
        options.start_at, options.first_seq, settings.speed, feed, supervised=options.supervised
    )
    task = asyncio.current_task()
    assert task is not None
    if options.supervised:
        start.read_commands(task)
    probe = Gateway(replace(fleet, client_id=f"agree-{client_id}"), job.fleet)
    async with probe.running():
        await simulation.wait_for_model(probe, check)
    life = start.life()
    due_s = start.due_s()

    async def begin() -> float:
        began_s = await start.begin()
        keep()
        return began_s

    rng = np.random.default_rng()
    route = ShardLinks(
        fleet, device, begin, due_s, options.position, life, rng, on_status, options.may_be_late, feed
    )
    measured = await Shard(simulation, route).run(check)
    models = tuple(store.version for store in job.stores)
    identity = ShardRun(
        name=options.run, fleet=job.fleet, models=models, start_at=options.start_at, began_at=start.began_at
    )
    return msgspec.structs.replace(measured, run=identity)


def _logins(path: Path | None) -> Mapping[str, Account]:
    """Return the accounts of devices, by device."""
    accounts = read_credentials(path) if path else ()
    return {account.user: account for account in accounts if account.role is Role.DEVICE}


@contextmanager
def _new_folder(folder: Path) -> Iterator[RunDraft]:
    """Create *folder*, and yield it as a draft; remove it after an InputError, unless the shard had begun."""
    draft = RunDraft(folder, folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out(={folder}) must be a folder that can be created: {error.strerror}") from None
    try:
        yield draft
    except InputError as error:
        if draft.kept:
            raise RunError(f"{error}; the shard's files are in {folder}") from error
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception as error:
        refusal = os_error_of(error)
        if draft.kept and refusal:
            raise RunError(f"{refusal}; what the shard has written is in {folder}") from error
        raise
