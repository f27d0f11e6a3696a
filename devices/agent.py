"""What a device does when its budget changes and when a message arrives.

Nothing in this file knows a socket, a clock or SimPy: bytes go in, bytes come out.

A device holds a prefix of its group's ranking: so many blocks. It recommends with the layers that
are complete. On a shrink it evicts from the end of the ranking at once, before it even reports; on
a growth it takes in the parts of the answer in order, each of which leaves a valid prefix.
"""

from enum import StrEnum

from devices.shelf import Shelf, Shelves
from wire.errors import LocalProtocolError, Reason, RemoteProtocolError
from wire.messages import BudgetReport, encode
from wire.pee import Part, decode_part


class Receipt(StrEnum):
    """What came of a part."""

    APPLIED = "applied"  # the PEE for the reported budget is now held, and it changed
    CONFIRMED = "confirmed"  # it was held already
    PROGRESS = "progress"  # more parts are to come
    STALE = "stale"  # it answers an older report
    REJECTED = "rejected"  # damaged or contradictory: report again


class Agent:
    """The protocol logic of one device.

    Args:
        user: whose PEE is wanted.
        shelves: where blocks lie.
        local_eviction: evict on a shrink at once; else only when the cloud has answered.
    """

    __slots__ = (
        "_moved",
        "_shelf",
        "_shelves",
        "budget_bytes",
        "held",
        "layer",
        "local_eviction",
        "model",
        "rejected",
        "resident_bytes",
        "seq",
        "user",
        "user_vector",
    )

    def __init__(self, user: int, shelves: Shelves, *, local_eviction: bool = True) -> None:
        self.user = user
        self.local_eviction = local_eviction
        self.budget_bytes = 0
        self.seq = 0
        self.model = ""
        self.held = 0
        """Blocks held: a prefix of the ranking."""
        self.resident_bytes = 0
        """Bytes that they take, ids and scales included."""
        self.layer = 0
        """The layer in use: the highest that is complete; 0 recommends nothing."""
        self.user_vector = b""
        self.rejected: Reason | None = None
        """Why the last part was rejected, if it was."""
        self._shelves = shelves
        self._shelf: Shelf | None = None
        self._moved = False

    def set_budget(self, budget_bytes: int) -> None:
        """Take a new budget; with local eviction, what exceeds it is gone when this returns."""
        if budget_bytes < 0:
            raise LocalProtocolError(f"budget_bytes(={budget_bytes}) must be >= 0")
        self.budget_bytes = budget_bytes
        shelf = self._shelf
        if self.local_eviction and self.resident_bytes > budget_bytes and shelf is not None:
            self._set_held(shelf, shelf.layers.blocks[shelf.layers.best(budget_bytes)])

    def report(self) -> bytes:
        """Return the next budget report; answers to earlier ones are stale from now on."""
        self.seq += 1
        self._moved = False
        return encode(
            BudgetReport(
                seq=self.seq, budget_bytes=self.budget_bytes, user=self.user, model=self.model, held=self.held
            )
        )

    def receive(self, payload: bytes) -> Receipt:
        """Take in an update part.

        Never raises for what the network sent: a damaged or contradictory part is rejected, its
        reason kept in `rejected`.
        """
        try:
            part = decode_part(payload)
            if part.seq != self.seq:
                return Receipt.STALE
            return self._take(part)
        except RemoteProtocolError as error:
            self.rejected = error.reason
            return Receipt.REJECTED

    def _take(self, part: Part) -> Receipt:
        fields, shelf = part.layout, self._shelf
        if shelf is None or fields.model != self.model:
            shelf = self._introduce(part)
        if fields.blocks:
            shelf.add(part)
        first, target = fields.first, fields.target
        end = first + fields.blocks
        if first > self.held or not end <= target <= shelf.layers.blocks[-1]:
            raise RemoteProtocolError(
                Reason.OUT_OF_RANGE, f"blocks {first} to {end} of {target} on {self.held} held"
            )
        if end > self.held or target < self.held:
            self._hold(shelf, min(max(end, self.held), target))
        if fields.part < fields.parts:
            return Receipt.PROGRESS
        if self.held != target:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"{self.held} blocks held after the last part")
        return Receipt.APPLIED if self._moved else Receipt.CONFIRMED

    def _introduce(self, part: Part) -> Shelf:
        """Begin with a model version: what is held of an older one is dropped first."""
        if not part.layout.introduces:
            raise RemoteProtocolError(
                Reason.UNKNOWN_MODEL, f"an update of model {part.layout.model!r} unasked"
            )
        shelf = self._shelves.open(part)
        self.model, self.user_vector = part.layout.model, part.tensor("user_vector")
        self._moved = self.held > 0
        self._shelf = shelf
        self._set_held(shelf, 0)
        return shelf

    def _hold(self, shelf: Shelf, blocks: int) -> None:
        size = shelf.resident[blocks]
        if blocks > self.held and size > self.budget_bytes:
            raise RemoteProtocolError(
                Reason.OUT_OF_RANGE, f"{size} B exceed the budget of {self.budget_bytes} B"
            )
        self._set_held(shelf, blocks)
        self._moved = True

    def _set_held(self, shelf: Shelf, blocks: int) -> None:
        self.held = blocks
        self.resident_bytes = shelf.resident[blocks]
        self.layer = shelf.layers.complete(blocks)
