"""Delivery: a report on its way up, its answer on its way down, and the end of the exchange.

The impairments of the links are applied here: messages are lost, damaged, doubled or held back, or cut off by
a broken connection. In each case an exchange ends with one row of the log. Reports are decided elsewhere
(`devices.protocol.report_scheduler`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from devices.event_log import ExchangeResult, MessageFault
from devices.protocol.agent import Agent, Receipt
from devices.protocol.report_scheduler import ReportCause
from devices.simulated.context import SimulationContext
from devices.simulated.delivery_owner import DeliveryOwner
from devices.simulated.exchange import AnswerTiming, DropReason, SentReport
from devices.simulated.exchange_log import ExchangeRecord, log_exchange, log_impairment
from devices.simulated.link import Link
from devices.timeline.faults import NO_FAULT, NO_IMPAIRMENT
from wire.errors import RunError
from wire.messages import BudgetReport, encode
from wire.mqtt_bytes import PUBACK_WIRE_BYTES, publish_wire_bytes, suback_bytes, subscribe_bytes, wire_bytes
from wire.topics import TABLE, LayerName, MessageKind, layer_topic

_APPLIED, _CONFIRMED, _, _STALE, _MISFIT, _REJECTED = Receipt  # looked up once: it takes as long as a call
_REPORT_QOS, _PART_QOS = TABLE[MessageKind.BUDGET].qos, TABLE[MessageKind.PEE].qos

MAX_REJECTIONS = 100
"""Intact updates rejected in a row after which a run fails: the cloud is broken, not a link."""


class Delivery:
    """The exchanges of one device.

    Args:
        owner: the device.
        agent: its protocol logic, for the content of reports.
        context: what all devices share.
        uplink: toward the cloud.
        downlink: from the cloud.
        address_bytes: length of the device's topics up to the last level.
        apply_ns_per_byte: time in which the device takes in a byte of an update.
    """

    __slots__ = (
        "_agent",
        "_applied_at_ns",
        "_apply_ns_per_byte",
        "_context",
        "_owner",
        "_part_topic_bytes",
        "_queue",
        "_rejections",
        "_report_topic_bytes",
        "_sending",
        "_unimpaired",
        "downlink",
        "uplink",
    )

    def __init__(
        self,
        owner: DeliveryOwner,
        agent: Agent,
        context: SimulationContext,
        uplink: Link,
        downlink: Link,
        address_bytes: int,
        apply_ns_per_byte: float,
    ) -> None:
        self._owner = owner
        self._agent = agent
        self._context = context
        self._report_topic_bytes = address_bytes + len(MessageKind.BUDGET)
        self._part_topic_bytes = address_bytes + len(MessageKind.PEE)
        self._apply_ns_per_byte = apply_ns_per_byte
        self._applied_at_ns = 0
        self._rejections = 0
        self._queue: deque[tuple[ExchangeRecord, int]] = deque()
        self._sending = False
        self.change_links(uplink, downlink)

    def change_links(self, uplink: Link, downlink: Link) -> None:
        """Use other links for what is sent from now on."""
        self.uplink, self.downlink = uplink, downlink
        self._unimpaired = downlink.unimpaired and not self._apply_ns_per_byte

    def restart_order(self) -> None:
        """Let the messages of the next connection wait for none of this one's."""
        self.uplink.restart_order()
        self.downlink.restart_order()

    def send(self, cause: ReportCause, changed_ns: int) -> None:
        """Send the agent's next report."""
        owner, context, uplink, agent = self._owner, self._context, self.uplink, self._agent
        now = context.clock.now_ns
        layers: Sequence[LayerName] = ()
        message: BudgetReport | None = None
        if agent.shared and agent.missing():
            layers = agent.subscribe()
            topics = [layer_topic(context.fleet, layer) for layer in layers]
            packets = subscribe_bytes(topics)
            payload = bytes(sum(packets))  # `layers` says what is asked for: only the size counts
            framed, acks = sum(map(wire_bytes, packets)), sum(map(wire_bytes, suback_bytes(len(topics))))
        else:
            message = agent.next_report()
            payload = encode(message)
            framed = publish_wire_bytes(self._report_topic_bytes, len(payload), _REPORT_QOS)
            acks = PUBACK_WIRE_BYTES
        through = uplink.transfer(now, framed)
        report = SentReport(
            owner.number,
            owner.name,
            agent.user,
            agent.seq,
            payload,
            cause,
            now,
            changed_ns,
            agent.requested_bytes,
            agent.held,
            layers,
            message,
        )
        record = ExchangeRecord(report, through + uplink.delay(now), handler=self, report_wire_bytes=framed)
        if (not uplink.unimpaired or context.outages) and not self._apply_uplink_faults(record):
            record.lost, record.arrived_ns = True, -1
            self._at(now + context.retry_ns, record, self._end)
            return
        if record.copies > 1:
            record.report_wire_bytes += framed * (record.copies - 1)
            acks *= record.copies
        record.ack_wire_bytes = acks
        (context.relay if layers else context.cloud).submit(record)

    def _apply_uplink_faults(self, record: ExchangeRecord) -> bool:
        """Apply the uplink's impairments to a report; tell whether the cloud will answer it."""
        owner, context, uplink, report = self._owner, self._context, self.uplink, record.report
        seq, size = report.seq, len(report.payload)
        impairment = NO_IMPAIRMENT if uplink.unimpaired else uplink.draw_impairment(report.sent_ns)
        if impairment.retries:
            record.resent_wire_bytes = record.report_wire_bytes * impairment.retries
            record.report_wire_bytes += record.resent_wire_bytes
        if impairment.lost is not None:
            owner.log_fault(MessageFault.REPORT_LOST, seq, size, impairment.lost, 1 + impairment.retries)
            return False
        if impairment.resent is not None:
            owner.log_fault(MessageFault.REPORT_RESENT, seq, size, impairment.resent, impairment.retries)
        if uplink.recovers:
            record.arrived_ns = uplink.in_order(record.arrived_ns + impairment.late_ns)
        for window in context.outages:
            if window.is_active(record.arrived_ns):
                owner.log_fault(MessageFault.REPORT_CUT_OFF, seq, size, window.number)
                return False
        if impairment.corrupted is not None:
            owner.log_fault(MessageFault.REPORT_CORRUPTED, seq, size, impairment.corrupted)
            record.ack_wire_bytes = PUBACK_WIRE_BYTES  # the broker does not read the payload
            # The first byte: another digit inside would be another report, which no checksum tells apart.
            if not report.layers:
                context.transport.send_damaged(owner.name, b"\xff" + report.payload[1:])
            return False
        if impairment.duplicated is not None:
            owner.log_fault(MessageFault.REPORT_DUPLICATED, seq, size, impairment.duplicated)
            record.copies = 2
        return True

    def on_answer(self, record: ExchangeRecord, timing: AnswerTiming) -> None:
        """Schedule the barrier of an answer whose times are known, and send the report's bytes."""
        context = self._context
        record.service_start_ns, record.answer_sent_ns = timing.service_start_ns, timing.answer_sent_ns
        barrier_ns = timing.barrier_ns
        if barrier_ns < 0:  # else a recorded run says it
            barrier_ns = timing.answer_sent_ns + self.downlink.delay(timing.answer_sent_ns)
        record.barrier_ns = barrier_ns
        if record.parts is None:  # a real cloud has answered by now
            transport = context.transport
            (transport.subscribe if record.report.layers else transport.send_report)(record)
        clock = context.clock
        clock.after(barrier_ns - clock.now_ns, record, self._on_barrier)

    def on_drop(self, record: ExchangeRecord, reason: DropReason) -> None:
        """End an exchange that the cloud does not answer, now or when the device's wait ends."""
        if reason is DropReason.REPLACED:
            self._finish(record)
            return
        report = record.report
        if reason is DropReason.REFUSED:
            self._owner.log_fault(MessageFault.REPORT_REFUSED, report.seq, len(report.payload), NO_FAULT)
        record.lost = True
        self._at(report.sent_ns + self._context.retry_ns, record, self._end)

    def _at(self, t_ns: int, record: ExchangeRecord, action: Callable[[ExchangeRecord], None]) -> None:
        """Do *action* with the exchange at *t_ns*, not before now."""
        clock = self._context.clock
        clock.after(max(0, t_ns - clock.now_ns), record, action)

    def _on_barrier(self, record: ExchangeRecord) -> None:
        """Let the parts of an answer begin to arrive; each takes its time on the link."""
        owner, context, parts = self._owner, self._context, record.parts
        if not parts:
            raise RunError(f"device {owner.name}: report {record.report.seq} has no answer at its barrier")
        clock = context.clock
        if context.outages or not owner.online:
            fault_index = self._cut_off_by(record.answer_sent_ns, clock.now_ns)
            if fault_index is not None:
                self._drop_answer(record, 0, fault_index)
                return
        record.epoch = owner.epoch
        if context.supersede and self._queue and not self._cancel_superseded(record):
            return
        is_simple = len(parts) == record.copies == 1 and not record.report.layers
        if is_simple and not self._sending and self._unimpaired:
            now, size = clock.now_ns, len(parts[0])
            record.sent_bytes = size
            record.wire_bytes = framed = publish_wire_bytes(self._part_topic_bytes, size, _PART_QOS)
            arrives_ns, _ = self._transfer(parts[0], framed, now)
            clock.after(arrives_ns - now, record, self._on_only_part)
            return
        self._queue.extend((record, index) for index in range(len(parts)))
        if not self._sending:
            self._send_next(None)

    def _send_next(self, _: None) -> None:
        """Send the part that has waited longest; the next follows when it is through."""
        queue, owner = self._queue, self._owner
        while queue and queue[0][0].epoch != owner.epoch:
            self._drop_remaining()
            queue = self._queue
        self._sending = bool(queue)
        if not queue:
            return
        record, index = queue.popleft()
        clock = self._context.clock
        clock.after(self._send_part(record, index) - clock.now_ns, None, self._send_next)

    def _send_part(self, record: ExchangeRecord, index: int) -> int:
        """Send a part with its impairments; return when the link is free again."""
        downlink = self.downlink
        assert record.parts is not None
        part, is_last = record.parts[index], index == len(record.parts) - 1
        now = self._context.clock.now_ns
        impairment = NO_IMPAIRMENT if downlink.unimpaired else downlink.draw_impairment(now)
        if impairment is not NO_IMPAIRMENT:
            log_impairment(record, len(part), impairment, self._owner)
        ends_ns = record.ends_ns
        for copy in range(record.copies + (impairment.duplicated is not None)):
            framed = self._count(record, index, copy)
            if impairment.retries and not copy:
                record.resent_wire_bytes += framed * impairment.retries
                record.wire_bytes += framed * impairment.retries
            through_ns, taken_ns = self._transfer(part, framed, now, impairment.late_ns)
            arrives_ns = taken_ns + impairment.held_back_ns
            ends_ns = max(ends_ns, arrives_ns)
            if not copy:
                record.received_ns = max(record.received_ns, through_ns + impairment.held_back_ns)
            if impairment.lost is not None:
                record.lost_bytes += len(part)
                continue
            arrived = part if impairment.corrupted is None else downlink.damage(part)
            self._at(arrives_ns, record, partial(self._on_part, part=arrived, is_copy=copy > 0))
        if is_last:
            late_ns = 0 if impairment.lost is None else record.report.sent_ns + self._context.retry_ns
            self._at(max(ends_ns, late_ns), record, self._end)
        record.ends_ns = ends_ns
        return downlink.next_free_ns(now)

    def _count(self, record: ExchangeRecord, index: int, copy: int = 0) -> int:
        """Count a part as sent: its payload, and its bytes on the wire; return the latter."""
        assert record.parts is not None
        size, topic_bytes = len(record.parts[index]), self._part_topic_bytes
        if record.report.layers:
            topic_bytes = len(layer_topic(self._context.fleet, record.report.layers[index]))
        framed = publish_wire_bytes(topic_bytes, size, _PART_QOS)
        record.sent_bytes += size
        if copy:
            record.copied_bytes += size
        record.wire_bytes += framed
        return framed

    def _transfer(self, part: bytes, framed: int, now: int, late_ns: int = 0) -> tuple[int, int]:
        """Send *part*, *framed* bytes on the wire; return when it is on the device, and when taken in."""
        through = self.downlink.transfer(now, framed)
        if self.downlink.recovers:
            through = self.downlink.in_order(through + late_ns)
        if not self._apply_ns_per_byte:
            return through, through
        self._applied_at_ns = max(through, self._applied_at_ns) + int(len(part) * self._apply_ns_per_byte)
        return through, self._applied_at_ns

    def _cancel_superseded(self, answered: ExchangeRecord) -> bool:
        """Cancel parts that are not being sent yet, of answers that are not the newest.

        Answers may overtake each other on their way: the newest is that to the latest report.

        Returns:
            Whether *answered* is the newest.
        """
        records = {record.report.seq: record for record, _ in self._queue} | {answered.report.seq: answered}
        newest = records.pop(max(records))
        self._queue = deque(item for item in self._queue if item[0] is newest)
        for record in records.values():
            self._finish(record)
        return newest is answered

    def _cut_off_by(self, *moments: int) -> int | None:
        """Return the fault that cuts off what is under way at one of *moments*, None if none does."""
        for window in self._context.outages:
            if any(map(window.is_active, moments)):
                return window.number
        return None if self._owner.online else NO_FAULT

    def _drop_answer(self, record: ExchangeRecord, first: int, fault_index: int) -> None:
        """Count the parts from the *first* on as lost: no device is connected to receive them."""
        assert record.parts is not None
        record.lost = True
        before = record.sent_bytes
        for copy in range(record.copies):
            for index in range(first, len(record.parts)):
                self._count(record, index, copy)
        lost_bytes = record.sent_bytes - before
        record.lost_bytes += lost_bytes
        report = record.report
        self._owner.log_fault(MessageFault.PART_CUT_OFF, report.seq, lost_bytes, fault_index)
        self._at(max(report.sent_ns + self._context.retry_ns, record.received_ns), record, self._end)

    def _drop_remaining(self) -> None:
        """Drop parts whose connection is gone: they do not take the link of the new one."""
        record, first = self._queue[0]
        self._queue = deque(item for item in self._queue if item[0] is not record)
        self._drop_answer(record, first, self._outage_now())

    def _outage_now(self) -> int:
        fault_index = self._cut_off_by(self._context.clock.now_ns)
        return NO_FAULT if fault_index is None else fault_index

    def _on_only_part(self, record: ExchangeRecord) -> None:
        """Receive the one part of an answer, and end the exchange."""
        assert record.parts is not None
        record.received_ns = self._context.clock.now_ns
        self._on_part(record, record.parts[0])
        self._end(record)

    def _on_part(self, record: ExchangeRecord, part: bytes, *, is_copy: bool = False) -> None:
        """Receive a part, or the second copy of one, for which the agent seldom has a use."""
        if record.ended or record.epoch != self._owner.epoch:
            self._drop_late(record, len(part))
            return
        record.ack_wire_bytes += PUBACK_WIRE_BYTES
        agent, report = self._agent, record.report
        is_latest = report.seq == agent.seq
        agent.received = None
        receipt = self._owner.on_part(
            part, is_latest=is_latest, of_layers=bool(report.layers), is_applied=record.applied_ns >= 0
        )
        record.layout = record.layout or agent.received
        if receipt is _REJECTED:
            if is_latest:
                self._on_rejected(record)
        elif receipt is not _STALE and receipt is not _MISFIT and not is_copy:
            record.used_bytes += len(part)
            record.receipt = receipt
        if record.applied_ns < 0 and (receipt is _APPLIED or receipt is _CONFIRMED):
            record.applied_ns = self._context.clock.now_ns

    def _drop_late(self, record: ExchangeRecord, size: int) -> None:
        """Count a part as lost, unless its exchange has ended: the connection that it came on is gone."""
        if not record.ended:
            self._owner.log_fault(MessageFault.PART_CUT_OFF, record.report.seq, size, self._outage_now())
            record.lost = True
            record.lost_bytes += size

    def _on_rejected(self, record: ExchangeRecord) -> None:
        """Note that the latest answer was rejected.

        Raises:
            RunError: too many intact answers were.
        """
        record.receipt = _REJECTED
        self._rejections += not (record.lost or record.impaired)
        if self._rejections > MAX_REJECTIONS:
            raise RunError(
                f"device {self._owner.name}: rejected {self._rejections} updates, "
                f"the last as {self._agent.rejected}"
            )

    def _end(self, record: ExchangeRecord) -> None:
        """End an exchange; the device learns of it if no complete answer came."""
        if record.ended:
            return
        result = self._finish(record)
        if record.receipt is _APPLIED or record.receipt is _CONFIRMED:
            self._rejections = 0
        elif result is ExchangeResult.LOST:
            self._owner.on_no_answer(record.report.seq)

    def _finish(self, record: ExchangeRecord) -> ExchangeResult:
        """Log an exchange and its result."""
        record.ended = True
        return log_exchange(record, self._context, self._owner.row_key(), self._agent.held)
