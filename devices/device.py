"""A virtual device: one SimPy process around the protocol logic.

The device learns of its memory, reports, and takes in what comes back, in simulated time. How fast
simulated time passes and how bytes travel are questions for others: the device hands a report to a
`Transport` and schedules for itself the earliest moment at which an answer can take effect, its
barrier. The answer must be there when the barrier is processed; it is stored, never scheduled, so
that every clock runs the same events in the same order.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import simpy

from devices.agent import Agent, Receipt
from devices.exchange import Exchange, Transport
from devices.link import Link
from devices.log import Cause, Fault, FleetLog, Result
from devices.memory import Budget, Changes
from devices.quality import UserQuality
from wire.errors import RunError
from wire.messages import QualityReport, Status
from wire.topics import TABLE, Kind
from wire.traffic import publish_wire_bytes

_REPORT_QOS, _PART_QOS = TABLE[Kind.BUDGET].qos, TABLE[Kind.PEE].qos

MAX_REJECTIONS = 100
"""A device that rejects so many updates in a row faces a cloud that is broken, not a link that is bad."""


@dataclass(frozen=True)
class Setting:
    """What all devices of one simulation share."""

    env: simpy.Environment
    transport: Transport
    log: FleetLog
    stop_ns: int
    """Memory stops moving then; what is under way still arrives."""
    service_ns: int
    """How long the cloud takes to answer."""
    retry_ns: int
    """How long a device waits for an answer before it reports again."""
    full_bytes: Callable[[int, int, int], int]
    """What a push of the whole PEE costs: (user, budget_bytes, seq) -> payload bytes."""


class Device:
    """One device of the fleet.

    Args:
        setting: what all devices share.
        number: the device's place among all device ids in order.
        name: the device's id.
        agent: its protocol logic.
        budget: how its budget follows from free memory.
        memory: its free memory over time.
        uplink: toward the cloud.
        downlink: from the cloud.
        quality: its user's quality by layer.
        address_bytes: length of its topics up to the last level.
        start_ns: when it starts.
    """

    __slots__ = (
        "_changed_ns",
        "_downlink",
        "_memory",
        "_order",
        "_part_topic_bytes",
        "_quality",
        "_rejections",
        "_report_topic_bytes",
        "_setting",
        "_start_ns",
        "_uplink",
        "agent",
        "budget",
        "name",
        "number",
    )

    def __init__(
        self,
        setting: Setting,
        *,
        number: int,
        name: str,
        agent: Agent,
        budget: Budget,
        memory: Changes,
        uplink: Link,
        downlink: Link,
        quality: UserQuality,
        address_bytes: int,
        start_ns: int,
    ) -> None:
        self.number = number
        self.name = name
        self.agent = agent
        self.budget = budget
        self._setting = setting
        self._memory = memory
        self._uplink = uplink
        self._downlink = downlink
        self._quality = quality
        self._report_topic_bytes = address_bytes + len(Kind.BUDGET)
        self._part_topic_bytes = address_bytes + len(Kind.PEE)
        self._start_ns = start_ns
        self._changed_ns = 0
        self._order = 0
        self._rejections = 0

    def live(self) -> Generator[simpy.Event, object, None]:
        """The device's life, as a SimPy process."""
        env, agent, budget = self._setting.env, self.agent, self.budget
        stop_ns = self._setting.stop_ns
        if self._start_ns:
            yield env.timeout(self._start_ns)
        self._connect()
        cause = Cause.START
        for wait_ns, free_bytes in self._memory:
            if env.now + wait_ns >= stop_ns:
                return
            if wait_ns:
                yield env.timeout(wait_ns)
            budget_bytes = budget.of(free_bytes)
            if budget_bytes != agent.budget_bytes or cause is Cause.START:
                self._change(free_bytes, budget_bytes, cause)
                cause = Cause.CHANGE

    def _connect(self) -> None:
        setting = self._setting
        if setting.transport.listening:
            setting.transport.publish(self.name, Kind.STATUS, Status(online=True, reason="start"))
        setting.log.connection(*self._stamp(), True, 0)

    def _change(self, free_bytes: int, budget_bytes: int, cause: Cause) -> None:
        agent, log = self.agent, self._setting.log
        before = agent.resident_bytes
        agent.set_budget(budget_bytes)
        self._changed_ns = now = self._setting.env.now  # type: ignore[assignment]
        self._order = order = self._order + 1
        log.budget(
            now, log.clock(), self.number, order, free_bytes, budget_bytes, before, agent.resident_bytes
        )
        self._observe()
        self._report(cause)

    def _observe(self) -> None:
        """Log the quality of the PEE in use, beside that of the best PEE for the budget."""
        setting, agent, quality = self._setting, self.agent, self._quality
        log, budget_bytes, layer = setting.log, agent.budget_bytes, agent.layer
        best_layer = quality.best_layer(budget_bytes)
        ndcg, recall, hit_rate = held = quality.at(layer)
        best = held if layer == best_layer else quality.at(best_layer)
        self._order = order = self._order + 1
        log.quality(
            setting.env.now,
            log.clock(),
            self.number,
            order,
            budget_bytes,
            agent.resident_bytes,
            layer,
            best_layer,
            ndcg,
            recall,
            hit_rate,
            best[0],
        )
        if setting.transport.listening:
            message = QualityReport(
                model=agent.model,
                layer=layer,
                held=agent.held,
                ndcg_at_10=ndcg,
                recall_at_20=recall,
                hit_rate_at_10=hit_rate,
            )
            setting.transport.publish(self.name, Kind.QUALITY, message)

    def _report(self, cause: Cause) -> None:
        setting, agent, uplink = self._setting, self.agent, self._uplink
        now: int = setting.env.now  # type: ignore[assignment]  # SimPy keeps integers as they are
        report = agent.report()
        sent = uplink.transfer(now, publish_wire_bytes(self._report_topic_bytes, len(report), _REPORT_QOS))
        barrier = sent + uplink.delay() + setting.service_ns + self._downlink.delay()
        exchange = Exchange(
            barrier,
            self.number,
            self.name,
            agent.seq,
            report,
            cause,
            now,
            self._changed_ns,
            agent.budget_bytes,
            agent.held,
        )
        if uplink.lossy and uplink.loses():
            exchange.lost = True
            setting.log.fault(*self._stamp(), Fault.REPORT_LOST, exchange.seq)
            self._after(max(barrier, now + setting.retry_ns), exchange, self._end)
            return
        setting.transport.send_report(exchange)
        setting.env.timeout(barrier - now, exchange).callbacks.append(self._answer)

    def _after(self, t_ns: int, exchange: Exchange, action: Callable[[simpy.Event], None]) -> None:
        """Do *action* at *t_ns*; the exchange rides on the event as its value."""
        env = self._setting.env
        env.timeout(t_ns - env.now, exchange).callbacks.append(action)

    def _answer(self, event: simpy.Event) -> None:
        """The barrier: the answer begins to arrive; each part takes its time on the link."""
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        setting, downlink, parts = self._setting, self._downlink, exchange.parts
        if not parts:
            raise RunError(f"device {self.name}: report {exchange.seq} has no answer at its barrier")
        now: int = setting.env.now  # type: ignore[assignment]
        for place, part in enumerate(parts, start=1 - len(parts)):  # the last part has place 0
            framed = publish_wire_bytes(self._part_topic_bytes, len(part), _PART_QOS)
            exchange.wire_bytes += framed
            through = downlink.transfer(now, framed)
            if not (downlink.lossy and downlink.loses()):
                arrive = partial(self._arrive, part) if place else self._arrive_last
                setting.env.timeout(through - now, exchange).callbacks.append(arrive)
                continue
            exchange.lost = True
            exchange.lost_bytes += len(part)
            setting.log.fault(*self._stamp(), Fault.PART_LOST, exchange.seq)
            if not place:
                self._after(max(through, exchange.sent_ns + setting.retry_ns), exchange, self._end)

    def _arrive_last(self, event: simpy.Event) -> None:
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        assert exchange.parts is not None
        self._arrive(exchange.parts[-1], event)
        self._end(event)

    def _arrive(self, part: bytes, event: simpy.Event) -> None:
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        before = self.agent.resident_bytes
        receipt = self.agent.receive(part)
        if receipt is Receipt.REJECTED:
            self._reject(exchange)
        elif receipt is not Receipt.STALE:
            exchange.used_bytes += len(part)
            exchange.receipt = receipt
            if self.agent.resident_bytes != before:
                self._observe()

    def _reject(self, exchange: Exchange) -> None:
        """Report again at once: a part that is missing or damaged leaves a valid prefix held."""
        exchange.receipt = Receipt.REJECTED
        self._rejections += not exchange.lost
        if self._rejections > MAX_REJECTIONS:
            raise RunError(
                f"device {self.name}: rejected {self._rejections} updates, the last as {self.agent.rejected}"
            )
        self._report(Cause.REJECTED)

    def _end(self, event: simpy.Event) -> None:
        """Log what came of an exchange; report again if its answer was lost and is still wanted."""
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        setting, agent = self._setting, self.agent
        result = _result(exchange)
        parts = exchange.parts or ()
        self._order = order = self._order + 1
        setting.log.update(
            setting.env.now,
            setting.log.clock(),
            self.number,
            order,
            exchange.seq,
            exchange.cause,
            result,
            exchange.changed_ns,
            exchange.sent_ns,
            len(exchange.report),
            len(parts),
            len(parts[0]) if len(parts) == 1 else sum([len(part) for part in parts]),
            exchange.wire_bytes,
            exchange.used_bytes,
            exchange.lost_bytes,
            self._full_bytes(exchange, parts) if parts else 0,
            exchange.held_before,
            agent.held,
        )
        if result in (Result.APPLIED, Result.CONFIRMED):
            self._rejections = 0
        elif result is Result.LOST and exchange.seq == agent.seq:
            self._report(Cause.RETRY)

    def _full_bytes(self, exchange: Exchange, parts: Sequence[bytes]) -> int:
        """Return what the answer would have cost as a push of the whole PEE."""
        if not exchange.held_before:
            return sum([len(part) for part in parts])  # it was one
        return self._setting.full_bytes(self.agent.user, exchange.budget_bytes, exchange.seq)

    def _stamp(self) -> tuple[int, float, int, int]:
        self._order += 1
        setting = self._setting
        return setting.env.now, setting.log.clock(), self.number, self._order  # type: ignore[return-value]


def _result(exchange: Exchange) -> Result:
    receipt = exchange.receipt
    if receipt is Receipt.APPLIED:
        return Result.APPLIED
    if receipt is Receipt.CONFIRMED:
        return Result.CONFIRMED
    if exchange.lost:
        return Result.LOST
    return Result.REJECTED if receipt is Receipt.REJECTED else Result.SUPERSEDED
