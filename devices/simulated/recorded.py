"""A recorded device: what happened to it and how its exchanges went, to be played again.

What a recording has of an exchange is played as recorded: when the report was at the cloud, when the answer
left and when it began to arrive, and what harm came to them. How long the parts then take on the link follows
from their bytes, as it does in every run.

An exchange is in the recording if its report has the same number and leaves at the same time. Of one that is
not, because somebody changed the recording, delays are drawn from the link's own stream, and no harm comes to
it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import simpy

from devices.protocol.agent import Agent
from devices.simulated.budget_trajectory import Course
from devices.simulated.exchange import Capacity, Drop, Exchange, Expect, Unanswered
from devices.simulated.link import Direction, Link
from devices.timeline.connectivity import FOREVER, ConnectivityChange
from devices.timeline.faults import NO_IMPAIRMENT, BrokerFault, FaultWindow, Impairment, LinkFault


class Trip(NamedTuple):
    """How an exchange went; -1 is never."""

    sent_ns: int
    arrived_ns: int
    begun_ns: int
    left_ns: int
    answered_ns: int
    ended_ns: int
    impairment: Impairment = NO_IMPAIRMENT
    """What became of the report."""
    cut_off: int | None = None
    """The outage in which it would have arrived."""
    refused: bool = False
    """Whether the cloud's queue was full when it came."""


@dataclass(frozen=True)
class Script:
    """The recorded exchanges of one device."""

    trips: Mapping[int, Trip] = field(default_factory=dict)
    """By the report's number."""
    parts: Mapping[int, list[Impairment]] = field(default_factory=dict)
    """What became of the parts that left at a time and did not arrive as they were sent; used up."""

    def trip(self, seq: int, sent_ns: int) -> Trip | None:
        """Return how the exchange went whose report *seq* leaves at *sent_ns*; None: it is not recorded."""
        found = self.trips.get(seq)
        return found if found is not None and found.sent_ns == sent_ns else None


@dataclass(frozen=True)
class Recorded:
    """What a recording has of one device."""

    course: Course
    """Its budget, from the start of the run."""
    connectivity: Iterable[ConnectivityChange]
    """When it was connected."""
    script: Script | None = None
    """How its exchanges went; None: they go as the links and the cloud make them go."""


class RecordedUplink(Link):
    """The way to the cloud, as recorded.

    Args:
        direction: what it is like.
        rng: for reports that are not in the recording.
        windows: the faults on it.
        script: the recorded exchanges.
        agent: whose reports it carries.
        outages: when the broker is down.
    """

    __slots__ = ("_agent", "_outages", "_script", "_through")

    def __init__(
        self,
        direction: Direction,
        rng: np.random.Generator | None,
        windows: Sequence[FaultWindow[LinkFault]],
        weather: np.random.Generator | None,
        *,
        script: Script,
        agent: Agent,
        outages: Sequence[FaultWindow[BrokerFault]],
    ) -> None:
        super().__init__(direction, rng, windows, weather)
        self._script, self._agent = script, agent
        self._outages = {window.number: window for window in outages}
        self._through = 0
        self.calm = self.calm and all(trip.impairment == NO_IMPAIRMENT for trip in script.trips.values())

    def transfer(self, now: int, wire_bytes: int) -> int:
        """Return the time at which a report that comes up at *now* is through."""
        self._through = super().transfer(now, wire_bytes)
        return self._through

    def delay(self, t_ns: int) -> int:
        """Return how long the report that leaves at *t_ns* took from when it was through."""
        trip = self._script.trip(self._agent.seq, t_ns)
        if trip is None:
            return super().delay(t_ns)
        if trip.cut_off is not None:
            return max(0, self._outages[trip.cut_off].start_ns - self._through)
        return (trip.arrived_ns if trip.arrived_ns >= 0 else FOREVER) - self._through

    def draw_impairment(self, t_ns: int) -> Impairment:
        """Return what became of the report that leaves at *t_ns*."""
        trip = self._script.trip(self._agent.seq, t_ns)
        return NO_IMPAIRMENT if trip is None else trip.impairment

    def in_order(self, arrives_ns: int) -> int:
        """Return *arrives_ns*: what was recorded was in order, and what never arrived holds nothing up."""
        return arrives_ns


class RecordedDownlink(Link):
    """The way to the device, as recorded; when an answer begins to arrive `RecordedCapacity` says.

    Args:
        direction: what it is like.
        rng: for answers that are not in the recording.
        windows: the faults on it.
        weather: the stream for which byte of a part is damaged: any is found.
        script: the recorded exchanges.
    """

    __slots__ = ("_parts",)

    def __init__(
        self,
        direction: Direction,
        rng: np.random.Generator | None,
        windows: Sequence[FaultWindow[LinkFault]],
        weather: np.random.Generator | None,
        *,
        script: Script,
    ) -> None:
        super().__init__(direction, rng, windows, weather)
        self._parts = script.parts
        self.calm = self.calm and not script.parts

    def draw_impairment(self, t_ns: int) -> Impairment:
        """Return what became of the part that leaves at *t_ns*."""
        impairments = self._parts.get(t_ns)
        if not impairments:
            return NO_IMPAIRMENT
        impairment = impairments.pop(0)
        return (
            impairment
            if impairment.resent is None
            else impairment._replace(late_ns=self.late_ns(impairment.retries))
        )

    def draw(self) -> float:
        """Draw a number from 0 to 1; 0 where the link has no weather of its own."""
        return super().draw() if self._weather is not None else 0.0


class RecordedCapacity:
    """The cloud as recorded: how long each report waited, and when its answer left.

    Args:
        env: the environment that the devices live in.
        scripts: the recorded exchanges, by device number.
        otherwise: the cloud for reports that are not in the recording.
        in_turn: whether reports were worked on in the order of their arrival, not of their leaving.
    """

    def __init__(
        self, env: simpy.Environment, scripts: Mapping[int, Script], otherwise: Capacity, *, in_turn: bool
    ) -> None:
        self._env = env
        self._scripts = scripts
        self._otherwise = otherwise
        self._in_turn = in_turn

    def take(self, exchange: Exchange, expect: Expect, drop: Drop) -> None:
        """Say when the answer leaves and begins to arrive, or drop the report when it was dropped."""
        trip = self._scripts[exchange.number].trip(exchange.seq, exchange.sent_ns)
        if trip is None:
            self._otherwise.take(exchange, expect, drop)
        elif trip.begun_ns < 0:
            # A report that was refused is recorded at the end of its device's patience: it came before.
            t_ns, why = exchange.arrived_ns, Unanswered.REFUSED
            if not trip.refused:
                t_ns, why = trip.ended_ns, Unanswered.REPLACED
            self._at(t_ns, lambda _: drop(exchange, why))
        else:
            exchange.begun_ns, exchange.left_ns = trip.begun_ns, trip.left_ns
            exchange.barrier_ns = trip.answered_ns
            if self._in_turn:
                self._at(exchange.arrived_ns, lambda _: self._begin(exchange, expect))
            else:
                expect(exchange)

    def _begin(self, exchange: Exchange, expect: Expect) -> None:
        """Schedule the answer when its service begins, as a queue does.

        Events of one moment happen in the order in which they were scheduled. That of services which begin
        at the same time is that of the arrivals.
        """
        if exchange.begun_ns > self._env.now:
            self._at(exchange.begun_ns, lambda _: expect(exchange))
        else:
            expect(exchange)

    def _at(self, t_ns: int, act: Callable[[simpy.Event], None]) -> None:
        self._env.timeout(max(0, t_ns - int(self._env.now))).callbacks.append(act)
