"""Delivery: a report on its way up, its answer on its way down, and the end of the exchange.

The weather is applied here: what a link loses, damages, doubles or holds back, and what a broken connection
cuts off. Whatever happens, an exchange ends with one row of the log, and if its answer is still wanted the
device reports again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import simpy

from devices.event_log import Cause, Harm, Result
from devices.protocol.agent import Receipt
from devices.simulated.exchange import Exchange, Unanswered
from devices.simulated.exchange_log import log_end
from devices.simulated.link import Link
from devices.simulated.owner import Owner
from devices.timeline.faults import NO_FAULT, NO_IMPAIRMENT, Impairment
from wire.errors import RunError
from wire.mqtt_bytes import PUBACK_WIRE_BYTES, publish_wire_bytes, suback_bytes, subscribe_bytes, wire_bytes
from wire.topics import TABLE, LayerName, MessageKind, layer_topic

_REPORT_QOS, _PART_QOS = TABLE[MessageKind.BUDGET].qos, TABLE[MessageKind.PEE].qos

MAX_REJECTIONS = 100
"""A device that rejects so many updates in a row faces a cloud that is broken, not a link that is bad."""


class Delivery:
    """The exchanges of one device.

    Args:
        device: whose.
        uplink: toward the cloud.
        downlink: from the cloud.
        address_bytes: length of the device's topics up to the last level.
        apply_ns_per_byte: how long the device takes to take a byte of an update in.
    """

    __slots__ = (
        "_applied_at",
        "_apply_ns_per_byte",
        "_device",
        "_part_topic_bytes",
        "_plain",
        "_rejections",
        "_report_topic_bytes",
        "_sending",
        "_setting",
        "_waiting",
        "downlink",
        "uplink",
    )

    def __init__(
        self, device: Owner, uplink: Link, downlink: Link, address_bytes: int, apply_ns_per_byte: float
    ) -> None:
        self._device = device
        self._setting = device.setting
        self._report_topic_bytes = address_bytes + len(MessageKind.BUDGET)
        self._part_topic_bytes = address_bytes + len(MessageKind.PEE)
        self._apply_ns_per_byte = apply_ns_per_byte
        self._applied_at = 0
        self._rejections = 0
        self._waiting: deque[tuple[Exchange, int]] = deque()
        self._sending = False
        self.change_links(uplink, downlink)

    def change_links(self, uplink: Link, downlink: Link) -> None:
        """Use other links for what is sent from now on."""
        self.uplink, self.downlink = uplink, downlink
        self._plain = downlink.calm and not self._apply_ns_per_byte

    def begin_anew(self) -> None:
        """Let the messages of the next connection wait for none of this one's."""
        self.uplink.begin_anew()
        self.downlink.begin_anew()

    def send(self, cause: Cause, changed_ns: int) -> None:
        """Send the agent's next report."""
        device, setting, uplink = self._device, self._setting, self.uplink
        agent = device.agent
        now: int = setting.env.now  # type: ignore[assignment]  # SimPy keeps integers as they are
        layers: Sequence[LayerName] = ()
        if agent.shared and agent.missing():
            layers = agent.subscribe()
            topics = [layer_topic(setting.fleet, layer) for layer in layers]
            packets = subscribe_bytes(topics)
            report = bytes(sum(packets))  # what is asked is in `layers`: only the size counts
            framed, acks = sum(map(wire_bytes, packets)), sum(map(wire_bytes, suback_bytes(len(topics))))
        else:
            report = agent.report()
            framed = publish_wire_bytes(self._report_topic_bytes, len(report), _REPORT_QOS)
            acks = PUBACK_WIRE_BYTES
        through = uplink.transfer(now, framed)
        exchange = Exchange(
            device.number,
            device.name,
            agent.user,
            agent.seq,
            report,
            cause,
            now,
            changed_ns,
            agent.wanted_bytes,
            agent.held,
            layers,
        )
        exchange.report_wire_bytes = framed
        exchange.arrived_ns = through + uplink.delay(now)
        if (not uplink.calm or setting.outages) and not self._gets_through(exchange):
            exchange.lost, exchange.arrived_ns = True, -1
            self._after(now + setting.retry_ns, exchange, self._end)
            return
        if exchange.answers > 1:  # it was sent as often
            exchange.report_wire_bytes += framed * (exchange.answers - 1)
            acks *= exchange.answers
        exchange.ack_wire_bytes = acks
        answering = setting.relay if layers else setting.capacity
        answering.take(exchange, self._expect, self._drop)

    def _gets_through(self, exchange: Exchange) -> bool:
        """Apply the weather to a report; tell whether the cloud will answer it."""
        device, setting, uplink = self._device, self._setting, self.uplink
        size = len(exchange.report)
        impairment = NO_IMPAIRMENT if uplink.calm else uplink.draw_impairment(exchange.sent_ns)
        if impairment.retries:
            exchange.resent_wire_bytes = exchange.report_wire_bytes * impairment.retries
            exchange.report_wire_bytes += exchange.resent_wire_bytes
        if impairment.lost is not None:
            device.harm(Harm.REPORT_LOST, exchange.seq, size, impairment.lost, 1 + impairment.retries)
            return False
        if impairment.resent is not None:
            device.harm(Harm.REPORT_RESENT, exchange.seq, size, impairment.resent, impairment.retries)
        if uplink.recovers:
            exchange.arrived_ns = uplink.in_order(exchange.arrived_ns + impairment.late_ns)
        for window in setting.outages:
            if window.is_active(exchange.arrived_ns):
                device.harm(Harm.REPORT_CUT_OFF, exchange.seq, size, window.number)
                return False
        if impairment.corrupted is not None:
            device.harm(Harm.REPORT_CORRUPTED, exchange.seq, size, impairment.corrupted)
            exchange.ack_wire_bytes = PUBACK_WIRE_BYTES  # the broker does not know what is in it
            # The first byte: a digit changed inside would be another report, which no checksum tells apart.
            if not exchange.layers:
                setting.transport.send_damaged(device.name, b"\xff" + exchange.report[1:])
            return False
        if impairment.duplicated is not None:
            device.harm(Harm.REPORT_DUPLICATED, exchange.seq, size, impairment.duplicated)
            exchange.answers = 2
        return True

    def _expect(self, exchange: Exchange) -> None:
        """The answer leaves at a known time: schedule the barrier, and let the bytes travel."""
        env = self._setting.env
        if exchange.barrier_ns < 0:  # else a recording says when
            exchange.barrier_ns = exchange.left_ns + self.downlink.delay(exchange.left_ns)
        transport = self._setting.transport
        (transport.subscribe if exchange.layers else transport.send_report)(exchange)
        env.timeout(exchange.barrier_ns - env.now, exchange).callbacks.append(self._answer)

    def _drop(self, exchange: Exchange, why: Unanswered) -> None:
        """The cloud does not answer: the device waits for as long as it does, and asks again."""
        if why is Unanswered.REPLACED:
            self._close(exchange)
            return
        if why is Unanswered.REFUSED:
            self._device.harm(Harm.REPORT_REFUSED, exchange.seq, len(exchange.report), NO_FAULT)
        exchange.lost = True
        self._after(exchange.sent_ns + self._setting.retry_ns, exchange, self._end)

    def _after(self, t_ns: int, exchange: Exchange, action: Callable[[simpy.Event], None]) -> None:
        """Do *action* at *t_ns*, not before now; the exchange rides on the event as its value."""
        env = self._setting.env
        env.timeout(max(0, t_ns - env.now), exchange).callbacks.append(action)

    def _answer(self, event: simpy.Event) -> None:
        """The barrier: the answer begins to arrive; each part takes its time on the link."""
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_expect` gave it
        device, setting, parts = self._device, self._setting, exchange.parts
        if not parts:
            raise RunError(f"device {device.name}: report {exchange.seq} has no answer at its barrier")
        if setting.outages or not device.online:
            place = self._cut_off_by(exchange.left_ns, int(setting.env.now))
            if place is not None:
                self._lose_answer(exchange, 0, place)
                return
        exchange.epoch = device.epoch
        if setting.supersede and self._waiting and not self._take_back(exchange):
            return
        simple = len(parts) == exchange.answers == 1 and not exchange.layers
        if simple and not self._sending and self._plain:
            now: int = setting.env.now  # type: ignore[assignment]
            arrives_ns, _ = self._transfer(parts[0], self._count(exchange, 0), now)
            setting.env.timeout(arrives_ns - now, exchange).callbacks.append(self._arrive_only)
            return
        self._waiting.extend((exchange, place) for place in range(len(parts)))
        if not self._sending:
            self._send_next(None)

    def _send_next(self, event: simpy.Event | None) -> None:
        """Send the part that has waited longest; the next follows when it is through."""
        env = self._setting.env
        while self._waiting and self._waiting[0][0].epoch != self._device.epoch:
            self._lose_rest()
        self._sending = bool(self._waiting)
        if not self._waiting:
            return
        exchange, place = self._waiting.popleft()
        assert exchange.parts is not None
        through = self._send_part(exchange, place)
        env.timeout(through - env.now).callbacks.append(self._send_next)

    def _send_part(self, exchange: Exchange, place: int) -> int:
        """Send a part through the weather; return when the link is free again."""
        downlink = self.downlink
        assert exchange.parts is not None
        part, last = exchange.parts[place], place == len(exchange.parts) - 1
        now: int = self._setting.env.now  # type: ignore[assignment]
        impairment = NO_IMPAIRMENT if downlink.calm else downlink.draw_impairment(now)
        if impairment is not NO_IMPAIRMENT:
            self._note(exchange, len(part), impairment)
        ends_ns = exchange.ends_ns
        for copy in range(exchange.answers + (impairment.duplicated is not None)):
            framed = self._count(exchange, place, copy)
            if impairment.retries and not copy:
                exchange.resent_wire_bytes += framed * impairment.retries
                exchange.wire_bytes += framed * impairment.retries
            through_ns, taken_ns = self._transfer(part, framed, now, impairment.late_ns)
            arrives_ns = taken_ns + impairment.held_back_ns
            ends_ns = max(ends_ns, arrives_ns)
            if not copy:
                exchange.received_ns = max(exchange.received_ns, through_ns + impairment.held_back_ns)
            if impairment.lost is not None:
                exchange.lost_bytes += len(part)
                continue
            arrived = part if impairment.corrupted is None else self._damaged(part)
            self._after(arrives_ns, exchange, partial(self._arrive, arrived, again=copy > 0))
        if last:
            late_ns = exchange.sent_ns + self._setting.retry_ns if impairment.lost is not None else 0
            self._after(max(ends_ns, late_ns), exchange, self._end)
        exchange.ends_ns = ends_ns
        return downlink.free_after(now)

    def _count(self, exchange: Exchange, place: int, copy: int = 0) -> int:
        """Count a part as sent: its payload, and what it takes on the wire; return the latter."""
        assert exchange.parts is not None
        size, topic_bytes = len(exchange.parts[place]), self._part_topic_bytes
        if exchange.layers:
            topic_bytes = len(layer_topic(self._setting.fleet, exchange.layers[place]))
        framed = publish_wire_bytes(topic_bytes, size, _PART_QOS)
        exchange.sent_bytes += size
        exchange.copied_bytes += size if copy else 0
        exchange.wire_bytes += framed
        return framed

    def _transfer(self, part: bytes, framed: int, now: int, late_ns: int = 0) -> tuple[int, int]:
        """Send *part*, *framed* bytes on the wire; return when it is on the device, and when taken in."""
        through = self.downlink.transfer(now, framed)
        if self.downlink.recovers:
            through = self.downlink.in_order(through + late_ns)
        if not self._apply_ns_per_byte:
            return through, through
        self._applied_at = max(through, self._applied_at) + int(len(part) * self._apply_ns_per_byte)
        return through, self._applied_at

    def _note(self, exchange: Exchange, size: int, impairment: Impairment) -> None:
        """Log what the weather does to a part."""
        device, seq = self._device, exchange.seq
        if impairment.duplicated is not None:
            device.harm(Harm.PART_DUPLICATED, seq, size, impairment.duplicated)
        if impairment.lost is not None:
            exchange.lost = True
            device.harm(Harm.PART_LOST, seq, size, impairment.lost, 1 + impairment.retries)
        elif impairment.resent is not None:
            device.harm(Harm.PART_RESENT, seq, size, impairment.resent, impairment.retries)
        if impairment.corrupted is not None and impairment.lost is None:
            exchange.harmed = True
            device.harm(Harm.PART_CORRUPTED, seq, size, impairment.corrupted)
        if impairment.held_back is not None:
            exchange.harmed = True
            device.harm(Harm.PART_REORDERED, seq, size, impairment.held_back)

    def _damaged(self, part: bytes) -> bytes:
        at = int(self.downlink.draw() * len(part))
        return part[:at] + bytes([part[at] ^ 0x20]) + part[at + 1 :]

    def _take_back(self, answered: Exchange) -> bool:
        """Take back what has not begun to be sent of answers that are not the newest.

        Answers may overtake each other on their way: the newest is that to the latest report.

        Returns:
            Whether *answered* is the newest.
        """
        known = {exchange.seq: exchange for exchange, _ in self._waiting} | {answered.seq: answered}
        newest = known.pop(max(known))
        self._waiting = deque(each for each in self._waiting if each[0] is newest)
        for exchange in known.values():
            self._close(exchange)
        return newest is answered

    def _cut_off_by(self, *moments: int) -> int | None:
        """Return which fault keeps what is under way at one of *moments* from arriving, None if none does."""
        for window in self._setting.outages:
            if any(map(window.is_active, moments)):
                return window.number
        return None if self._device.online else NO_FAULT

    def _lose_answer(self, exchange: Exchange, first: int, place: int) -> None:
        """Nobody is connected to take the parts from the *first* on; the device reports again when it is."""
        assert exchange.parts is not None
        exchange.lost = True
        before = exchange.sent_bytes
        for copy in range(exchange.answers):
            for at in range(first, len(exchange.parts)):
                self._count(exchange, at, copy)
        lost_bytes = exchange.sent_bytes - before
        exchange.lost_bytes += lost_bytes
        self._device.harm(Harm.PART_CUT_OFF, exchange.seq, lost_bytes, place)
        late_ns = exchange.sent_ns + self._setting.retry_ns
        self._after(max(late_ns, exchange.received_ns), exchange, self._end)

    def _lose_rest(self) -> None:
        """The connection that the next parts wait for is gone: they do not take the link of the new one."""
        exchange, first = self._waiting[0]
        self._waiting = deque(each for each in self._waiting if each[0] is not exchange)
        place = self._cut_off_by(int(self._setting.env.now))
        self._lose_answer(exchange, first, NO_FAULT if place is None else place)

    def _arrive_only(self, event: simpy.Event) -> None:
        """The one part of an answer arrives, and that is its end."""
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        assert exchange.parts is not None
        exchange.received_ns = self._setting.env.now  # type: ignore[assignment]
        self._arrive(exchange.parts[0], event)
        self._end(event)

    def _arrive(self, part: bytes, event: simpy.Event, *, again: bool = False) -> None:
        """A part is there, or *again* its second copy, for which the agent seldom has a use."""
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        if self._missed(exchange, len(part)):
            return
        exchange.ack_wire_bytes += PUBACK_WIRE_BYTES
        device, agent = self._device, self._device.agent
        before = agent.resident_bytes
        agent.received = None
        receipt = agent.receive(part)
        exchange.layout = exchange.layout or agent.received
        if receipt is Receipt.REJECTED:
            self._reject(exchange)
        elif receipt is Receipt.MISFIT:
            device.report(Cause.CHANGE)
        elif receipt is not Receipt.STALE and not again:
            exchange.used_bytes += len(part)
            exchange.receipt = receipt
        if agent.resident_bytes != before:
            device.observe()
        if receipt in (Receipt.APPLIED, Receipt.CONFIRMED) and exchange.applied_ns < 0:
            exchange.applied_ns = self._setting.env.now  # type: ignore[assignment]
            self._settled(exchange)

    def _settled(self, exchange: Exchange) -> None:
        """The PEE is held that was asked for, or the layers are known from which to ask for it."""
        device = self._device
        if device.agent.shared and not exchange.layers and device.agent.missing():
            device.report(Cause.INTRODUCED)
        if self._setting.on_applied is not None:
            self._setting.on_applied(device.number, device.agent.model)

    def _missed(self, exchange: Exchange, size: int) -> bool:
        """Tell whether the connection that a part came on is gone."""
        if exchange.ended or exchange.epoch == self._device.epoch:
            return exchange.ended
        place = self._cut_off_by(int(self._setting.env.now))
        self._device.harm(Harm.PART_CUT_OFF, exchange.seq, size, NO_FAULT if place is None else place)
        exchange.lost = True
        exchange.lost_bytes += size
        return True

    def _reject(self, exchange: Exchange) -> None:
        """Report again at once: a part that is missing or damaged leaves a valid prefix held.

        What is damaged of an answer that is not awaited any more is let go: were each damaged part a report,
        and each report more parts, a storm would feed on itself.
        """
        device = self._device
        if exchange.seq != device.agent.seq:
            return
        exchange.receipt = Receipt.REJECTED
        self._rejections += not (exchange.lost or exchange.harmed)
        if self._rejections > MAX_REJECTIONS:
            raise RunError(
                f"device {device.name}: rejected {self._rejections} updates, "
                f"the last as {device.agent.rejected}"
            )
        device.report(Cause.REJECTED)

    def _end(self, event: simpy.Event) -> None:
        """The end of an exchange; report again if its answer was lost and is still wanted."""
        exchange: Exchange = event.value  # type: ignore[assignment]  # as `_after` gave it
        if exchange.ended:
            return
        device, result = self._device, self._close(exchange)
        if result in (Result.APPLIED, Result.CONFIRMED):
            self._rejections = 0
        elif result is Result.LOST and exchange.seq == device.agent.seq and self._may_retry():
            device.report(Cause.RETRY)

    def _may_retry(self) -> bool:
        return self._device.online and self._setting.env.now < self._setting.last_retry_ns

    def _close(self, exchange: Exchange) -> Result:
        """Log what came of an exchange."""
        exchange.ended = True
        return log_end(exchange, self._setting, self._device.stamp(), self._device.agent.held)
