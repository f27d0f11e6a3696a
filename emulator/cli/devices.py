"""``peelfleet devices``: one shard of a fleet in real time, in a process of its own."""

import asyncio
import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from broker_config.accounts import Account, read_credentials
from broker_config.endpoint import Endpoint, check_reachable, parse_url
from devices.mqtt.gateway import Gateway
from devices.mqtt.sessions import check_open_files
from devices.simulated.roster import device_names
from emulator.cli.terminal import Console
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.realtime_measurements import ShardMeasurements, ShardRun, write_measurements
from emulator.processes.event_loop import run_interruptibly
from emulator.processes.shard_processes import MEASURED, READY
from emulator.realtime.shard import Shard, ShardLinks
from emulator.run_directory.event_log import JOURNAL
from emulator.run_directory.layout import SCENARIO, RunDraft, os_error_of
from emulator.run_directory.manifest import add_entries
from emulator.simulation.job import prepare
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.simulation import Incarnation, Simulation, fewer_gc_runs
from emulator.simulation.trace_files import read_trace_files
from scenarios.language.load import check_readable, dump
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError
from wire.mqtt.connection import Connection
from wire.topics import Role, valid_name
from wire.units import NS_PER_S, format_duration

REACH_TIMEOUT_S = 5.0
JOIN_AFTER_S = 1.0
"""A shard that comes late joins so long after it is ready."""

Training = Callable[[str, int, int, str], None]
Told = Callable[[LiveStatus], None]


@dataclass(frozen=True)
class Wanted:
    """What the command line says."""

    scenario: Scenario
    broker: str
    place: tuple[int, int]
    """Which of how many shards, from 0."""
    out: Path
    store: Path | None = None
    data: Path | None = None
    credentials: Path | None = None
    fleet: str | None = None
    """The fleet's name in topics; None: that of the scenario, which hangs on where its data are."""
    start_at: float | None = None
    """When simulated time is 0, in seconds since the epoch; None: when told, or at once."""
    first_seq: int | None = None
    may_be_late: bool = False
    """Whether turns that are later than `realtime.max_lag` are counted; else one ends the run."""
    followed: bool = False
    """Whether a run has started this process: it says when to begin, and hears what we do."""
    run: str | None = None
    """A name that all shards of the run have; None: it has none."""


def read_place(text: str) -> tuple[int, int]:
    """Return which of how many shards ``2/4`` is, from 0.

    Raises:
        InputError: it is something else.
    """
    place, _, count = text.partition("/")
    if not (place.isdecimal() and count.isdecimal() and 1 <= int(place) <= int(count) <= 10_000):
        raise InputError(f"--shard {text!r}: must be such as 2/4: the second of four")
    return int(place) - 1, int(count)


def read_moment(text: str) -> float:
    """Return a moment in seconds since the epoch: such a number, or ``2026-11-24T12:00:00Z``.

    Raises:
        InputError: it is something else.
    """
    with suppress(ValueError):
        moment = float(text)
        if math.isfinite(moment):
            return moment
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InputError(
            f"--start-at {text!r}: must be such as 2026-11-24T12:00:00Z, or seconds since 1970"
        ) from None


@contextmanager
def watched(wanted: Wanted) -> Iterator[tuple[Training, Told]]:
    """Give what is told of training and of the devices: a terminal, or the run that has started us."""
    if wanted.followed:
        yield _quiet, _pass_on
        return
    stop_ns = int(wanted.scenario.stop_time)
    with Console() as console:
        yield console.training, lambda pulse: console.simulating(pulse.t_ns, stop_ns)


def _quiet(*_: object) -> None:
    """The run has trained the model already."""


def _pass_on(pulse: LiveStatus) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(pulse) + b"\n")
    sys.stdout.buffer.flush()


def run_shard(wanted: Wanted, training: Training, told: Told) -> Path:
    """Run one shard to the end of its scenario; return its folder.

    Raises:
        InputError: an argument is wrong.
        RunError: the shard failed; what it wrote is left.
    """
    scenario = wanted.scenario
    place, count = wanted.place
    if count > 1 and scenario.shared_by:
        raise InputError(f"--shard {place + 1}/{count}: must be 1/1: {scenario.shared_by}")
    if wanted.fleet is not None and not valid_name(wanted.fleet):
        raise InputError(f"--fleet {wanted.fleet!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    if wanted.run is not None and not valid_name(wanted.run):
        raise InputError(f"--run {wanted.run!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    _check_not_over(wanted)
    if scenario.realtime.connections == "per_device":
        check_open_files(len(range(place, len(list(device_names(scenario.fleet))), count)))
    endpoint = parse_url(wanted.broker)
    check_reachable(endpoint, REACH_TIMEOUT_S)
    logins = _logins(wanted.credentials)
    check_readable(scenario)
    with _making(wanted.out) as making:
        folder = making.folder
        recordings = read_trace_files(scenario.fleet, scenario.stop_time)
        resolved = msgspec.structs.replace(scenario, data=resolve_data(scenario.data, wanted.data))
        job = prepare(resolved, wanted.store, folder, training=training, recordings=recordings).job
        text = dump(msgspec.structs.replace(resolved, broker="auto"))
        (folder / SCENARIO).write_text(text, encoding="utf-8")
        job = replace(job, devices=job.devices[place::count], fleet=wanted.fleet or job.fleet)
        simulation = Simulation(job, lambda _: None)
        with fewer_gc_runs():
            measured = run_interruptibly(_run(simulation, wanted, endpoint, logins, told, making.keep))
        add_entries(folder / JOURNAL, {SCENARIO: text.encode()})
        write_measurements(folder / MEASURED, measured)
    return folder


def _check_not_over(wanted: Wanted) -> None:
    if wanted.start_at is None or wanted.followed:
        return
    late_ns = (time.time() - wanted.start_at) * wanted.scenario.realtime.speed * NS_PER_S
    if late_ns >= wanted.scenario.stop_time:
        stop = format_duration(wanted.scenario.stop_time)
        raise InputError(f"--start-at: {stop} of simulated time after that moment are over already")


async def _run(
    simulation: Simulation,
    wanted: Wanted,
    endpoint: Endpoint,
    logins: Mapping[str, Account],
    told: Told,
    keep: Callable[[], None],
) -> ShardMeasurements:
    """Run the shard, once somebody says when; call *keep* when simulated time begins."""
    job, ours = simulation.job, f"{simulation.job.fleet}-shard-{wanted.place[0] + 1}"
    fleet = endpoint.connection(Role.FLEET, f"fleet-{ours}")
    settings = job.scenario.realtime

    def device(name: str) -> Connection:
        login = logins.get(name)
        connection = endpoint.connection(Role.FLEET, f"{job.fleet}.{name}")
        if login is not None:
            connection = replace(connection, user=login.user, password=login.password)
        keep_alive_s = int(settings.keep_alive) // NS_PER_S
        return replace(connection, persistent=settings.persistent, keep_alive_s=keep_alive_s)

    def check() -> None:
        """Somebody else looks after the broker and the cloud."""

    start = _Start(wanted, settings.speed)
    task = asyncio.current_task()
    assert task is not None
    if wanted.followed:
        start.follow(task)
    probe = Gateway(replace(fleet, client_id=f"agree-{ours}"), job.fleet)
    async with probe.running():
        await simulation.agree(probe, check)
    life = start.life()
    due_s = start.due_s(life)

    async def begin() -> float:
        began_s = await start.begin()
        keep()
        return began_s

    rng = np.random.default_rng()
    route = ShardLinks(fleet, device, begin, due_s, wanted.place, life, rng, told, wanted.may_be_late)
    measured = await Shard(simulation, route).run(check)
    models = tuple(each.version for each in (job.store, job.newer) if each is not None)
    identity = ShardRun(
        name=wanted.run, fleet=job.fleet, models=models, start_at=wanted.start_at, began_at=start.began_at
    )
    return msgspec.structs.replace(measured, run=identity)


class _Start:
    """When simulated time begins, and when all ends.

    Args:
        wanted: what the command line says of it.
        speed: simulated seconds in a second.
    """

    def __init__(self, wanted: Wanted, speed: float) -> None:
        self._wanted = wanted
        self._speed = speed
        loop = asyncio.get_running_loop()
        self._told: asyncio.Future[float] = loop.create_future()
        self._loop = loop
        self.began_at = math.nan
        """The moment at which simulated time was 0, in seconds since the epoch; NaN before it begins."""

    def life(self) -> Incarnation:
        """Return which life the devices live: their first, unless simulated time has begun without them."""
        at = self._wanted.start_at
        late_s = 0.0 if at is None else time.time() - at
        since_ns = int((late_s + JOIN_AFTER_S) * self._speed * NS_PER_S) if late_s > 0 else 0
        first = self._wanted.first_seq
        # From the clock: above whatever an earlier life has used.
        return Incarnation(since_ns, int(time.time() * 1000) if first is None or since_ns else first)

    def due_s(self, life: Incarnation) -> float:
        """Return when *life* begins by the monotonic clock; infinity where that is still open."""
        at = self._wanted.start_at
        if at is None:
            return math.inf
        return time.monotonic() + at + life.since_ns / NS_PER_S / self._speed - time.time()

    async def begin(self) -> float:
        """Wait until it is known when simulated time is 0; return that by the monotonic clock."""
        at = self._wanted.start_at
        if self._wanted.followed:
            sys.stdout.buffer.write(READY)
            sys.stdout.buffer.flush()
        if at is None:
            at = await self._told if self._wanted.followed else time.time()
        self.began_at = at
        return time.monotonic() + at - time.time()

    def follow(self, shard: "asyncio.Task[ShardMeasurements]") -> None:
        """Hear on standard input when to begin; its end is ours."""
        threading.Thread(target=self._read, args=(shard,), daemon=True).start()

    def _read(self, shard: "asyncio.Task[ShardMeasurements]") -> None:
        for line in iter(sys.stdin.readline, ""):
            self._loop.call_soon_threadsafe(self._told.set_result, float(line))
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(shard.cancel)


def _logins(path: Path | None) -> Mapping[str, Account]:
    """Return the users of devices, by device."""
    accounts = read_credentials(path) if path else ()
    return {account.user: account for account in accounts if account.role is Role.DEVICE}


@contextmanager
def _making(folder: Path) -> Iterator[RunDraft]:
    """Give *folder*, new; a wrong input leaves nothing behind, a shard that fails what it wrote."""
    draft = RunDraft(folder, folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot make this folder: {error.strerror}") from None
    try:
        yield draft
    except InputError as error:
        if draft.kept:
            raise RunError(f"{error}; what the shard has written is in {folder}") from error
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception as error:
        refusal = os_error_of(error)
        if draft.kept and refusal:
            raise RunError(f"{refusal}; what the shard has written is in {folder}") from error
        raise
