"""The real cloud instead of a simulated one."""

import heapq
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from devices.simulated.clock import Clock
from devices.simulated.exchange import AnswerTiming, DropReason, Exchange
from devices.timeline.faults import CloudFault, FaultWindow, service_interval
from emulator.realtime.wall_clock import StreamingHistogram
from wire.units import NS_PER_S


class RealNetwork(Protocol):
    """Real connections to a real broker."""

    def send_report(self, exchange: Exchange) -> None:
        """Send the report; its exchange comes back to `RealCloud.answered` with the answer."""

    def subscribe(self, exchange: Exchange) -> None:
        """Ask for the report's layers, likewise."""

    def give_up(self, exchange: Exchange) -> None:
        """Stop waiting for the answer of *exchange*."""

    def check(self) -> None:
        """Raise an error that no reconnection can repair."""


@dataclass(eq=False)
class _InFlight:
    """A report that the real cloud has to answer."""

    exchange: Exchange
    deadline_ns: int
    published_ns: int = -1
    """In simulated time."""
    published_s: float = 0.0
    done: bool = False


class RealCloud:
    """The real cloud: publishes reports, and measures how long their answers take.

    A report is published when it has passed its uplink. Its answer is sent to the device when its last part
    has arrived here. No time is drawn at random; only cloud faults of the scenario add delays.

    Args:
        clock: of the environment of all devices.
        network: the connections to the broker.
        retry_ns: time that a device waits for an answer.
        service_ns: service time that a slow cloud multiplies.
        windows: cloud faults of the scenario.
    """

    def __init__(
        self,
        clock: Clock,
        network: RealNetwork,
        retry_ns: int,
        service_ns: int = 0,
        windows: Sequence[FaultWindow[CloudFault]] = (),
    ) -> None:
        self.round_trips = StreamingHistogram()
        """Times from a report to its answer, in nanoseconds of the wall clock."""
        self._clock = clock
        self._network = network
        self._retry_ns = retry_ns
        self._service_ns = service_ns
        self._windows = tuple(windows)
        self.clock_ns: Callable[[], int] = lambda: clock.now_ns
        """Returns the simulated time by the wall clock: the environment may be late."""
        self.counts = Counter({"reports_published": 0, "reports_answered": 0, "reports_unanswered": 0})
        """Published reports, by outcome; superseded ones are neither answered nor unanswered."""
        self.in_flight = 0
        """Number of reports without an answer."""
        self._flights: dict[int, dict[int, _InFlight]] = {}
        self._deadlines: list[tuple[int, int, _InFlight]] = []
        self._numbers = itertools.count()

    def submit(self, exchange: Exchange) -> None:
        """Publish the report when it has passed its uplink."""
        report, at_ns = exchange.report, exchange.arrived_ns
        if self._windows:
            _, left_ns = service_interval(at_ns, self._service_ns, self._windows)
            at_ns = max(at_ns, left_ns - self._service_ns)
        flight = _InFlight(exchange, report.sent_ns + self._retry_ns)
        self._flights.setdefault(report.number, {})[report.seq] = flight
        self.in_flight += 1
        self._clock.after(max(0, at_ns - self._clock.now_ns), flight, self._publish)

    def answered(self, exchange: Exchange) -> None:
        """Send the complete answer to the device."""
        report = exchange.report
        flight = self._flights.get(report.number, {}).get(report.seq)
        if flight is None:
            return
        self._remove(flight)
        for older in [other for other in self._of(exchange) if other.exchange.report.seq < report.seq]:
            # Its answer would be stale, and the cloud answers only the newest waiting report of a device.
            self._remove(older)
            self._network.give_up(older.exchange)
            older.exchange.on_drop(DropReason.REPLACED, older.published_ns)
        self.counts["reports_answered"] += 1
        self.round_trips.add(int((time.monotonic() - flight.published_s) * NS_PER_S))
        exchange.on_answer(AnswerTiming(flight.published_ns, self._clock.now_ns))

    def next_deadline_ns(self) -> float:
        """Return the time when the next device stops waiting; infinity if none waits."""
        while self._deadlines and self._deadlines[0][2].done:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def expire(self, now_ns: int) -> None:
        """Drop reports that have waited too long."""
        while self.next_deadline_ns() <= now_ns:
            _, _, flight = heapq.heappop(self._deadlines)
            self._remove(flight)
            self._network.give_up(flight.exchange)
            self.counts["reports_unanswered"] += 1
            flight.exchange.on_drop(DropReason.LOST, flight.published_ns)

    def _of(self, exchange: Exchange) -> list[_InFlight]:
        """Return the reports of the exchange's device that have no answer."""
        return list(self._flights.get(exchange.report.number, {}).values())

    def _remove(self, flight: _InFlight) -> None:
        flight.done = True
        report = flight.exchange.report
        del self._flights[report.number][report.seq]
        self.in_flight -= 1

    def _publish(self, flight: _InFlight) -> None:
        if flight.done:
            return  # a newer report has superseded it
        flight.published_s = time.monotonic()
        self.counts["reports_published"] += 1
        flight.published_ns = self._clock.now_ns
        # A delay of the schedule must not shorten the wait of the device.
        deadline_ns = flight.deadline_ns + max(0, self.clock_ns() - self._clock.now_ns)
        heapq.heappush(self._deadlines, (deadline_ns, next(self._numbers), flight))
        if flight.exchange.report.layers:
            self._network.subscribe(flight.exchange)
        else:
            self._network.send_report(flight.exchange)
