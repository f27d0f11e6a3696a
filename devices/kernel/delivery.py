"""The delivery of a device in compiled code: `devices.simulated.delivery` is the definition."""

from typing import Any

from devices.event_log import MessageFault
from devices.kernel import exchanges, links, message_sizes, rows, scheduler
from devices.kernel.agent import APPLIED, CONFIRMED, MISFIT, REJECTED, STALE, receive
from devices.kernel.compiler import compiled, fixed
from devices.kernel.events import NO, NO_EXCHANGE, NORMAL, YES, add, add_part
from devices.kernel.layout import NONE, DeviceStatus, EventKind, Run
from devices.kernel.random_numbers import random
from devices.protocol.report_scheduler import NEVER
from wire.mqtt_bytes import PUBACK_WIRE_BYTES
from wire.topics import TABLE, MessageKind

_REPORT_QOS, _REPORT_TOPIC = fixed(TABLE[MessageKind.BUDGET].qos, len(MessageKind.BUDGET))
_PUBACK, _NONE = fixed(PUBACK_WIRE_BYTES, NONE)
_FULL, _LEFT_TO_SIMPY = fixed(DeviceStatus.TABLE_FULL, DeviceStatus.LEFT_TO_SIMPY)
_BARRIER, _SEND_NEXT = fixed(EventKind.BARRIER, EventKind.SEND_NEXT)
_ONLY_PART, _PART, _NEVER = fixed(EventKind.ONLY_PART, EventKind.PART, NEVER)
(_MOST_REJECTIONS,) = fixed(100)  # `MAX_REJECTIONS` of the definition, which then ends the run
_REPORT_LOST, _PART_LOST = fixed(MessageFault.REPORT_LOST, MessageFault.PART_LOST)
_REPORT_CORRUPTED, _PART_CORRUPTED = fixed(MessageFault.REPORT_CORRUPTED, MessageFault.PART_CORRUPTED)
_REPORT_DUPLICATED, _PART_DUPLICATED = fixed(MessageFault.REPORT_DUPLICATED, MessageFault.PART_DUPLICATED)
_PART_REORDERED, _REPORT_CUT_OFF = fixed(MessageFault.PART_REORDERED, MessageFault.REPORT_CUT_OFF)
(_PART_CUT_OFF,) = fixed(MessageFault.PART_CUT_OFF)
_REPORT_RESENT, _PART_RESENT = fixed(MessageFault.REPORT_RESENT, MessageFault.PART_RESENT)


@compiled
def send(run: Run, device: Any, cause: int) -> None:
    """Send the next report."""
    place = exchanges.allocate(run, device)
    if place < 0:
        return
    exchange, now, uplink = run.exchanges[place], device.now_ns, device.uplink
    device.seq = device.seq + 1
    device.evicted = device.moved = 0
    device.reported = device.requested
    size = message_sizes.report_bytes(run, device)
    framed = message_sizes.publish_wire(device.address_bytes + _REPORT_TOPIC, size, _REPORT_QOS)
    through = links.transfer(run, uplink, now, framed)
    exchange.seq, exchange.cause, exchange.user = device.seq, cause, device.user
    exchange.sent_ns, exchange.changed_ns = now, device.changed_ns
    exchange.requested, exchange.held_before = device.requested, device.held
    exchange.report_bytes, exchange.report_wire_bytes = size, framed
    exchange.arrived_ns = through + links.delay(run, uplink, now)
    is_disturbed = not links.is_unimpaired(run, uplink) or len(run.outages) > 0
    if is_disturbed and not _get_through(run, device, exchange):
        exchange.lost, exchange.arrived_ns = 1, -1
        exchanges.end_at(run, device, now + run.settings[0].retry_ns, place)
        exchanges.release(run, device, place)
        return
    exchange.report_wire_bytes = exchange.report_wire_bytes + framed * (exchange.copies - 1)
    exchange.ack_wire_bytes = _PUBACK * exchange.copies
    links.service(run, exchange.arrived_ns, exchange)
    exchange.barrier_ns = exchange.left_ns + links.delay(run, device.downlink, exchange.left_ns)
    exchanges.answer(run, device, exchange)
    add(run, device, exchange.barrier_ns, NORMAL, _BARRIER, place)
    exchanges.release(run, device, place)


@compiled
def _get_through(run: Run, device: Any, exchange: Any) -> bool:
    """Apply the uplink's impairments to a report; tell whether the cloud will answer it."""
    uplink, seq, size, change = device.uplink, exchange.seq, exchange.report_bytes, run.impairment[0]
    if links.is_unimpaired(run, uplink):
        links.reset_impairment(run)
    else:
        links.draw_impairment(run, uplink, exchange.sent_ns)
    if change.retries > 0:
        exchange.resent_wire_bytes = exchange.report_wire_bytes * change.retries
        exchange.report_wire_bytes = exchange.report_wire_bytes + exchange.resent_wire_bytes
    if change.lost != _NONE:
        rows.log_fault(run, device, _REPORT_LOST, seq, size, change.lost, 1 + change.retries)
        return False
    if change.resent != _NONE:
        rows.log_fault(run, device, _REPORT_RESENT, seq, size, change.resent, change.retries)
    if links.recovers(run, uplink):
        exchange.arrived_ns = links.in_order(run, uplink, exchange.arrived_ns + change.late_ns)
    outage = exchanges.outage_at(run, exchange.arrived_ns)
    if outage != _NONE:
        rows.log_fault(run, device, _REPORT_CUT_OFF, seq, size, outage, YES)
        return False
    if change.corrupted != _NONE:
        rows.log_fault(run, device, _REPORT_CORRUPTED, seq, size, change.corrupted, YES)
        exchange.ack_wire_bytes = _PUBACK
        return False
    if change.duplicated != _NONE:
        rows.log_fault(run, device, _REPORT_DUPLICATED, seq, size, change.duplicated, YES)
        exchange.copies = 2
    return True


@compiled
def on_barrier(run: Run, device: Any, place: int) -> None:
    """Let the parts of an answer begin to arrive; each takes its time on the link."""
    exchange, now = run.exchanges[place], device.now_ns
    if len(run.outages) > 0 or device.online == 0:
        fault = exchanges.cut_off_by(run, device, exchange.left_ns, now)
        if fault != _NONE:
            exchanges.drop_answer(run, device, place, NO, fault)
            return
    exchange.epoch = device.epoch
    if run.settings[0].supersedes != 0 and device.queued > 0 and not _cancel_superseded(run, device, place):
        return
    is_simple = exchange.parts == 1 and exchange.copies == 1
    if is_simple and device.is_sending == 0 and exchanges.is_unimpaired(run, device):
        first, end, size = exchanges.find_part(run, exchange, NO)
        framed = exchanges.count(device, exchange, size, NO)
        through = links.transfer(run, device.downlink, now, framed)
        if links.recovers(run, device.downlink):
            through = links.in_order(run, device.downlink, through)
        add_part(run, device, through, _ONLY_PART, place, first, end, YES, size, NO, NO)
        return
    if device.queued + exchange.parts > len(run.queue):
        device.status = _FULL
        return
    for index in range(exchange.parts):
        item = run.queue[device.queued]
        item.exchange, item.part = place, index
        device.queued = device.queued + 1
        exchange.references = exchange.references + 1
    if device.is_sending == 0:
        send_next(run, device)


@compiled
def _cancel_superseded(run: Run, device: Any, place: int) -> bool:
    """Cancel parts that are not being sent yet, of answers that are not the newest.

    Returns:
        Whether the answer at *place* is the newest.
    """
    newest = place
    for at in range(device.queued):
        other = run.queue[at].exchange
        if run.exchanges[other].seq > run.exchanges[newest].seq:
            newest = other
    kept, finished = 0, -1
    for at in range(device.queued):
        item, other = run.queue[at], run.queue[at].exchange
        if other == newest:
            run.queue[kept].exchange, run.queue[kept].part = item.exchange, item.part
            kept += 1
            continue
        if other != finished:  # the parts of an answer stand together
            finished = other
            exchanges.finish(run, device, run.exchanges[other])
        exchanges.release(run, device, other)
    device.queued = kept
    if newest != place:
        exchanges.finish(run, device, run.exchanges[place])
    return bool(newest == place)


@compiled
def send_next(run: Run, device: Any) -> None:
    """Send the part that has waited longest; the next follows when it is through."""
    queue = run.queue
    while device.queued > 0 and run.exchanges[queue[0].exchange].epoch != device.epoch:
        _drop_remaining(run, device)
    device.is_sending = 1 if device.queued > 0 else 0
    if device.is_sending == 0:
        return
    place, index = queue[0].exchange, queue[0].part
    device.queued = device.queued - 1
    for at in range(device.queued):
        queue[at].exchange, queue[at].part = queue[at + 1].exchange, queue[at + 1].part
    through = _send_part(run, device, place, index)
    exchanges.release(run, device, place)
    add(run, device, through, NORMAL, _SEND_NEXT, NO_EXCHANGE)


@compiled
def _drop_remaining(run: Run, device: Any) -> None:
    """Drop parts whose connection is gone: they do not take the link of the new one."""
    queue, place, first = run.queue, run.queue[0].exchange, run.queue[0].part
    exchanges.drop_answer(run, device, place, first, exchanges.outage_now(run, device))
    kept = 0
    for at in range(device.queued):
        if queue[at].exchange == place:
            exchanges.release(run, device, place)
            continue
        queue[kept].exchange, queue[kept].part = queue[at].exchange, queue[at].part
        kept += 1
    device.queued = kept


@compiled
def _send_part(run: Run, device: Any, place: int, index: int) -> int:
    """Send a part with its impairments; return when the link is free again."""
    exchange, downlink, now, change = run.exchanges[place], device.downlink, device.now_ns, run.impairment[0]
    first, end, size = exchanges.find_part(run, exchange, index)
    if links.is_unimpaired(run, downlink):
        links.reset_impairment(run)
    else:
        links.draw_impairment(run, downlink, now)
        _log_impairment(run, device, exchange, size)
    ends_ns = exchange.ends_ns
    for copy in range(exchange.copies + (1 if change.duplicated != _NONE else 0)):
        framed = exchanges.count(device, exchange, size, copy)
        if change.retries > 0 and copy == 0:
            exchange.resent_wire_bytes = exchange.resent_wire_bytes + framed * change.retries
            exchange.wire_bytes = exchange.wire_bytes + framed * change.retries
        through_ns = links.transfer(run, downlink, now, framed)
        if links.recovers(run, downlink):
            through_ns = links.in_order(run, downlink, through_ns + change.late_ns)
        arrives_ns = _take_in(run, device, through_ns, size) + change.held_back_ns
        ends_ns = max(ends_ns, arrives_ns)
        if copy == 0:
            exchange.received_ns = max(exchange.received_ns, through_ns + change.held_back_ns)
        if change.lost != _NONE:
            exchange.lost_bytes = exchange.lost_bytes + size
            continue
        is_damaged = NO
        if change.corrupted != _NONE:
            is_damaged = YES
            random(run.own_streams[2 * downlink + 1])  # the place of the damage
        at_ns, is_copy = max(arrives_ns, now), 1 if copy > 0 else 0
        add_part(run, device, at_ns, _PART, place, first, end, index + 1, size, is_copy, is_damaged)
    if index == exchange.parts - 1:
        late_ns = 0 if change.lost == _NONE else exchange.sent_ns + run.settings[0].retry_ns
        exchanges.end_at(run, device, max(ends_ns, late_ns), place)
    exchange.ends_ns = ends_ns
    return int(max(now, run.own_links[downlink].free_ns))


@compiled
def _take_in(run: Run, device: Any, through_ns: int, size: int) -> int:
    """Return the time at which the device has taken in a part that is on it at *through_ns*."""
    apply_ns_per_byte = run.groups[device.group].apply_ns_per_byte
    if apply_ns_per_byte == 0.0:
        return through_ns
    device.applied_at_ns = max(through_ns, device.applied_at_ns) + int(size * apply_ns_per_byte)
    return int(device.applied_at_ns)


@compiled
def _log_impairment(run: Run, device: Any, exchange: Any, size: int) -> None:
    """Log the impairments of a part."""
    change, seq = run.impairment[0], exchange.seq
    if change.duplicated != _NONE:
        rows.log_fault(run, device, _PART_DUPLICATED, seq, size, change.duplicated, YES)
    if change.lost != _NONE:
        exchange.lost = 1
        rows.log_fault(run, device, _PART_LOST, seq, size, change.lost, 1 + change.retries)
    elif change.resent != _NONE:
        rows.log_fault(run, device, _PART_RESENT, seq, size, change.resent, change.retries)
    if change.corrupted != _NONE and change.lost == _NONE:
        exchange.impaired = 1
        rows.log_fault(run, device, _PART_CORRUPTED, seq, size, change.corrupted, YES)
    if change.held_back != _NONE:
        exchange.impaired = 1
        rows.log_fault(run, device, _PART_REORDERED, seq, size, change.held_back, YES)


@compiled
def on_part(run: Run, device: Any, event: Any) -> bool:
    """Receive a part; tell whether a report may be due."""
    exchange = run.exchanges[event.exchange]
    if exchange.ended != 0:
        return False
    if exchange.epoch != device.epoch:
        fault = exchanges.outage_now(run, device)
        rows.log_fault(run, device, _PART_CUT_OFF, exchange.seq, event.size, fault, YES)
        exchange.lost, exchange.lost_bytes = 1, exchange.lost_bytes + event.size
        return False
    exchange.ack_wire_bytes = exchange.ack_wire_bytes + _PUBACK
    is_latest, before = exchange.seq == device.seq, device.resident
    receipt = REJECTED
    if event.is_damaged == 0:
        receipt = receive(run, device, exchange, event.first, event.end, event.part)
    is_complete = receipt in (APPLIED, CONFIRMED)
    if not (is_complete and exchange.applied_ns >= 0):
        scheduler.on_receipt(device, receipt, is_latest)
    if device.resident != before:
        rows.log_quality(run, device)
    _note_receipt(device, exchange, receipt, event.size, event.is_copy, is_latest)
    return bool(device.deadline_ns != _NEVER)


@compiled
def _note_receipt(device: Any, exchange: Any, receipt: int, size: int, is_copy: int, is_latest: bool) -> None:
    """Note in an exchange what has become of a part."""
    if receipt == REJECTED:
        if is_latest:
            exchange.receipt = REJECTED
            if exchange.lost == 0 and exchange.impaired == 0:
                device.rejections = device.rejections + 1
            if device.rejections > _MOST_REJECTIONS:
                device.status = _LEFT_TO_SIMPY  # which ends the run
    elif receipt != STALE and receipt != MISFIT and is_copy == 0:
        exchange.used_bytes = exchange.used_bytes + size
        exchange.receipt = receipt
    if exchange.applied_ns < 0 and receipt in (APPLIED, CONFIRMED):
        exchange.applied_ns = device.now_ns
