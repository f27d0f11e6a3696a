"""Exchanges: a budget report on its way and the answer to it, and what carries them."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from devices.event_log import Cause
from devices.protocol.agent import Receipt
from wire.topics import LayerName, MessageKind
from wire.update_part import Layout


class Exchange(msgspec.Struct, eq=False):
    """A report on its way, and the answer once it is there."""

    number: int
    """The number of the device that reports."""
    device: str
    """Its id."""
    user: int
    """Whose PEE it asks for."""
    seq: int
    report: bytes
    cause: Cause
    """Why it reports."""
    sent_ns: int
    changed_ns: int
    """When the budget, the user or the offered model changed that the report tells of."""
    wanted_bytes: int
    """The budget that the report tells of."""
    held_before: int
    """Blocks that it held when the report left."""
    layers: Sequence[LayerName] = ()
    """The layers that it asks for, where it takes blocks from the layers' own topics."""
    arrived_ns: int = -1
    """When the report is at the cloud; -1 if it never is."""
    begun_ns: int = -1
    """When the cloud begins with it."""
    left_ns: int = -1
    """When the answer leaves."""
    barrier_ns: int = -1
    """The earliest moment at which the answer can take effect."""
    received_ns: int = -1
    """When the last of its parts was on the device."""
    applied_ns: int = -1
    """When the PEE was held that it asks for."""
    answers: int = 1
    """How often the answer is sent: twice where the report arrived twice."""
    ends_ns: int = -1
    """When the last copy of the parts sent so far will have been taken in."""
    epoch: int = 0
    """Which connection of the device the answer came in on."""
    parts: Sequence[bytes] | None = None
    """The update parts that answer, in order; None until all of them are there."""
    layout: Layout | None = None
    """What the first of them that arrived undamaged says of itself."""
    receipt: Receipt | None = None
    """What came of the part that was taken in or rejected last."""
    lost: bool = False
    """Whether the report or a part never arrived."""
    harmed: bool = False
    """Whether weather has damaged or reordered anything of it."""
    ended: bool = False
    sent_bytes: int = 0
    """Payload of the parts that were sent, duplicates included."""
    copied_bytes: int = 0
    """That of the duplicates."""
    lost_bytes: int = 0
    used_bytes: int = 0
    wire_bytes: int = 0
    report_wire_bytes: int = 0
    resent_wire_bytes: int = 0
    ack_wire_bytes: int = 0
    """What the confirmations of all that arrived cost on the wire, both ways."""

    @property
    def order(self) -> tuple[int, int, int]:
        """Exchanges order by barrier, device, report; never by arrival."""
        return self.barrier_ns, self.number, self.seq


class Transport(Protocol):
    """How bytes travel between devices and the cloud."""

    listening: bool
    """Whether anybody can hear what is published and not answered."""
    sessions: bool
    """Whether each device has a connection of its own, which takes time to come about and can break."""

    def connect(self, device: str) -> None:
        """Begin to connect a device; only where there are sessions. Its `Presence` hears what comes of it."""

    def disconnect(self, device: str) -> None:
        """End a device's connection; only where there are sessions."""

    def send_report(self, exchange: Exchange) -> None:
        """Send a budget report; its answer is stored in ``exchange.parts``, now or later."""

    def subscribe(self, exchange: Exchange) -> None:
        """Ask for ``exchange.layers``; their parts are stored in ``exchange.parts``, now or later."""

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Send a report that the cloud will refuse."""

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish something that is not answered."""


class Unanswered(Enum):
    """Why a report gets no answer."""

    REFUSED = 0  # the queue was full
    REPLACED = 1  # a newer report of the device has taken its place
    LOST = 2  # nothing came for as long as the device waits


Expect = Callable[[Exchange], None]
Drop = Callable[[Exchange, Unanswered], None]


class Capacity(Protocol):
    """How long the cloud takes, as simulated time sees it."""

    def take(self, exchange: Exchange, expect: Expect, drop: Drop) -> None:
        """Take a report that will be at the cloud at ``exchange.arrived_ns``.

        Args:
            exchange: the report.
            expect: called, now or in time, once it is known when the answer leaves.
            drop: called instead of it if the report is not answered.
        """
