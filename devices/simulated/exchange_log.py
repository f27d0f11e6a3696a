"""The end of an exchange: what came of it, in one row of the log."""

from devices.event_log import Result, Sent
from devices.protocol.agent import Receipt
from devices.simulated.context import Setting
from devices.simulated.exchange import Exchange
from wire.update_part import peek


def log_end(exchange: Exchange, setting: Setting, stamp: tuple[int, float, int, int], held: int) -> Result:
    """Log what came of an exchange, and return it.

    Args:
        exchange: the exchange.
        setting: of the device.
        stamp: the first columns of the row.
        held: blocks that the device holds now.
    """
    result, (sent, full_bytes) = result_of(exchange), kind_of(exchange, setting)
    setting.log.update(
        *stamp,
        exchange.seq,
        exchange.cause,
        result,
        sent,
        exchange.changed_ns,
        exchange.sent_ns,
        exchange.arrived_ns,
        exchange.begun_ns,
        exchange.left_ns,
        exchange.barrier_ns,
        _received_ns(exchange),
        exchange.applied_ns,
        len(exchange.report),
        exchange.report_wire_bytes,
        exchange.ack_wire_bytes,
        exchange.resent_wire_bytes,
        len(exchange.parts) if exchange.sent_bytes and exchange.parts else 0,
        exchange.sent_bytes,
        exchange.copied_bytes,
        exchange.wire_bytes,
        exchange.used_bytes,
        exchange.lost_bytes,
        full_bytes,
        exchange.wanted_bytes,
        exchange.held_before,
        held,
    )
    return result


def kind_of(exchange: Exchange, setting: Setting) -> tuple[Sent, int]:
    """Return what kind of update was sent, and what it would have cost as a push of the whole PEE."""
    if not (exchange.parts and exchange.sent_bytes):
        return Sent.NONE, 0
    user, wanted_bytes, seq = exchange.user, exchange.wanted_bytes, exchange.seq
    if exchange.layers:
        return Sent.SHARED, setting.full_bytes(exchange.layers[0].model, user, wanted_bytes, seq)
    layout = exchange.layout
    if layout is None or layout.part > 1:
        layout = peek(exchange.parts[0])[1]  # it is the first part that introduces, whether it arrived or not
    if layout.introduces:
        return Sent.FIRST, sum([len(part) for part in exchange.parts])
    full_bytes = setting.full_bytes(layout.model, user, wanted_bytes, seq)
    if not layout.blocks:
        return Sent.NOTHING, full_bytes
    if layout.first or not exchange.held_before:
        return Sent.DELTA, full_bytes
    return Sent.FULL if setting.always_full else Sent.FALLBACK_FULL, full_bytes


def result_of(exchange: Exchange) -> Result:
    """Return what came of an exchange."""
    receipt = exchange.receipt
    if receipt is Receipt.APPLIED:
        return Result.APPLIED
    if receipt is Receipt.CONFIRMED:
        return Result.CONFIRMED
    if exchange.lost:
        return Result.LOST
    return Result.REJECTED if receipt is Receipt.REJECTED else Result.SUPERSEDED


def _received_ns(exchange: Exchange) -> int:
    """Return when the last part was there that was needed: there may be no room left for later ones."""
    if exchange.applied_ns < 0:
        return exchange.received_ns
    return min(exchange.received_ns, exchange.applied_ns)
