"""The real cloud in the place of an emulated one."""

import heapq
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import simpy

from devices.simulated.exchange import Drop, Exchange, Expect, Transport, Unanswered
from devices.timeline.faults import CloudFault, FaultWindow, service_interval
from emulator.realtime.wall_clock import StreamingHistogram
from wire.topics import MessageKind
from wire.units import NS_PER_S


class RealNetwork(Transport, Protocol):
    """Real connections to a real broker."""

    def give_up(self, exchange: Exchange) -> None:
        """Nobody waits for the answer any more."""

    def check(self) -> None:
        """Raise if something is broken for good."""


@dataclass(eq=False)
class _InFlight:
    """A report that is at the cloud, for real."""

    exchange: Exchange
    expect: Expect
    drop: Drop
    deadline_ns: int
    published_s: float = 0.0
    landed: bool = False


class RealCloud:
    """The real cloud in the place of an emulated one: it takes as long as it takes.

    A report is published when it has come through its uplink; its answer leaves when the last of its parts
    has arrived here. Nothing is drawn, and nothing waits but for an outage or a slowness of the scenario.

    Args:
        env: the environment that all devices live in.
        network: what carries the reports.
        retry_ns: how long a device waits for an answer.
        service_ns: what a slow cloud is slower than.
        windows: when the scenario has the cloud down or slow.
    """

    def __init__(
        self,
        env: simpy.Environment,
        network: RealNetwork,
        retry_ns: int,
        service_ns: int = 0,
        windows: Sequence[FaultWindow[CloudFault]] = (),
    ) -> None:
        self.seconds = StreamingHistogram()
        """Round trips of a report and its answer, in nanoseconds of the wall clock."""
        self._env = env
        self._network = network
        self._retry_ns = retry_ns
        self._service_ns = service_ns
        self._windows = tuple(windows)
        self.clock_ns: Callable[[], int] = lambda: int(env.now)
        """What simulated time should be by now: the environment may be late."""
        self.counts = Counter({"reports_published": 0, "reports_answered": 0, "reports_unanswered": 0})
        """Reports that went to the real broker, by what came of them; who was overtaken is in none."""
        self.flying = 0
        """How many reports are without their answers."""
        self._flying: dict[int, dict[int, _InFlight]] = {}
        self._deadlines: list[tuple[int, int, _InFlight]] = []
        self._numbers = itertools.count()

    def take(self, exchange: Exchange, expect: Expect, drop: Drop) -> None:
        """Publish the report when it has arrived where the cloud is."""
        at_ns = exchange.arrived_ns
        if self._windows:
            _, left_ns = service_interval(at_ns, self._service_ns, self._windows)
            at_ns = max(at_ns, left_ns - self._service_ns)
        flight = _InFlight(exchange, expect, drop, exchange.sent_ns + self._retry_ns)
        self._flying.setdefault(exchange.number, {})[exchange.seq] = flight
        self.flying += 1
        self._env.timeout(max(0, at_ns - int(self._env.now)), flight).callbacks.append(self._publish)

    def answered(self, exchange: Exchange) -> None:
        """The answer is complete: it leaves for the device."""
        flight = self._flying.get(exchange.number, {}).get(exchange.seq)
        if flight is None:
            return
        self._land(flight)
        for older in [each for each in self._of(exchange) if each.exchange.seq < exchange.seq]:
            # Its answer would be stale, and the cloud answers only the newest of what waits of a device.
            self._land(older)
            self._network.give_up(older.exchange)
            older.drop(older.exchange, Unanswered.REPLACED)
        self.counts["reports_answered"] += 1
        self.seconds.add(int((time.monotonic() - flight.published_s) * NS_PER_S))
        exchange.left_ns = int(self._env.now)
        flight.expect(exchange)

    def next_deadline_ns(self) -> float:
        """Return when the next device gives up waiting; infinity where none waits."""
        while self._deadlines and self._deadlines[0][2].landed:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def expire(self, now_ns: int) -> None:
        """Give up what has waited for too long."""
        while self.next_deadline_ns() <= now_ns:
            _, _, flight = heapq.heappop(self._deadlines)
            self._land(flight)
            self._network.give_up(flight.exchange)
            self.counts["reports_unanswered"] += 1
            flight.drop(flight.exchange, Unanswered.LOST)

    def _of(self, exchange: Exchange) -> list[_InFlight]:
        """Return what is under way of the exchange's device."""
        return list(self._flying.get(exchange.number, {}).values())

    def _land(self, flight: _InFlight) -> None:
        flight.landed = True
        del self._flying[flight.exchange.number][flight.exchange.seq]
        self.flying -= 1

    def _publish(self, event: simpy.Event) -> None:
        flight: _InFlight = event.value  # type: ignore[assignment]  # as `take` gave it
        if flight.landed:
            return  # a newer report has overtaken it
        flight.published_s = time.monotonic()
        self.counts["reports_published"] += 1
        flight.exchange.begun_ns = int(self._env.now)
        # A device waits as long by the wall clock as it would: it is not to blame for a late schedule.
        deadline_ns = flight.deadline_ns + max(0, self.clock_ns() - int(self._env.now))
        heapq.heappush(self._deadlines, (deadline_ns, next(self._numbers), flight))
        if flight.exchange.layers:
            self._network.subscribe(flight.exchange)
        else:
            self._network.send_report(flight.exchange)


class NullReports:
    """The transport of a device in real time: `RealCloud` has sent the report already.

    Args:
        network: what carries everything else.
    """

    def __init__(self, network: RealNetwork) -> None:
        self.listening, self.sessions = network.listening, network.sessions
        self.connect, self.disconnect = network.connect, network.disconnect
        self.send_damaged = network.send_damaged
        self._network = network

    def send_report(self, exchange: Exchange) -> None:
        """It has been sent, and answered."""

    def subscribe(self, exchange: Exchange) -> None:
        """It has been asked for, and answered."""

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Pass the message on."""
        self._network.publish(device, kind, message)
