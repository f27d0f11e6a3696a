"""A recorded device: its budget, its connections and its exchanges in an earlier run, to be replayed.

An exchange is replayed as recorded: when the report was at the cloud, when the answer left and when it began
to arrive, and the impairments of both. How long the parts then take on the link follows from their bytes, as
it does in every run.

An exchange is in the recording if its report has the same number and leaves at the same time. For one that is
not, because somebody changed the recording, delays are drawn from the link's own stream, and there are no
impairments.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from devices.protocol.agent import Agent
from devices.simulated.budget_trajectory import BudgetTrajectory
from devices.simulated.clock import Clock, Value
from devices.simulated.exchange import AnswerTiming, CloudModel, DropReason, Exchange
from devices.simulated.link import Direction, Link
from devices.timeline.connectivity import FOREVER, ConnectivityChange
from devices.timeline.faults import NO_IMPAIRMENT, BrokerFault, FaultWindow, Impairment, LinkFault


class RecordedExchange(NamedTuple):
    """The times and impairments of an exchange; a time of -1 is never."""

    sent_ns: int
    arrived_ns: int
    service_start_ns: int
    answer_sent_ns: int
    barrier_ns: int
    ended_ns: int
    impairment: Impairment = NO_IMPAIRMENT
    """The impairment of the report."""
    cut_off: int | None = None
    """The outage in which the report would have arrived."""
    refused: bool = False
    """True if the cloud's queue was full when the report came."""
    lost: bool = False
    """True if a real cloud did not answer in time."""


@dataclass(frozen=True)
class RecordedExchanges:
    """The recorded exchanges of one device."""

    exchanges: Mapping[int, RecordedExchange] = field(default_factory=dict)
    """By the report's number."""
    parts: Mapping[int, list[Impairment]] = field(default_factory=dict)
    """Impairments of parts, by the time at which the parts left; used up in their order."""

    def find(self, seq: int, sent_ns: int) -> RecordedExchange | None:
        """Return the exchange of report *seq* that leaves at *sent_ns*; None: it is not recorded."""
        exchange = self.exchanges.get(seq)
        return exchange if exchange is not None and exchange.sent_ns == sent_ns else None


@dataclass(frozen=True)
class RecordedDevice:
    """One device of a recorded run."""

    trajectory: BudgetTrajectory
    """Its budget, from the start of the run."""
    connectivity: Iterable[ConnectivityChange]
    """Its connections and disconnections."""
    exchanges: RecordedExchanges | None = None
    """Its exchanges; None: the links and the cloud decide on them."""


class RecordedUplink(Link):
    """A recorded uplink.

    Args:
        direction: its settings.
        rng: for reports that are not in the recording.
        windows: the faults on it.
        impairment_rng: as in `Link`.
        recorded: the recorded exchanges.
        agent: whose reports it carries.
        outages: spans in which the broker is down.
    """

    __slots__ = ("_agent", "_outages", "_recorded", "_through")

    def __init__(
        self,
        direction: Direction,
        rng: np.random.Generator | None,
        windows: Sequence[FaultWindow[LinkFault]],
        impairment_rng: np.random.Generator | None,
        *,
        recorded: RecordedExchanges,
        agent: Agent,
        outages: Sequence[FaultWindow[BrokerFault]],
    ) -> None:
        super().__init__(direction, rng, windows, impairment_rng)
        self._recorded, self._agent = recorded, agent
        self._outages = {window.number: window for window in outages}
        self._through = 0
        exchanges = recorded.exchanges.values()
        self.unimpaired &= all(exchange.impairment == NO_IMPAIRMENT for exchange in exchanges)

    def transfer(self, now: int, wire_bytes: int) -> int:
        """Return the time at which a report that is sent at *now* is through."""
        self._through = super().transfer(now, wire_bytes)
        return self._through

    def delay(self, t_ns: int) -> int:
        """Return the recorded delay of the report that leaves at *t_ns*, from when it was through."""
        exchange = self._recorded.find(self._agent.seq, t_ns)
        if exchange is None:
            return super().delay(t_ns)
        if exchange.cut_off is not None:
            return max(0, self._outages[exchange.cut_off].start_ns - self._through)
        return (exchange.arrived_ns if exchange.arrived_ns >= 0 else FOREVER) - self._through

    def draw_impairment(self, t_ns: int) -> Impairment:
        """Return the recorded impairment of the report that leaves at *t_ns*."""
        exchange = self._recorded.find(self._agent.seq, t_ns)
        return NO_IMPAIRMENT if exchange is None else exchange.impairment

    def in_order(self, arrives_ns: int) -> int:
        """Return *arrives_ns*: the recording is in order, and a report that never arrived delays nothing."""
        return arrives_ns


class RecordedDownlink(Link):
    """A recorded downlink; `RecordedCloud` says when an answer begins to arrive.

    Args:
        direction: its settings.
        rng: for answers that are not in the recording.
        windows: the faults on it.
        impairment_rng: the stream for which byte of a part is damaged: any damage is found.
        recorded: the recorded exchanges.
    """

    __slots__ = ("_parts",)

    def __init__(
        self,
        direction: Direction,
        rng: np.random.Generator | None,
        windows: Sequence[FaultWindow[LinkFault]],
        impairment_rng: np.random.Generator | None,
        *,
        recorded: RecordedExchanges,
    ) -> None:
        super().__init__(direction, rng, windows, impairment_rng)
        self._parts = recorded.parts
        self.unimpaired &= not recorded.parts

    def draw_impairment(self, t_ns: int) -> Impairment:
        """Return the recorded impairment of the part that leaves at *t_ns*."""
        impairments = self._parts.get(t_ns)
        if not impairments:
            return NO_IMPAIRMENT
        impairment = impairments.pop(0)
        if impairment.resent is None:
            return impairment
        return impairment._replace(late_ns=self.late_ns(impairment.retries))

    def draw(self) -> float:
        """Draw a number from 0 to 1; 0 where the link has no stream for impairments."""
        return super().draw() if self._impairment_rng is not None else 0.0


class RecordedCloud:
    """The cloud as recorded: how long each report waited, and when its answer left.

    Args:
        clock: of the environment that the devices live in.
        recorded: the recorded exchanges, by device number.
        otherwise: the cloud for reports that are not in the recording.
        in_turn: whether reports were worked on in the order of their arrival, not of their leaving.
    """

    def __init__(
        self,
        clock: Clock,
        recorded: Mapping[int, RecordedExchanges],
        otherwise: CloudModel,
        *,
        in_turn: bool,
    ) -> None:
        self._clock = clock
        self._recorded = recorded
        self._otherwise = otherwise
        self._in_turn = in_turn

    def submit(self, exchange: Exchange) -> None:
        """Answer or drop a report as it was answered or dropped in the recorded run."""
        report = exchange.report
        recorded = self._recorded[report.number].find(report.seq, report.sent_ns)
        if recorded is None:
            self._otherwise.submit(exchange)
        elif recorded.barrier_ns < 0:
            # A refused report is recorded at the end of its device's wait: it was refused on arrival.
            t_ns, reason = exchange.arrived_ns, DropReason.REFUSED
            if not recorded.refused:
                t_ns = recorded.ended_ns
                reason = DropReason.LOST if recorded.lost else DropReason.REPLACED
            drop = partial(exchange.on_drop, service_start_ns=recorded.service_start_ns)
            self._at(t_ns, reason, drop)
        else:
            timing = AnswerTiming(recorded.service_start_ns, recorded.answer_sent_ns, recorded.barrier_ns)
            if self._in_turn:
                self._at(exchange.arrived_ns, (exchange, timing), self._begin)
            else:
                exchange.on_answer(timing)

    def _begin(self, begun: tuple[Exchange, AnswerTiming]) -> None:
        """Schedule the answer when its service begins, as a queue does.

        Events of one moment happen in the order in which they were scheduled. That of services which begin
        at the same time is that of the arrivals.
        """
        exchange, timing = begun
        if timing.service_start_ns > self._clock.now_ns:
            self._at(timing.service_start_ns, timing, exchange.on_answer)
        else:
            exchange.on_answer(timing)

    def _at(self, t_ns: int, value: Value, action: Callable[[Value], None]) -> None:
        self._clock.after(max(0, t_ns - self._clock.now_ns), value, action)


def cloud_as_recorded(
    clock: Clock, recorded: Mapping[int, RecordedDevice], cloud: CloudModel, *, in_turn: bool
) -> CloudModel:
    """Return *cloud*, or the recorded one."""
    exchanges = {
        number: device.exchanges for number, device in recorded.items() if device.exchanges is not None
    }
    return RecordedCloud(clock, exchanges, cloud, in_turn=in_turn) if exchanges else cloud
