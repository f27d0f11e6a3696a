"""The protocol logic of a device: it holds blocks inside a budget, makes reports and receives updates.

Nothing in this file knows a socket, a clock or SimPy: bytes go in, bytes come out.

A device holds a prefix of its group's ranking: a number of blocks. It recommends with the layers that are
complete. If the budget falls, it evicts blocks from the end of the ranking at once, before it reports. If the
budget grows, it receives the parts of the answer in order; after each of them it holds a valid prefix.
"""

from enum import StrEnum

import msgspec
import numpy as np

from devices.protocol.block_prefix import BlockCache, BlockPrefix
from devices.protocol.capabilities import DeviceCapabilities
from wire.errors import LocalProtocolError, Reason, RemoteProtocolError
from wire.messages import BudgetReport, encode
from wire.signatures import Verify, check_part
from wire.topics import LayerName
from wire.update_part import Layout, Part, decode_part
from wire.version_delta import apply_vector_change, block_count_of, vector_change_of


class Receipt(StrEnum):
    """The result of a part."""

    APPLIED = "applied"  # the PEE for the reported budget is now held, and the blocks held have changed
    CONFIRMED = "confirmed"  # it was held already
    PROGRESS = "progress"  # more parts are to come
    STALE = "stale"  # it answers an older report
    MISFIT = "misfit"  # the budget has fallen since the report: report again
    REJECTED = "rejected"  # damaged or contradictory: report again


# looked up once: it takes as long as a call
_APPLIED, _CONFIRMED, _PROGRESS, _STALE, _MISFIT, _REJECTED = Receipt


class Agent:
    """The protocol logic of one device.

    Args:
        user: the user whose PEE it holds.
        cache: the cache of blocks.
        local_eviction: evict at once if the budget falls; else only when the cloud has answered.
        shared: take blocks from the layers' own topics; else from answers to reports.
        group: the user's group, where the device reports that and not its user.
        seq: the number of the last report: a device without a memory of it begins above all used ones.
        deltas: take the blocks of a new model version as a change of those that are held, where the cloud can
            send that.
        capabilities: the largest part that it takes in, and the codecs that it knows; None: any.
        verify: knows the cloud's public keys: parts that they have not signed are refused; None: there are
            none.
    """

    __slots__ = (
        "_cache",
        "_evicted",
        "_first_seq",
        "_moved",
        "_prefix",
        "_wants_blocks",
        "budget_bytes",
        "capabilities",
        "deltas",
        "group",
        "held",
        "layer",
        "local_eviction",
        "model",
        "names_capabilities",
        "offered",
        "received",
        "rejected",
        "reported_bytes",
        "reported_group",
        "requested_bytes",
        "resident_bytes",
        "seq",
        "shared",
        "user",
        "user_vector",
        "verify",
    )

    def __init__(
        self,
        user: int,
        cache: BlockCache,
        *,
        group: int | None = None,
        local_eviction: bool = True,
        shared: bool = False,
        seq: int = 0,
        deltas: bool = False,
        capabilities: DeviceCapabilities | None = None,
        verify: Verify | None = None,
    ) -> None:
        self.user = user
        self.reported_group = group
        """The group that the device reports; None where it reports its user."""
        self.shared = shared
        self.deltas = deltas
        self.capabilities = capabilities
        self.verify = verify
        self.names_capabilities = False
        """True if the cloud knows these fields: one of protocol 1.0 would refuse the report."""
        self.group = 0
        """The user's group, of the model version held."""
        self.local_eviction = local_eviction
        self.budget_bytes = 0
        self.requested_bytes = 0
        """The bytes to ask for: the budget, or less where a policy leaves some of it free."""
        self.reported_bytes = 0
        """The bytes asked for in the last report."""
        self.seq = self._first_seq = seq
        self.model = ""
        """The model version held; empty if none."""
        self.offered = ""
        """The model version to ask for, if it is not the one that the cloud serves to everybody."""
        self.held = 0
        """Blocks held: a prefix of the ranking."""
        self.resident_bytes = 0
        """Bytes of these blocks, ids and scales included."""
        self.layer = 0
        """The layer in use: the highest that is complete; 0 recommends nothing."""
        self.user_vector = b""
        self.received: Layout | None = None
        """The layout of the last part that was not damaged."""
        self.rejected: Reason | None = None
        """The reason for which the last part was rejected, if it was."""
        self._cache = cache
        self._prefix: BlockPrefix | None = None
        self._evicted = False
        self._moved = False
        self._wants_blocks = False

    @property
    def prefix(self) -> BlockPrefix | None:
        """Its blocks; None before an introduction."""
        return self._prefix

    @property
    def reported(self) -> bool:
        """True if it has reported at all."""
        return self.seq != self._first_seq

    def set_budget(self, budget_bytes: int, requested_bytes: int | None = None) -> None:
        """Take a new budget; with local eviction, blocks beyond it are gone when this returns.

        Args:
            budget_bytes: the most that the item embeddings may take.
            requested_bytes: the bytes to ask for, and to evict to if blocks must go; default: the budget.
        """
        requested_bytes = budget_bytes if requested_bytes is None else requested_bytes
        if not 0 <= requested_bytes <= budget_bytes:
            raise LocalProtocolError(
                f"requested_bytes(={requested_bytes}) must be from 0 to budget_bytes(={budget_bytes})"
            )
        self.budget_bytes, self.requested_bytes = budget_bytes, requested_bytes
        prefix = self._prefix
        if self.local_eviction and self.resident_bytes > budget_bytes and prefix is not None:
            self._set_held(prefix, self._fitting(prefix, requested_bytes))
            self._evicted = True

    def change_user(self, user: int) -> None:
        """Recommend to another user from now on: the blocks for the old user are dropped."""
        self.user = user
        self.forget()

    def forget(self) -> None:
        """Drop all blocks: the next answer brings them again."""
        self.user_vector = b""
        self._leave()
        self.model, self._prefix = "", None
        self.held = self.resident_bytes = self.layer = 0

    def report(self) -> bytes:
        """Return the next budget report as it travels; answers to earlier ones are stale from now on."""
        return encode(self.next_report())

    def next_report(self) -> BudgetReport:
        """Return the next budget report; answers to earlier ones are stale from now on."""
        self.seq += 1
        self._evicted = self._moved = False
        self.reported_bytes = self.requested_bytes
        report = BudgetReport(
            seq=self.seq,
            budget_bytes=self.requested_bytes,
            user=self.user if self.reported_group is None else None,
            group=self.reported_group,
            model=self.model,
            held=self.held,
            wants=self.offered or msgspec.UNSET,
            shared=self.shared or msgspec.UNSET,
            deltas=(self.deltas and self.held > 0 and not self._wants_blocks) or msgspec.UNSET,
        )
        if self.capabilities is None or not self.names_capabilities:
            return report
        return self.capabilities.told_in(report)

    def missing(self) -> tuple[LayerName, ...]:
        """Return the missing layers, in order, that fit the budget: none before an introduction."""
        prefix = self._prefix
        if prefix is None or (self.offered and self.offered != self.model):
            return ()
        best = prefix.layers.best(self.requested_bytes)
        return tuple(LayerName(self.model, self.group, layer) for layer in range(self.layer + 1, best + 1))

    def subscribe(self) -> tuple[LayerName, ...]:
        """Ask for the layers that are missing; answers to earlier reports are stale from now on."""
        self.seq += 1
        self._evicted = self._moved = False
        self.reported_bytes = self.requested_bytes
        return self.missing()

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        """Take in an update part that has come on *topic*, which its signature names, if it has one.

        Never raises for what the network sent: a damaged or contradictory part is rejected, its
        reason kept in `rejected`.
        """
        try:
            if self.capabilities is not None:
                self.capabilities.check_size(len(payload))
            part = decode_part(payload)
            self.received = part.layout
            is_layer = part.seq == 0 and self.shared
            if not is_layer and part.seq != self.seq:
                return _STALE
            if self.verify is not None:
                check_part(payload, topic, self.verify)
            return self._take_layer(part) if is_layer else self._take(part)
        except RemoteProtocolError as error:
            self.rejected = error.reason
            return _REJECTED

    def _take(self, part: Part) -> Receipt:
        """Take in a part of the answer to the last report.

        All that can be wrong is found before anything is changed: a part that is refused leaves no trace.
        """
        fields, prefix, held = part.layout, self._prefix, self.held
        if fields.is_delta and prefix is not None and fields.model != self.model:
            return self._take_delta(part, prefix)
        begins = prefix is None or fields.model != self.model
        if begins or prefix is None:
            prefix, held = self._introduced(part), 0  # what is held of an older model will be dropped first
        elif fields.group != self.group:
            raise RemoteProtocolError(Reason.CONTENT, f"group {fields.group} on blocks of {self.group}")
        first, target = fields.first, fields.target
        end = first + fields.blocks
        if first > held and self._evicted:
            return _MISFIT  # what it follows on was there when it was asked for
        addition = prefix.check(part)
        if first > held or not end <= target <= prefix.layers.blocks[-1]:
            raise RemoteProtocolError(
                Reason.OUT_OF_RANGE, f"blocks {first} to {end} of {target} on {held} held"
            )
        blocks = min(max(end, held), target)
        if blocks > held and self._misfits(addition.bytes_of(blocks, prefix)):
            return _MISFIT
        if fields.part == fields.parts and blocks != target:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"{blocks} blocks of {target} after the last part")
        if begins:
            self._begin(part, prefix, part.tensor("user_vector"))
        prefix.add(addition)
        if blocks != self.held:
            self._set_held(prefix, blocks)
            self._moved = True
        if fields.part < fields.parts:
            return _PROGRESS
        return _APPLIED if self._moved else _CONFIRMED

    def _take_delta(self, part: Part, base: BlockPrefix) -> Receipt:
        """Turn the blocks that are held into those of another version; a refused delta changes nothing.

        A delta that leads elsewhere is not asked for again: the next report asks for blocks.
        """
        fields = part.layout
        if self._evicted:
            return _MISFIT  # it is for the blocks that were there when it was asked for
        self._wants_blocks = True
        if fields.group != self.group or not self.deltas:
            raise RemoteProtocolError(Reason.UNKNOWN_MODEL, f"a delta to model {fields.model!r} unasked")
        prefix, addition = self._cache.derive(part, base, self.model, self.held)
        blocks, target, is_last = (
            block_count_of(part.tensor("delta")),
            fields.target,
            fields.part == fields.parts,
        )
        if fields.first or not blocks <= target <= prefix.layers.blocks[-1] or (is_last and blocks != target):
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"a delta to {blocks} blocks of {target}")
        vector = self._changed_vector(vector_change_of(part.tensor("delta")))
        if self._misfits(addition.bytes_of(blocks, prefix)):
            self._wants_blocks = False
            return _MISFIT
        self._begin(part, prefix, vector)
        prefix.add(addition)
        self._set_held(prefix, blocks)
        return _APPLIED if is_last else _PROGRESS

    def _changed_vector(self, change: bytes) -> bytes:
        """Return the user's vector after *change*."""
        old = np.frombuffer(self.user_vector, dtype="<f4").astype(np.float32)
        return apply_vector_change(old, change).astype("<f4").tobytes()

    def _take_layer(self, part: Part) -> Receipt:
        """Take in the blocks of one layer, unless it is of another model or for a larger budget."""
        fields, prefix = part.layout, self._prefix
        if prefix is None or (fields.model, fields.group) != (self.model, self.group):
            return _STALE
        layers, end = prefix.layers, fields.first + fields.blocks
        layer = layers.complete(end)
        if layers.bytes[layer] > self.requested_bytes:
            return _STALE  # for a larger budget
        if fields.first > self.held and self._evicted:
            return _STALE  # what it follows on was there when it was asked for
        if fields.first > self.held or layers.blocks[layer] != end:
            raise RemoteProtocolError(
                Reason.OUT_OF_RANGE, f"blocks {fields.first} to {end} on {self.held} held"
            )
        addition = prefix.check(part)
        if end > self.held and self._misfits(addition.bytes_of(end, prefix)):
            return _STALE
        prefix.add(addition)
        if end > self.held:
            self._set_held(prefix, end)
            self._moved = True
        if self.layer < prefix.layers.best(self.requested_bytes):
            return _PROGRESS
        return _APPLIED if self._moved else _CONFIRMED

    def _introduced(self, part: Part) -> BlockPrefix:
        """Return the prefix of the model version that *part* introduces; nothing is changed.

        Raises:
            RemoteProtocolError: it introduces none, or one that cannot be.
        """
        fields = part.layout
        if not fields.introduces:
            raise RemoteProtocolError(Reason.UNKNOWN_MODEL, f"an update of model {fields.model!r} unasked")
        prefix, vector = self._cache.find(part), part.tensor("user_vector")
        if vector and len(vector) != 4 * prefix.geometry.dim:
            raise RemoteProtocolError(
                Reason.MALFORMED,
                f"a user's vector of {len(vector)} bytes for {prefix.geometry.dim} dimensions",
            )
        return prefix

    def _begin(self, part: Part, prefix: BlockPrefix, user_vector: bytes) -> None:
        """Begin with a model version: what is held of an older one is dropped."""
        self._wants_blocks = False
        self._leave()
        self._moved = self.held > 0
        self.model, self.group = part.layout.model, part.layout.group
        self.user_vector = user_vector
        self._prefix = prefix
        self._cache.enter(self.model, self.group, prefix)
        self.held = 0
        self.resident_bytes, self.layer = 0, 0

    def _leave(self) -> None:
        """Let go of the prefix in use."""
        if self._prefix is not None:
            self._cache.leave(self.model, self.group, self._prefix)

    def _fitting(self, prefix: BlockPrefix, budget_bytes: int) -> int:
        """Return how many of the blocks held fit: a layer's, by what is stored, whatever the table says."""
        layers = prefix.layers
        for layer in range(layers.best(budget_bytes), 0, -1):
            if layers.blocks[layer] <= self.held and prefix.resident[layers.blocks[layer]] <= budget_bytes:
                return layers.blocks[layer]
        return 0

    def _misfits(self, size_bytes: int) -> bool:
        """Tell whether so much is too much because the budget has fallen since the report.

        Raises:
            RemoteProtocolError: it is too much for what was asked for.
        """
        if size_bytes <= self.budget_bytes:
            return False
        if self.budget_bytes < self.reported_bytes:
            return True
        raise RemoteProtocolError(
            Reason.OUT_OF_RANGE, f"{size_bytes} B exceed the budget of {self.budget_bytes} B"
        )

    def _set_held(self, prefix: BlockPrefix, blocks: int) -> None:
        if blocks < self.held and prefix.holders == 1 and not prefix.permanent:
            prefix.truncate(blocks)  # memory that is given up goes back now, not some time later
        self.held = blocks
        self.resident_bytes = prefix.resident[blocks]
        self.layer = prefix.layers.complete(blocks)
