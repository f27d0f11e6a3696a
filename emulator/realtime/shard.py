"""One shard of a fleet in real time, from a prepared simulation to a draft journal."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import simpy

from devices.mqtt.gateway import Gateway
from devices.mqtt.sessions import Sessions
from devices.simulated.device import Device
from devices.simulated.exchange import Exchange
from emulator.metrics.live_status import LiveCounters, LiveStatus
from emulator.metrics.realtime_measurements import ShardMeasurements, StoredHistogram
from emulator.realtime.driver import Driver
from emulator.realtime.real_cloud import NullReports, RealCloud
from emulator.realtime.wall_clock import ExternalEvents, StreamingHistogram, WallClock
from emulator.simulation.abort_monitor import AbortedError
from emulator.simulation.simulation import Incarnation, Simulation
from wire.errors import NoAnswerError
from wire.mqtt.connection import Connection
from wire.no_answer import no_answer_text

PATIENCE_S = 120.0
"""How long the broker may be away before a pooled connection gives up."""
GOODBYE_S = 30.0
PULSE_S = 1.0


@dataclass(frozen=True)
class ShardLinks:
    """How a shard reaches its broker, and when it begins."""

    fleet: Connection
    """Of the shard as a whole."""
    device: Callable[[str], Connection]
    """Of one device, where each has its own."""
    begin: Callable[[], Awaitable[float]]
    """Waits until simulated time may begin; gives the moment when it was 0, by the monotonic clock."""
    due_s: float
    """When it begins whoever is connected by then, by the same clock; infinity: when all are."""
    place: tuple[int, int]
    """Which shard of how many, from 0."""
    life: Incarnation
    rng: np.random.Generator
    """For the waits before reconnections."""
    told: Callable[[LiveStatus], None]
    """Told once a second what the shard is doing."""
    may_be_late: bool = False
    """Whether turns later than `max_lag` are counted; else one ends the run."""


class Shard:
    """A shard that runs in real time.

    Args:
        simulation: prepared.
        route: how it reaches the broker.
    """

    def __init__(self, simulation: Simulation, route: ShardLinks) -> None:
        job = simulation.job
        self._settings = job.scenario.realtime
        self._simulation = simulation
        self._route = route
        self._inlet = ExternalEvents()
        self._connects = StreamingHistogram()
        self._devices: dict[str, Device] = {}
        self._pulses = LiveCounters([each.number for each in job.devices])
        self._told_s = 0.0
        self._gathered, self._gather_s = 0, 0.0
        env = simpy.Environment(route.life.since_ns)
        self._network = self._connected()
        retry_ns, service_ns = int(job.scenario.updates.retry_after), int(job.scenario.cloud.service_time)
        self._trips = RealCloud(env, self._network, retry_ns, service_ns, simulation.cloud_windows)
        self._env = env

    async def run(self, check: Callable[[], None]) -> ShardMeasurements:
        """Run to the end of the scenario.

        Args:
            check: raises when something that the run needs has died.

        Raises:
            RunError: the run failed.
        """
        with self._simulation.rescue():
            return await self._run(check)

    async def _run(self, check: Callable[[], None]) -> ShardMeasurements:
        simulation, route = self._simulation, self._route
        simulation.journal.tap = self._pulses.add_rows
        found = simulation.populate(
            self._env, NullReports(self._network), simulation.job.devices, self._trips, route.life
        )
        self._devices |= {device.name: device for device in found}
        aborted_ns = None
        async with self._network.running():
            await self._gather(check)
            started_s = await route.begin()
            pace = WallClock(self._settings.speed, started_s)
            driver = Driver(
                self._env, pace, self._inlet, self._trips, self._network, self._settings.max_lag,
                ends=not route.may_be_late,
            )  # fmt: skip
            try:
                await driver.run(partial(self._after_turn, started_s), check)
            except AbortedError as aborted:
                aborted_ns = aborted.t_ns
            wall_seconds = time.monotonic() - started_s
            await self._network.say_goodbye(list(self._devices), GOODBYE_S)
        simulation.journal.close(simulation.log)
        return self._measured(driver, wall_seconds, aborted_ns)

    async def _gather(self, check: Callable[[], None]) -> None:
        """Wait until every device is connected that is there from the start; simulated time stands still.

        Where simulated time does not wait, the others join it when they are connected.

        Raises:
            RunError: for long nobody more has connected.
        """
        env, network = self._env, self._network
        while env.peek() <= env.now:
            env.step()
        up, since_s = 0, time.monotonic()
        began_s = since_s
        while network.up < network.wanted and time.monotonic() < self._route.due_s:
            check()
            network.check()
            if network.up > up:
                up, since_s = network.up, time.monotonic()
            if time.monotonic() - since_s > PATIENCE_S:
                came = f"only {up} of {network.wanted} connections came about: {network.trouble}"
                raise NoAnswerError(no_answer_text(came, *network.notes()))
            await asyncio.sleep(0.05)
        if isinstance(network, Sessions):
            self._gathered, self._gather_s = network.up, time.monotonic() - began_s

    def _connected(self) -> Gateway | Sessions:
        job, route = self._simulation.job, self._route
        if self._settings.connections == "pooled":
            return Gateway(route.fleet, job.fleet, give_up_s=PATIENCE_S, answered=self._answered)
        sessions = Sessions(
            route.device,
            job.fleet,
            self._settings,
            joined=lambda name: self._inlet.post(lambda: self._joined(sessions, name)),
            broke=lambda name: self._inlet.post(lambda: self._devices[name].broke()),
            answered=self._answered,
            rng=route.rng,
        )
        return sessions

    def _joined(self, sessions: Sessions, name: str) -> None:
        # By now the device may have left and come again: then its new connection is not there yet.
        if sessions.is_up(name):
            self._devices[name].joined()

    def _answered(self, exchange: Exchange) -> None:
        self._inlet.post(lambda: self._trips.answered(exchange))

    def _after_turn(self, started_s: float, now_ns: int, lag_ns: int) -> None:
        self._pulses.add_lag(lag_ns)
        now_s = time.monotonic()
        if now_s - self._told_s < PULSE_S:
            return
        self._told_s = now_s
        simulation = self._simulation
        simulation.journal.take(simulation.log, at_least=1)  # what a killed shard leaves ends here
        stop_ns = int(simulation.job.scenario.stop_time)
        self._fold()
        pulse = self._pulses.snapshot(
            min(now_ns, stop_ns),
            now_s - started_s,
            connections=self._network.up,
            in_flight=self._trips.flying,
        )
        self._route.told(pulse)

    def _fold(self) -> None:
        if isinstance(self._network, Sessions):
            for spent_ns in self._network.connect_ns:
                self._connects.add(spent_ns)
            self._network.connect_ns.clear()

    def _measured(self, driver: Driver, wall_seconds: float, aborted_ns: int | None) -> ShardMeasurements:
        self._fold()
        return ShardMeasurements(
            shard=self._route.place[0],
            shards=self._route.place[1],
            wall_seconds=wall_seconds,
            aborted_ns=aborted_ns,
            lag=StoredHistogram.from_histogram(driver.lag.histogram()),
            connects=StoredHistogram.from_histogram(self._connects.histogram()),
            round_trips=StoredHistogram.from_histogram(self._trips.seconds.histogram()),
            connected_first=self._gathered,
            connect_first_seconds=self._gather_s,
            counts={**self._network.counts, **self._trips.counts},
            late_turns=driver.late_turns,
            has_checksums=True,
        )
