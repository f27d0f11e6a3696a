"""One shard of a fleet in real time, from a prepared simulation to its event log."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from devices.mqtt.gateway import Gateway
from devices.mqtt.sessions import Sessions
from devices.simulated.clock import Clock
from devices.simulated.device import Device
from devices.simulated.exchange import Exchange
from emulator.live.deeds import Deed
from emulator.metrics.live_status import LiveCounters, LiveStatus
from emulator.metrics.realtime_measurements import ShardMeasurements, StoredHistogram
from emulator.realtime.driver import Driver
from emulator.realtime.real_cloud import RealCloud
from emulator.realtime.steered_fleet import DeedFeed, SteeredFleet
from emulator.realtime.wall_clock import ExternalEvents, StreamingHistogram, WallClock
from emulator.simulation.abort_monitor import AbortedError
from emulator.simulation.simulation import Incarnation, Simulation
from wire.errors import NoAnswerError
from wire.mqtt.connection import Connection
from wire.no_answer import no_answer_text

PATIENCE_S = 120.0
"""Seconds without progress after which a run gives up connecting."""
ANNOUNCE_OFFLINE_S = 30.0
STATUS_EVERY_S = 1.0


@dataclass(frozen=True)
class ShardLinks:
    """Connections of a shard to its broker, and the start of its simulated time."""

    fleet: Connection
    """Connection of the shard as a whole."""
    device: Callable[[str], Connection]
    """Returns the connection of one device, if each has its own."""
    begin: Callable[[], Awaitable[float]]
    """Waits until simulated time may start; returns the monotonic time when it was 0."""
    due_s: float
    """Monotonic time at which the shard starts in any case; infinity: it waits for all devices."""
    shard: tuple[int, int]
    """Index of the shard, from 0, and number of shards."""
    incarnation: Incarnation
    rng: np.random.Generator
    """Draws the waits before reconnections."""
    on_status: Callable[[LiveStatus], None]
    """Called once a second with the live status of the shard."""
    may_be_late: bool = False
    """True if delays above `max_lag` are only counted; else the first one fails the run."""
    deeds: DeedFeed | None = None
    """Deeds by hand; None where nobody can do any."""


class Shard:
    """A shard that runs in real time.

    Args:
        simulation: the prepared simulation.
        links: the connections to the broker.
    """

    def __init__(self, simulation: Simulation, links: ShardLinks) -> None:
        job = simulation.job
        self._settings = job.scenario.realtime
        self._simulation = simulation
        self._links = links
        self._events = ExternalEvents()
        self._connects = StreamingHistogram()
        self._devices: dict[str, Device] = {}
        self._live = LiveCounters({spec.number: spec.group.name for spec in job.devices})
        self._status_s = 0.0
        self._connected_first, self._connect_s = 0, 0.0
        self._stop_ns = int(job.scenario.stop_time)
        clock = Clock(links.incarnation.since_ns)
        self._network = self._new_network()
        retry_ns, service_ns = int(job.scenario.updates.retry_after), int(job.scenario.cloud.service_time)
        self._cloud = RealCloud(clock, self._network, retry_ns, service_ns, simulation.cloud_windows)
        self._clock = clock

    async def run(self, check: Callable[[], None]) -> ShardMeasurements:
        """Run to the end of the scenario.

        Args:
            check: called now and then; raises if a process of the run has died.

        Raises:
            RunError: the run failed.
        """
        with self._simulation.keep_log_on_error():
            return await self._run(check)

    async def _run(self, check: Callable[[], None]) -> ShardMeasurements:
        simulation, links = self._simulation, self._links
        simulation.writer.on_rows = self._live.add_rows
        devices = simulation.start_devices(
            self._clock,
            self._network,
            simulation.job.devices,
            publisher=self._network,
            connections=self._network if isinstance(self._network, Sessions) else None,
            cloud=self._cloud,
            incarnation=links.incarnation,
        )
        self._devices |= {device.name: device for device in devices}
        steered = None
        if links.deeds is not None:
            steered = SteeredFleet(simulation.job.devices, self._devices, self._clock, self._stop_ns)
            steered.resume(links.deeds.earlier, links.incarnation.since_ns)
        aborted_ns = None
        async with self._network.running():
            await self._wait_for_connections(check)
            started_s = await links.begin()
            clock = WallClock(self._settings.speed, started_s)
            if links.deeds is not None and steered is not None:
                links.deeds.start(partial(self._carry_out, steered, clock))
            driver = Driver(
                self._clock, clock, self._events, self._cloud, self._network, self._settings.max_lag,
                fail_if_late=not links.may_be_late,
            )  # fmt: skip
            try:
                await driver.run(partial(self._after_turn, started_s), check)
            except AbortedError as aborted:
                aborted_ns = aborted.t_ns
            wall_seconds = time.monotonic() - started_s
            await self._network.announce_offline(list(self._devices), ANNOUNCE_OFFLINE_S)
        simulation.writer.close(simulation.log)
        return self._measured(driver, wall_seconds, aborted_ns)

    def _carry_out(self, steered: SteeredFleet, clock: WallClock, deed: Deed) -> None:
        """Carry out a deed: one about time by the wall clock, one about devices as an event."""
        speed = deed.new_speed(clock.speed)
        if speed is None:
            self._events.post(partial(steered.schedule, deed))
        else:
            clock.change(deed.at_s - time.time() + time.monotonic(), speed)
            self._events.posted.set()

    async def _wait_for_connections(self, check: Callable[[], None]) -> None:
        """Wait until all devices that are online at the start are connected; simulated time stands still.

        If the start time is fixed, the remaining devices connect later.

        Raises:
            RunError: no further device has connected for a long time.
        """
        clock, network = self._clock, self._network
        while clock.peek() <= clock.now_ns:
            clock.step()
        up, since_s = 0, time.monotonic()
        began_s = since_s
        while network.up < network.expected and time.monotonic() < self._links.due_s:
            check()
            network.check()
            if network.up > up:
                up, since_s = network.up, time.monotonic()
            if time.monotonic() - since_s > PATIENCE_S:
                came = f"only {up} of {network.expected} connections were made: {network.last_error}"
                raise NoAnswerError(no_answer_text(came, *network.notes()))
            await asyncio.sleep(0.05)
        if isinstance(network, Sessions):
            self._connected_first, self._connect_s = network.up, time.monotonic() - began_s

    def _new_network(self) -> Gateway | Sessions:
        job, links = self._simulation.job, self._links
        if self._settings.connections == "pooled":
            return Gateway(links.fleet, job.fleet, give_up_s=PATIENCE_S, on_answer=self._on_answer)
        sessions = Sessions(
            links.device,
            job.fleet,
            self._settings,
            on_connected=lambda name: self._events.post(lambda: self._on_connected(sessions, name)),
            on_disconnected=lambda name: self._events.post(lambda: self._devices[name].on_disconnected()),
            on_answer=self._on_answer,
            rng=links.rng,
        )
        return sessions

    def _on_connected(self, sessions: Sessions, name: str) -> None:
        # The device may have left and come back since: then its new connection is not up yet.
        if sessions.is_up(name):
            self._devices[name].on_connected()

    def _on_answer(self, exchange: Exchange) -> None:
        self._events.post(lambda: self._cloud.answered(exchange))

    def _after_turn(self, started_s: float, now_ns: int, lag_ns: int) -> None:
        self._live.add_lag(lag_ns)
        now_s = time.monotonic()
        if now_s - self._status_s < STATUS_EVERY_S:
            return
        self._status_s = now_s
        simulation = self._simulation
        simulation.writer.flush(simulation.log, at_least=1)  # the log of a killed shard ends here
        self._collect_connect_times()
        pulse = self._live.snapshot(
            min(now_ns, self._stop_ns),
            now_s - started_s,
            connections=self._network.up,
            in_flight=self._cloud.in_flight,
        )
        self._links.on_status(pulse)

    def _collect_connect_times(self) -> None:
        if isinstance(self._network, Sessions):
            for spent_ns in self._network.connect_ns:
                self._connects.add(spent_ns)
            self._network.connect_ns.clear()

    def _measured(self, driver: Driver, wall_seconds: float, aborted_ns: int | None) -> ShardMeasurements:
        self._collect_connect_times()
        return ShardMeasurements(
            shard=self._links.shard[0],
            shards=self._links.shard[1],
            wall_seconds=wall_seconds,
            aborted_ns=aborted_ns,
            lag=StoredHistogram.from_histogram(driver.lag.histogram()),
            connects=StoredHistogram.from_histogram(self._connects.histogram()),
            round_trips=StoredHistogram.from_histogram(self._cloud.round_trips.histogram()),
            connected_first=self._connected_first,
            connect_first_seconds=self._connect_s,
            counts={**self._network.counts, **self._cloud.counts},
            late_turns=driver.late_turns,
            has_checksums=True,
        )
