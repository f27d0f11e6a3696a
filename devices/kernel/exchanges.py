"""The exchanges of a device in compiled code: their places, their parts, and their end."""

from typing import Any

from devices.event_log import MessageFault
from devices.kernel import links, message_sizes, rows, scheduler
from devices.kernel.agent import APPLIED, CONFIRMED, best_layer
from devices.kernel.compiler import compiled, fixed
from devices.kernel.events import NO, NORMAL, YES, add
from devices.kernel.layout import NONE, DeviceStatus, EventKind, Run
from devices.timeline.faults import NO_FAULT
from wire.topics import TABLE, MessageKind

(_FULL,) = fixed(DeviceStatus.TABLE_FULL)
(_END,) = fixed(EventKind.END)
_PART_QOS, _PART_TOPIC = fixed(TABLE[MessageKind.PEE].qos, len(MessageKind.PEE))
_PART_CUT_OFF, _OWN, _NONE = fixed(MessageFault.PART_CUT_OFF, NO_FAULT, NONE)
(_LOST,) = fixed(rows.LOST)


@compiled
def allocate(run: Run, device: Any) -> int:
    """Return the place of a new exchange; -1 where there is none."""
    place = device.free_exchange
    if place < 0:
        device.status = _FULL
        return -1
    exchange = run.exchanges[place]
    device.free_exchange = exchange.next_free
    exchange.references = 1
    exchange.arrived_ns = exchange.begun_ns = exchange.left_ns = exchange.barrier_ns = -1
    exchange.received_ns = exchange.applied_ns = exchange.ends_ns = exchange.receipt = -1
    exchange.epoch = exchange.lost = exchange.impaired = exchange.ended = exchange.sent_bytes = 0
    exchange.copied_bytes = exchange.lost_bytes = exchange.used_bytes = exchange.wire_bytes = 0
    exchange.report_wire_bytes = exchange.resent_wire_bytes = exchange.ack_wire_bytes = 0
    exchange.user_group = exchange.first = exchange.target = exchange.introduces = exchange.parts = 0
    exchange.cursor = exchange.cursor_first = 0
    exchange.copies = 1
    return int(place)


@compiled
def release(run: Run, device: Any, place: int) -> None:
    """Give up one reference to an exchange; without any its place is free."""
    exchange = run.exchanges[place]
    exchange.references = exchange.references - 1
    if exchange.references == 0:
        exchange.next_free = device.free_exchange
        device.free_exchange = place


@compiled
def answer(run: Run, device: Any, exchange: Any) -> None:
    """Set what the cloud answers to a report, as `cloud.service.responder`."""
    settings, group = run.settings[0], run.user_groups[exchange.user]
    target = run.layer_blocks[group, best_layer(run, group, exchange.requested)]
    exchange.user_group, exchange.target = group, target
    if device.is_known == 0:
        exchange.introduces, exchange.first = 1, 0
        exchange.parts = 1 + (message_sizes.part_count(run, group, NO, target) if target > 0 else 0)
    else:
        first = min(exchange.held_before, target)
        if settings.always_full != 0:
            first = 0
        elif settings.full_above < 1.0 and first < target:
            missing = message_sizes.stored(run, group, target) - message_sizes.stored(run, group, first)
            if missing > settings.full_above * message_sizes.stored(run, group, target):
                first = 0
        exchange.first = first
        exchange.parts = message_sizes.part_count(run, group, first, target)
    exchange.cursor, exchange.cursor_first = 0, exchange.first


@compiled
def find_part(run: Run, exchange: Any, index: int) -> tuple[int, int, int]:
    """Return the first block of part *index*, from 0, its end, and its bytes."""
    group, target = exchange.user_group, exchange.target
    cut = index - exchange.introduces
    if cut < 0:
        size = message_sizes.introduction_bytes(run, exchange.seq, group, target, exchange.parts)
        return 0, 0, size
    if cut < exchange.cursor:
        exchange.cursor, exchange.cursor_first = 0, exchange.first
    while exchange.cursor < cut:
        exchange.cursor_first = message_sizes.part_end(run, group, exchange.cursor_first, target)
        exchange.cursor = exchange.cursor + 1
    first = exchange.cursor_first
    end = message_sizes.part_end(run, group, first, target)
    size = message_sizes.part_bytes(run, exchange.seq, group, first, end, target, index + 1, exchange.parts)
    return first, end, size


@compiled
def count(device: Any, exchange: Any, size: int, copy: int) -> int:
    """Count a part as sent; return its bytes on the wire."""
    framed = message_sizes.publish_wire(device.address_bytes + _PART_TOPIC, size, _PART_QOS)
    exchange.sent_bytes = exchange.sent_bytes + size
    if copy > 0:
        exchange.copied_bytes = exchange.copied_bytes + size
    exchange.wire_bytes = exchange.wire_bytes + framed
    return framed


@compiled
def end_at(run: Run, device: Any, t_ns: int, place: int) -> None:
    """End an exchange at a time, not before now."""
    add(run, device, max(t_ns, device.now_ns), NORMAL, _END, place)


@compiled
def end(run: Run, device: Any, exchange: Any) -> bool:
    """End an exchange; tell whether the device may report again, since no complete answer came."""
    if exchange.ended != 0:
        return False
    result = finish(run, device, exchange)
    if exchange.receipt in (APPLIED, CONFIRMED):
        device.rejections = 0
    elif result == _LOST:
        scheduler.on_no_answer(run, device, exchange.seq)
        return True
    return False


@compiled
def finish(run: Run, device: Any, exchange: Any) -> int:
    """Log an exchange and its result."""
    exchange.ended = 1
    return rows.log_exchange(run, device, exchange)


@compiled
def outage_at(run: Run, t_ns: int) -> int:
    """Return the fault that cuts off what is under way at a time; `NONE` if none does."""
    for window in range(len(run.outages)):
        span = run.outages[window]
        if span.start_ns <= t_ns and t_ns < span.end_ns:
            return int(span.number)
    return _NONE


@compiled
def cut_off_by(run: Run, device: Any, one_ns: int, other_ns: int) -> int:
    """Return the fault that cuts off what is under way at one of two times; `NONE` if none does."""
    for window in range(len(run.outages)):
        span = run.outages[window]
        for t_ns in (one_ns, other_ns):
            if span.start_ns <= t_ns and t_ns < span.end_ns:
                return int(span.number)
    return _NONE if device.online != 0 else _OWN


@compiled
def outage_now(run: Run, device: Any) -> int:
    """Return the fault that cuts off what is under way now; -1 if it is none of the scenario."""
    return max(outage_at(run, device.now_ns), _OWN)


@compiled
def drop_answer(run: Run, device: Any, place: int, first: int, fault: int) -> None:
    """Count the parts from the *first* on as lost: no device is connected to receive them."""
    exchange = run.exchanges[place]
    exchange.lost = 1
    before = exchange.sent_bytes
    for copy in range(exchange.copies):
        for index in range(first, exchange.parts):
            _, _, size = find_part(run, exchange, index)
            count(device, exchange, size, copy)
    lost = exchange.sent_bytes - before
    exchange.lost_bytes = exchange.lost_bytes + lost
    rows.log_fault(run, device, _PART_CUT_OFF, exchange.seq, lost, fault, YES)
    end_at(run, device, max(exchange.sent_ns + run.settings[0].retry_ns, exchange.received_ns), place)


@compiled
def is_unimpaired(run: Run, device: Any) -> bool:
    """Tell whether parts arrive as they were sent and are taken in at once."""
    apply = run.groups[device.group].apply_ns_per_byte
    return bool(apply == 0.0 and links.is_unimpaired(run, device.downlink))
