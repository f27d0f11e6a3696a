"""Exchanges: a budget report and the answer to it, and the interfaces of what carries and answers them."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import msgspec

from devices.protocol.report_scheduler import ReportCause
from wire.messages import BudgetReport
from wire.topics import LayerName, MessageKind


class SentReport(msgspec.Struct, frozen=True):
    """A budget report that has left a device."""

    number: int
    """The number of the device."""
    device: str
    """Its id."""
    user: int
    """The user whose PEE it asks for."""
    seq: int
    payload: bytes
    """The report as it travels."""
    cause: ReportCause
    sent_ns: int
    changed_ns: int
    """The time of the change that it reports: of the budget, the user or the offered model."""
    requested_bytes: int
    """The budget that it reports."""
    held_before: int
    """Blocks held when it left."""
    layers: Sequence[LayerName] = ()
    """The layers that it asks for, where the device takes blocks from the layers' own topics."""
    message: BudgetReport | None = None
    """The content of the payload; None where the report asks for layers."""


class AnswerTiming(msgspec.Struct, frozen=True):
    """Times of the cloud's work on a report."""

    service_start_ns: int
    answer_sent_ns: int
    barrier_ns: int = -1
    """The start of the answer's arrival, where a recorded run says it; -1: the downlink's delay decides."""


class DropReason(Enum):
    """The reason for which a report gets no answer."""

    REFUSED = 0  # the queue was full
    REPLACED = 1  # a newer report of the device has taken its place
    LOST = 2  # no answer came for as long as the device waits


class Exchange(msgspec.Struct, eq=False):
    """A report on its way, as the transport and the cloud model see it."""

    report: SentReport
    arrived_ns: int = -1
    """The time at which the report is at the cloud; -1 if it never is."""
    copies: int = 1
    """The number of answers: 2 where the report arrives twice."""
    barrier_ns: int = -1
    """The earliest time at which the answer can take effect; known before the answer is."""
    parts: Sequence[bytes] | None = None
    """The update parts of the answer, in order; set by the transport when all of them are known."""

    @property
    def order(self) -> tuple[int, int, int]:
        """Exchanges order by barrier, device, report; never by arrival."""
        return self.barrier_ns, self.report.number, self.report.seq

    def on_answer(self, timing: AnswerTiming) -> None:
        """Schedule the answer; the cloud model calls it once the times are known."""
        raise NotImplementedError

    def on_drop(self, reason: DropReason, service_start_ns: int = -1) -> None:
        """Expect no answer; the cloud model calls it instead of `on_answer`."""
        raise NotImplementedError


class Transport(Protocol):
    """The way of a report to the cloud and of the answer back."""

    def send_report(self, exchange: Exchange) -> None:
        """Send the report; the answer is stored in ``exchange.parts``, now or later."""

    def subscribe(self, exchange: Exchange) -> None:
        """Ask for the report's layers; their parts are stored in ``exchange.parts``, now or later."""

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Send a report that the cloud will refuse."""


class Publisher(Protocol):
    """The way of messages that are not answered."""

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish a message of a device."""


class DeviceConnections(Protocol):
    """The connections of devices, where each has its own: it takes time to connect, and can break."""

    def connect(self, device: str) -> None:
        """Begin to connect a device; its `on_connected` is called when it is connected."""

    def disconnect(self, device: str) -> None:
        """End a device's connection."""


class CloudModel(Protocol):
    """The time that the cloud takes, in simulated time."""

    def submit(self, exchange: Exchange) -> None:
        """Take a report that will be at the cloud at ``exchange.arrived_ns``.

        Call ``exchange.on_answer`` or ``exchange.on_drop``, now or in time.
        """
