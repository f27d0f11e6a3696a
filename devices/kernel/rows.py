"""The rows of a device's events in compiled code, in the columns of `devices.event_log`."""

from typing import Any

from devices.event_log import ExchangeResult, UpdateKind
from devices.kernel.agent import APPLIED, CONFIRMED, REJECTED, best_layer
from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import BUDGET, CONNECTION, FAULT, QUALITY, UPDATE, DeviceStatus, Run
from devices.kernel.message_sizes import (
    full_bytes,
    introduction_bytes,
    part_bytes,
    part_end,
    publish_wire,
    quality_bytes,
)
from wire.topics import TABLE, MessageKind

(_FULL,) = fixed(DeviceStatus.TABLE_FULL)
_QUALITY_QOS, _STATUS_QOS = fixed(TABLE[MessageKind.QUALITY].qos, TABLE[MessageKind.STATUS].qos)
_QUALITY_TOPIC, _STATUS_TOPIC = len(MessageKind.QUALITY), len(MessageKind.STATUS)
_APPLIED, _CONFIRMED = fixed(ExchangeResult.APPLIED, ExchangeResult.CONFIRMED)
_SUPERSEDED, _REJECTED = fixed(ExchangeResult.SUPERSEDED, ExchangeResult.REJECTED)
(LOST,) = fixed(ExchangeResult.LOST)
_NONE, _FIRST, _DELTA = fixed(UpdateKind.NONE, UpdateKind.FIRST, UpdateKind.DELTA)
_FULL_UPDATE, _FALLBACK = fixed(UpdateKind.FULL, UpdateKind.FALLBACK_FULL)
(_NOTHING,) = fixed(UpdateKind.NOTHING)


@compiled
def next_row(run: Run, device: Any, table: int, rows: Any) -> int:
    """Begin a row of the device; return its place, -1 where the table is full."""
    device.order = device.order + 1
    at = run.counts[table]
    if at == len(rows):
        device.status = _FULL
        return -1
    run.counts[table] = at + 1
    row = rows[at]
    row.t_ns, row.device, row.order = device.now_ns, device.number, device.order
    return int(at)


@compiled
def log_budget(run: Run, device: Any, free: int, before: int) -> None:
    """Log a change of the budget."""
    at = next_row(run, device, BUDGET, run.budget_rows)
    if at < 0:
        return
    row = run.budget_rows[at]
    row.free_bytes, row.budget_bytes = free, device.budget
    row.resident_before_bytes, row.resident_bytes = before, device.resident
    row.pressure = device.pressure


@compiled
def log_quality(run: Run, device: Any) -> None:
    """Log the quality of the PEE in use, beside that of the best PEE for the budget."""
    at = next_row(run, device, QUALITY, run.quality_rows)
    if at < 0:
        return
    row, user, layer = run.quality_rows[at], device.user, device.layer
    group = run.user_groups[user]
    best, top = best_layer(run, group, device.budget), run.tops[group]
    row.budget_bytes, row.resident_bytes = device.budget, device.resident
    row.layer, row.best_layer = layer, best
    row.ndcg_at_10 = run.quality[user, layer, 0]
    row.recall_at_20 = run.quality[user, layer, 1]
    row.hit_rate_at_10 = run.quality[user, layer, 2]
    row.best_ndcg_at_10, row.full_ndcg_at_10 = run.quality[user, best, 0], run.quality[user, top, 0]
    row.pressure, row.online, row.version, row.user_group = device.pressure, device.online != 0, 0, group
    row.message_bytes = row.message_wire_bytes = 0
    if device.online != 0:
        size = quality_bytes(run, device)
        row.message_bytes = size
        row.message_wire_bytes = publish_wire(device.address_bytes + _QUALITY_TOPIC, size, _QUALITY_QOS)


@compiled
def log_connection(run: Run, device: Any, why: int) -> None:
    """Log that the device is connected, or is no more."""
    at = next_row(run, device, CONNECTION, run.connection_rows)
    if at < 0:
        return
    row, size = run.connection_rows[at], run.status_bytes[device.online, why]
    row.online, row.why, row.message_bytes = device.online != 0, why, size
    row.message_wire_bytes = publish_wire(device.address_bytes + _STATUS_TOPIC, size, _STATUS_QOS)


@compiled
def log_fault(run: Run, device: Any, fault: int, seq: int, size: int, index: int, times: int) -> None:
    """Log what fault *index* did, so many *times*, to a message of exchange *seq*."""
    at = next_row(run, device, FAULT, run.fault_rows)
    if at < 0:
        return
    row = run.fault_rows[at]
    row.harm, row.seq, row.bytes, row.place, row.times = fault, seq, size, index, times


@compiled
def log_exchange(run: Run, device: Any, exchange: Any) -> int:
    """Log an exchange that has ended; return its result."""
    result = _result_of(exchange)
    at = next_row(run, device, UPDATE, run.update_rows)
    if at < 0:
        return result
    row = run.update_rows[at]
    row.seq, row.cause, row.result = exchange.seq, exchange.cause, result
    row.changed_ns, row.sent_ns, row.arrived_ns = exchange.changed_ns, exchange.sent_ns, exchange.arrived_ns
    row.begun_ns, row.left_ns, row.answered_ns = exchange.begun_ns, exchange.left_ns, exchange.barrier_ns
    row.received_ns, row.applied_ns = exchange.received_ns, exchange.applied_ns
    if exchange.applied_ns >= 0:
        row.received_ns = min(exchange.received_ns, exchange.applied_ns)
    row.report_bytes, row.report_wire_bytes = exchange.report_bytes, exchange.report_wire_bytes
    row.ack_wire_bytes, row.resent_wire_bytes = exchange.ack_wire_bytes, exchange.resent_wire_bytes
    row.parts = exchange.parts if exchange.sent_bytes > 0 else 0
    row.update_bytes, row.copied_bytes = exchange.sent_bytes, exchange.copied_bytes
    row.update_wire_bytes, row.used_bytes = exchange.wire_bytes, exchange.used_bytes
    row.lost_bytes, row.wanted_bytes = exchange.lost_bytes, exchange.requested
    row.held_before, row.held = exchange.held_before, device.held
    row.sent, row.full_update_bytes = _kind_of(run, exchange), _full_bytes_of(run, exchange)
    return result


@compiled
def _result_of(exchange: Any) -> int:
    """Return the result of an exchange."""
    if exchange.receipt == APPLIED:
        return _APPLIED
    if exchange.receipt == CONFIRMED:
        return _CONFIRMED
    if exchange.lost != 0:
        return LOST
    return _REJECTED if exchange.receipt == REJECTED else _SUPERSEDED


@compiled
def _kind_of(run: Run, exchange: Any) -> int:
    """Return the kind of update that was sent."""
    if exchange.sent_bytes == 0:
        return _NONE
    if exchange.introduces != 0:
        return _FIRST
    if exchange.first == exchange.target:
        return _NOTHING
    if exchange.first > 0 or exchange.held_before == 0:
        return _DELTA
    return _FULL_UPDATE if run.settings[0].always_full != 0 else _FALLBACK


@compiled
def _full_bytes_of(run: Run, exchange: Any) -> int:
    """Return the payload bytes of a push of the whole PEE; 0 where nothing was sent."""
    if exchange.sent_bytes == 0:
        return 0
    group, seq = exchange.user_group, exchange.seq
    if exchange.introduces == 0:
        return full_bytes(run, seq, group, best_layer(run, group, exchange.requested))
    total = introduction_bytes(run, seq, group, exchange.target, exchange.parts)
    first = 0
    for part in range(2, exchange.parts + 1):
        end = part_end(run, group, first, exchange.target)
        total += part_bytes(run, seq, group, first, end, exchange.target, part, exchange.parts)
        first = end
    return total
