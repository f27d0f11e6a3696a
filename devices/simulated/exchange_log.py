"""The record of an exchange, and its rows in the event log."""

from typing import Protocol

from devices.event_log import ExchangeResult, MessageFault, UpdateKind, UpdateRow
from devices.protocol.agent import Receipt
from devices.simulated.context import SimulationContext
from devices.simulated.delivery_owner import DeliveryOwner
from devices.simulated.exchange import AnswerTiming, DropReason, Exchange
from devices.timeline.faults import Impairment
from wire.update_part import Layout, peek

# looked up once: it takes as long as a call
_APPLIED, _CONFIRMED = Receipt.APPLIED, Receipt.CONFIRMED
_RESULT_APPLIED, _RESULT_CONFIRMED = ExchangeResult.APPLIED, ExchangeResult.CONFIRMED
_NOTHING, _DELTA = UpdateKind.NOTHING, UpdateKind.DELTA


class AnswerHandler(Protocol):
    """The part of a delivery that handles what the cloud model decides."""

    def on_answer(self, record: "ExchangeRecord", timing: AnswerTiming) -> None:
        """Schedule the answer."""

    def on_drop(self, record: "ExchangeRecord", reason: DropReason) -> None:
        """Expect no answer."""


class ExchangeRecord(Exchange, eq=False, kw_only=True):
    """An exchange with all that its delivery counts and logs; nobody else writes it."""

    handler: AnswerHandler
    service_start_ns: int = -1
    answer_sent_ns: int = -1
    received_ns: int = -1
    """The time at which the last of its parts was on the device."""
    applied_ns: int = -1
    """The time at which the PEE that it asks for was held."""
    ends_ns: int = -1
    """The time at which the last copy of the parts sent so far will have been taken in."""
    epoch: int = 0
    """The connection of the device that the answer came in on."""
    layout: Layout | None = None
    """The layout of the first part that arrived undamaged."""
    receipt: Receipt | None = None
    """The receipt of the part that was taken in or rejected last."""
    lost: bool = False
    """True if the report or a part never arrived."""
    impaired: bool = False
    """True if a part was damaged or reordered on the way."""
    ended: bool = False
    sent_bytes: int = 0
    """Payload of the parts that were sent, duplicates included."""
    copied_bytes: int = 0
    """Payload of the duplicates."""
    lost_bytes: int = 0
    used_bytes: int = 0
    wire_bytes: int = 0
    report_wire_bytes: int = 0
    resent_wire_bytes: int = 0
    ack_wire_bytes: int = 0
    """Bytes of the confirmations of all that arrived, on the wire, both ways."""

    def on_answer(self, timing: AnswerTiming) -> None:
        """Have the delivery schedule the answer."""
        self.handler.on_answer(self, timing)

    def on_drop(self, reason: DropReason, service_start_ns: int = -1) -> None:
        """Have the delivery expect no answer."""
        self.service_start_ns = service_start_ns
        self.handler.on_drop(self, reason)


def log_impairment(record: ExchangeRecord, size: int, impairment: Impairment, owner: DeliveryOwner) -> None:
    """Log the impairments of a part of *size* bytes."""
    seq = record.report.seq
    if impairment.duplicated is not None:
        owner.log_fault(MessageFault.PART_DUPLICATED, seq, size, impairment.duplicated)
    if impairment.lost is not None:
        record.lost = True
        owner.log_fault(MessageFault.PART_LOST, seq, size, impairment.lost, 1 + impairment.retries)
    elif impairment.resent is not None:
        owner.log_fault(MessageFault.PART_RESENT, seq, size, impairment.resent, impairment.retries)
    if impairment.corrupted is not None and impairment.lost is None:
        record.impaired = True
        owner.log_fault(MessageFault.PART_CORRUPTED, seq, size, impairment.corrupted)
    if impairment.held_back is not None:
        record.impaired = True
        owner.log_fault(MessageFault.PART_REORDERED, seq, size, impairment.held_back)


def log_exchange(
    record: ExchangeRecord, context: SimulationContext, row_key: tuple[int, float, int, int], held: int
) -> ExchangeResult:
    """Log an exchange that has ended, and return its result.

    Args:
        record: the exchange.
        context: of the device.
        row_key: the first columns of the row.
        held: blocks that the device holds now.
    """
    result, (kind, full_bytes) = outcome_of(record), update_kind(record, context)
    report, parts, applied_ns = record.report, record.parts, record.applied_ns
    t_ns, wall_s, device, order = row_key
    row = UpdateRow(  # by position: names would take as long as the rest of this function
        t_ns,
        wall_s,
        device,
        order,
        report.seq,
        report.cause,
        result,
        kind,
        report.changed_ns,
        report.sent_ns,
        record.arrived_ns,
        record.service_start_ns,
        record.answer_sent_ns,
        record.barrier_ns,
        min(record.received_ns, applied_ns)
        if applied_ns >= 0
        else record.received_ns,  # later ones had no room
        applied_ns,
        len(report.payload),
        record.report_wire_bytes,
        record.ack_wire_bytes,
        record.resent_wire_bytes,
        len(parts) if parts and record.sent_bytes else 0,
        record.sent_bytes,
        record.copied_bytes,
        record.wire_bytes,
        record.used_bytes,
        record.lost_bytes,
        full_bytes,
        report.requested_bytes,
        report.held_before,
        held,
    )
    context.log.update(row)
    return result


def update_kind(record: ExchangeRecord, context: SimulationContext) -> tuple[UpdateKind, int]:
    """Return the kind of update that was sent, and the payload bytes of a push of the whole PEE.

    In place of a delta from another model version, that is with its introduction.
    """
    parts = record.parts
    if not (parts and record.sent_bytes):
        return UpdateKind.NONE, 0
    report = record.report
    user, requested_bytes, seq = report.user, report.requested_bytes, report.seq
    if report.layers:
        return UpdateKind.SHARED, context.full_bytes(report.layers[0].model, user, requested_bytes, seq)
    layout = record.layout
    if layout is None or layout.part > 1:
        layout = peek(parts[0])[1]  # the first part introduces, whether it arrived or not
    if layout.is_delta:
        return _DELTA, context.first_bytes(layout.model, user, requested_bytes, seq)
    if layout.introduces:
        return UpdateKind.FIRST, sum([len(part) for part in parts])
    full_bytes = context.full_bytes(layout.model, user, requested_bytes, seq)
    if not layout.blocks:
        return _NOTHING, full_bytes
    if layout.first or not report.held_before:
        return _DELTA, full_bytes
    return UpdateKind.FULL if context.always_full else UpdateKind.FALLBACK_FULL, full_bytes


def outcome_of(record: ExchangeRecord) -> ExchangeResult:
    """Return the result of an exchange."""
    receipt = record.receipt
    if receipt is _APPLIED:
        return _RESULT_APPLIED
    if receipt is _CONFIRMED:
        return _RESULT_CONFIRMED
    if record.lost:
        return ExchangeResult.LOST
    return ExchangeResult.REJECTED if receipt is Receipt.REJECTED else ExchangeResult.SUPERSEDED
