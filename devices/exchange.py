"""Exchanges: a budget report on its way and the answer to it, and what carries them."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from devices.agent import Agent, Receipt
from devices.log import Cause
from wire.topics import Kind


class Exchange:
    """A report on its way, and the answer once it is there.

    Args:
        barrier_ns: the earliest moment at which the answer can take effect.
        number: the number of the device that reports.
        device: its id.
        agent: its protocol logic, as it is when the report leaves.
        report: the payload.
        cause: why it reports.
        sent_ns: when.
        changed_ns: when the budget changed that the report tells of.
    """

    __slots__ = (
        "barrier_ns",
        "budget_bytes",
        "cause",
        "changed_ns",
        "device",
        "held_before",
        "lost",
        "lost_bytes",
        "number",
        "parts",
        "receipt",
        "report",
        "sent_ns",
        "seq",
        "used_bytes",
        "wire_bytes",
    )

    def __init__(
        self,
        barrier_ns: int,
        number: int,
        device: str,
        agent: Agent,
        report: bytes,
        cause: Cause,
        sent_ns: int,
        changed_ns: int,
    ) -> None:
        self.barrier_ns = barrier_ns
        self.number = number
        self.device = device
        self.report = report
        self.cause = cause
        self.sent_ns = sent_ns
        self.changed_ns = changed_ns
        self.seq = agent.seq
        self.held_before = agent.held
        self.budget_bytes = agent.budget_bytes
        self.parts: Sequence[bytes] | None = None
        """The update parts that answer, in order; None until all of them are there."""
        self.receipt: Receipt | None = None
        """What came of the part that was taken in or rejected last."""
        self.lost = False
        """Whether the link lost the report or a part."""
        self.lost_bytes = 0
        self.used_bytes = 0
        self.wire_bytes = 0

    @property
    def order(self) -> tuple[int, int, int]:
        """Exchanges order by barrier, device, report; never by arrival."""
        return self.barrier_ns, self.number, self.seq


class Transport(Protocol):
    """How bytes travel between devices and the cloud."""

    listening: bool
    """Whether anybody can hear what is published and not answered."""

    def send_report(self, exchange: Exchange) -> None:
        """Send a budget report; its answer is stored in ``exchange.parts``, now or later."""

    def publish(self, device: str, kind: Kind, message: msgspec.Struct) -> None:
        """Publish something that is not answered."""
