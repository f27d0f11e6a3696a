"""Exchanges: a budget report on its way and the answer to it, and what carries them."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from devices.agent import Receipt
from devices.log import Cause
from wire.topics import Kind


class Exchange(msgspec.Struct, eq=False):
    """A report on its way, and the answer once it is there."""

    barrier_ns: int
    """The earliest moment at which the answer can take effect."""
    number: int
    """The number of the device that reports."""
    device: str
    """Its id."""
    seq: int
    report: bytes
    cause: Cause
    """Why it reports."""
    sent_ns: int
    changed_ns: int
    """When the budget changed that the report tells of."""
    budget_bytes: int
    held_before: int
    """Blocks that it held when the report left."""
    parts: Sequence[bytes] | None = None
    """The update parts that answer, in order; None until all of them are there."""
    receipt: Receipt | None = None
    """What came of the part that was taken in or rejected last."""
    lost: bool = False
    """Whether the link lost the report or a part."""
    lost_bytes: int = 0
    used_bytes: int = 0
    wire_bytes: int = 0

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
