"""Answers of the cloud to budget reports: pure and stateless, bytes in, bytes out.

A report carries all that is needed (user, held blocks, budget). So any replica can answer any device, and a
restarted cloud has lost nothing.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import itemgetter

import msgspec
import numpy as np

from cloud.blocks.store import BlockStore, GroupBlocks
from cloud.service.deltas import DeltaSource
from wire.errors import InputError, Reason, RemoteProtocolError
from wire.messages import BudgetReport, ModelNotice, decode
from wire.update_part import (
    DEFAULT_MAX_PAYLOAD,
    Body,
    SealedPart,
    build_body,
    encode_part,
    encoded_bytes,
    seal_part,
)

HEADER_ALLOWANCE = 1024
"""Upper bound of the header of a part, in bytes."""
CACHE_BYTES = 128 * 2**20
"""Size of the cache of bodies: enough for a fleet that is emulated in memory."""
BODY_BYTES = 600
"""Approximate memory of a body beside its bytes; for small blocks it is the larger part."""


class Responder:
    """Answers budget reports from one block store.

    Args:
        store: the model.
        max_payload_bytes: maximum size of a part; public IoT brokers accept 128 KiB.
        always_full: always send the complete PEE, not only the missing blocks.
        full_above: send the complete PEE if the missing blocks are more than this share of it.
        cache_bytes: size of the cache of bodies, which devices with equal needs share.

    Raises:
        InputError: a block does not fit into a part.
    """

    def __init__(
        self,
        store: BlockStore,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD,
        *,
        always_full: bool = False,
        full_above: float = 1.0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.store = store
        self._always_full = always_full
        self._full_above = full_above
        self._sends_missing = not always_full and full_above >= 1.0
        self.max_payload_bytes = int(max_payload_bytes)
        self._max_body_bytes = max_payload_bytes - HEADER_ALLOWANCE
        self._version = store.version
        self._codec = store.geometry.codec
        self._groups = store.groups
        self._group_of: list[int] = store.user_groups.tolist()
        self._cache: dict[tuple[int, int, int, int, bool], tuple[Body, ...]] = {}
        self._cached_bytes, self._cache_bytes = 0, cache_bytes
        self._full_bytes: dict[tuple[int, int, int], int] = {}
        self._part_sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._deltas = DeltaSource(store)
        self.least_part_bytes = self._least_body_bytes() + HEADER_ALLOWANCE
        """The size of the smallest part that holds the largest block, and the layer table."""
        if max_payload_bytes < self.least_part_bytes:
            raise InputError(
                f"max_payload(={max_payload_bytes} B) must be at least {self.least_part_bytes} B, "
                "for the largest block"
            )

    @property
    def cached_bytes(self) -> int:
        """Approximate memory of the cache, in bytes."""
        return self._cached_bytes

    def serve_beside(self, stores: Iterable[BlockStore]) -> None:
        """Answer devices that hold one of these versions, and can take deltas, by a delta if there is one."""
        self._deltas.add_bases(stores)

    def notice(self) -> ModelNotice:
        """Return the notice that announces the model."""
        return notice_of(self.store)

    def answer(self, payload: bytes) -> tuple[bytes, ...]:
        """Return the update parts that answer the budget report in *payload*, in order.

        A device that already holds its complete PEE gets one part without blocks.

        Raises:
            RemoteProtocolError: the report is malformed, or names a user or a group that does not exist.
        """
        return self.respond(decode(payload, BudgetReport))

    def respond(self, report: BudgetReport) -> tuple[bytes, ...]:
        """Return the update parts that answer *report*, in order.

        Raises:
            RemoteProtocolError: it names a user or a group that does not exist.
        """
        return tuple([encode_part(body, report.seq) for body in self._select(report)])

    def seal(self, report: BudgetReport) -> tuple[SealedPart, ...]:
        """Return the same parts for a device in this process, which need not check them.

        Raises:
            RemoteProtocolError: it names a user or a group that does not exist.
        """
        bodies = self._select(report)
        if len(bodies) == 1:
            return (seal_part(bodies[0], report.seq),)
        return tuple([seal_part(body, report.seq) for body in bodies])

    def _select(self, report: BudgetReport) -> tuple[Body, ...]:
        """Return the bodies of the parts that answer *report*."""
        number = self._group(report)
        group = self._groups[number]
        layers = group.layers
        room = self._max_body_bytes
        if report.max_part is not msgspec.UNSET or report.codecs is not msgspec.UNSET:
            room = self._room(report)
        if report.shared is True:
            return self._without_blocks(number, report)
        target = layers.blocks[layers.best(report.budget_bytes)]
        if report.model != self._version:
            return self._delta(number, target, report, room) or self._introduction(
                number, target, report.user, room
            )
        if report.held > group.count:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"held(={report.held}) of {group.count} blocks")
        first = min(report.held, target) if self._sends_missing else self._first(group, report.held, target)
        return self._bodies(number, first, target, room)

    def _room(self, report: BudgetReport) -> int:
        """Return the largest size of a part's body that the device can take in.

        Raises:
            RemoteProtocolError: it cannot take in this model.
        """
        codec = self.store.geometry.codec.value
        if report.codecs is not msgspec.UNSET and codec not in report.codecs:
            raise RemoteProtocolError(
                Reason.UNKNOWN_CODEC, f"model {self._version} has codec {codec}, which is not in codecs"
            )
        if report.max_part is msgspec.UNSET:
            return self._max_body_bytes
        if report.max_part < self.least_part_bytes:
            raise RemoteProtocolError(
                Reason.PART_TOO_SMALL,
                f"max_part(={report.max_part}) must be at least {self.least_part_bytes} for model "
                f"{self._version}",
            )
        return min(self._max_body_bytes, report.max_part - HEADER_ALLOWANCE)

    def layer_part(self, number: int, layer: int) -> bytes:
        """Return the update part, to be retained, with the blocks of *layer* that the layer before lacks.

        Its report number is 0: it answers no report.
        """
        group = self._groups[number]
        first, end = group.layers.blocks[layer - 1], group.layers.blocks[layer]
        (only,) = self._cut(number, first, end, self._max_body_bytes)
        return encode_part(only, 0)

    def layer_sizes(self) -> Iterator[tuple[int, int, int]]:
        """Yield (user group, layer, stored bytes of the layer's own blocks) of every layer above 0."""
        for number, group in enumerate(self._groups):
            for layer, (before, size) in enumerate(pairwise(group.layers.bytes), start=1):
                yield number, layer, size - before

    def check_layers_fit(self) -> None:
        """Raise InputError if a layer is too large to be retained as one message."""
        number, layer, size = max(self.layer_sizes(), key=itemgetter(2))
        if size > self._max_body_bytes:
            raise InputError(
                f"max_payload(={self._max_body_bytes + HEADER_ALLOWANCE} B) must be at least "
                f"{size + HEADER_ALLOWANCE} B for shared delivery, or there must be more layers: "
                f"layer {layer} of user group {number} is one message"
            )

    def _without_blocks(self, number: int, report: BudgetReport) -> tuple[Body, ...]:
        """Return the bodies for a device that takes its blocks from retained layers."""
        if report.model != self._version:
            return self._introduction(number, 0, report.user, self._max_body_bytes)
        if report.held > self._groups[number].count:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"held(={report.held})")
        return self._bodies(number, report.held, report.held, self._max_body_bytes)

    def first_bytes(self, user: int, budget_bytes: int, seq: int) -> int:
        """Return the bytes of an answer to report *seq* of a device that holds nothing."""
        number = self._group_of[user]
        layers = self._groups[number].layers
        target = layers.blocks[layers.best(budget_bytes)]
        bodies = self._introduction(number, target, user, self._max_body_bytes)
        return sum(encoded_bytes(len(body.fields), len(body.data), seq) for body in bodies)

    def full_bytes(self, user: int, budget_bytes: int, seq: int) -> int:
        """Return the bytes of an answer to report *seq* that sends the complete PEE for *budget_bytes*."""
        number = self._group_of[user]
        layers = self.store.groups[number].layers
        target = layers.blocks[layers.best(budget_bytes)]
        key = (number, target, len(str(seq)))
        try:
            return self._full_bytes[key]
        except KeyError:
            sizes = self._part_sizes.get((number, target))
        if sizes is None:
            bodies = self._cut(number, 0, target, self._max_body_bytes)
            sizes = self._part_sizes[number, target] = [(len(body.fields), len(body.data)) for body in bodies]
        total = self._full_bytes[key] = sum(encoded_bytes(*size, seq) for size in sizes)
        return total

    def _least_body_bytes(self) -> int:
        largest = max(
            end - start + self._codec.overhead
            for group in self.store.groups
            for start, end in pairwise(group.starts)
        )
        introduction = 4 * self.store.geometry.dim + 8 * self.store.layers
        return max(largest, introduction)

    def _group(self, report: BudgetReport) -> int:
        if report.user is not None:
            if report.user >= len(self._group_of):
                raise RemoteProtocolError(
                    Reason.UNKNOWN_USER, f"user(={report.user}) of {len(self._group_of)}"
                )
            return self._group_of[report.user]
        if report.group is None or report.group >= len(self.store.groups):
            raise RemoteProtocolError(
                Reason.UNKNOWN_GROUP, f"user is absent and group(={report.group}) of {len(self.store.groups)}"
            )
        return report.group

    def _first(self, group: GroupBlocks, held: int, target: int) -> int:
        """Return the first block to send to a device that holds *held* of its *target* blocks."""
        first = min(held, target)
        if self._always_full:
            return 0
        if self._full_above < 1.0 and first < target:
            starts, overhead = group.starts, self._codec.overhead
            missing = starts[target] - starts[first] + (target - first) * overhead
            if missing > self._full_above * (starts[target] + target * overhead):
                return 0
        return first

    def _bodies(
        self, number: int, first: int, target: int, room: int, *, introduced: bool = False
    ) -> tuple[Body, ...]:
        """Return the parts of an update, built once for all devices that need these blocks."""
        key = (number, first, target, room, introduced)
        try:
            return self._cache[key]
        except KeyError:
            bodies = self._cut(number, first, target, room, before=int(introduced))
        size = sum(len(body.data) + len(body.fields) + BODY_BYTES for body in bodies)
        if self._cached_bytes + size > self._cache_bytes:
            self._cache.clear()
            self._cached_bytes = 0
        self._cached_bytes += size
        self._cache[key] = bodies
        return bodies

    def _introduction(self, number: int, target: int, user: int | None, room: int) -> tuple[Body, ...]:
        """Return a first update: before the blocks, a part with the layer table and the user's vector."""
        layers = self._groups[number].layers
        tensors = {"layer_blocks": _u32(layers.blocks[1:]), "layer_bytes": _u32(layers.bytes[1:])}
        if user is not None:
            tensors["user_vector"] = self.store.user_vectors[user].astype("<f4").tobytes()
        return self._led_by(tensors, number, 0, target, room)

    def _delta(self, number: int, target: int, report: BudgetReport, room: int) -> tuple[Body, ...]:
        """Return the update for a device that holds another version: a delta, then blocks; () for none."""
        found = self._deltas.find(number, target, report)
        if found is None:
            return ()
        group, layers = self._groups[number], self._groups[number].layers
        whole = 8 * layers.top + 4 * self.store.geometry.dim + group.starts[found.blocks]
        if len(found.delta) >= min(whole, room):
            return ()
        return self._led_by({"delta": found.delta}, number, found.blocks, target, room)

    def _led_by(
        self, tensors: dict[str, bytes], number: int, first: int, target: int, room: int
    ) -> tuple[Body, ...]:
        """Return an update: a part with *tensors* and no blocks, then the blocks *first* up to *target*."""
        rest = self._bodies(number, first, target, room, introduced=True) if first < target else ()
        leader = build_body(
            model=self._version,
            group=number,
            first=0,
            target=target,
            part=1,
            parts=1 + len(rest),
            tensors=tensors,
        )
        return (leader, *rest)

    def _cut(self, number: int, first: int, target: int, room: int, *, before: int = 0) -> tuple[Body, ...]:
        """Split blocks into parts with bodies of at most *room* bytes; *before* parts precede them."""
        group = self._groups[number]
        cuts = part_ends(group, first, target, room, self._codec.overhead)
        return tuple(
            build_body(
                model=self._version,
                group=number,
                first=start,
                target=target,
                part=before + index + 1,
                parts=before + len(cuts),
                tensors=group.blocks.part(start, end, group.starts, self._codec)._asdict(),
            )
            for index, (start, end) in enumerate(zip([first, *cuts[:-1]], cuts, strict=True))
        )


def notice_of(store: BlockStore) -> ModelNotice:
    """Return the notice that announces the model in *store*."""
    return ModelNotice(
        version=store.version,
        geometry=store.geometry,
        user_groups=len(store.groups),
        users=store.users,
        layers=store.layers,
    )


def part_ends(group: GroupBlocks, first: int, target: int, room: int, overhead: int) -> list[int]:
    """Return the ends of the parts of the blocks *first* to *target*, each part at most *room* bytes.

    An update without blocks is one empty part.
    """

    def stored(end: int) -> int:
        return group.starts[end] + end * overhead

    ends: list[int] = []
    start = first
    while stored(target) - stored(start) > room:
        start = bisect_right(range(target), stored(start) + room, lo=start, key=stored) - 1
        ends.append(start)
    return [*ends, target]


def _u32(values: tuple[int, ...]) -> bytes:
    return np.array(values, dtype="<u4").tobytes()
