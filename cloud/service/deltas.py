"""Deltas from the versions that a cloud serves to one of them, as `wire.version_delta` encodes them."""

from collections.abc import Iterable
from typing import NamedTuple

from cloud.blocks.store import BlockStore
from wire.messages import BudgetReport
from wire.version_delta import (
    HeldBlocks,
    add_vector_change,
    block_count_of,
    encode_delta,
    encode_vector_change,
    has_deltas,
)

MOST_KEPT = 4096
"""Number of deltas, of blocks without a user's vector, that are kept: devices with equal needs share them."""


class FoundDelta(NamedTuple):
    """A delta for one device."""

    delta: bytes
    blocks: int
    """The number of blocks that it leads to: the first ones of the ranking."""


class DeltaSource:
    """Makes the deltas that lead to one version.

    Args:
        store: the version.
    """

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._bases: dict[str, BlockStore] = {}
        self._kept: dict[tuple[str, int, int, int], bytes | None] = {}

    def add_bases(self, stores: Iterable[BlockStore]) -> None:
        """Know the versions that devices may hold; one with another geometry has no delta."""
        if has_deltas(self._store.geometry):
            self._bases |= {base.version: base for base in stores if base.geometry == self._store.geometry}

    def find(self, number: int, target: int, report: BudgetReport) -> FoundDelta | None:
        """Return the delta for the device that sent *report*; None if it can take none, or there is none.

        Args:
            number: the user group.
            target: the number of blocks of its PEE.
            report: names the version and the blocks that it holds.
        """
        base, user = self._bases.get(report.model), report.user
        if report.deltas is not True or base is None or number >= len(base.groups):
            return None
        count = min(report.held, target)
        if not count or report.held > base.groups[number].count:
            return None
        if user is not None and (user >= base.users or base.user_groups[user] != number):
            return None  # a user whose group has changed needs other blocks
        change = b""
        if user is not None:
            found = encode_vector_change(base.user_vectors[user], self._store.user_vectors[user])
            if found is None:
                return None
            change = found
        delta = self._of_blocks(base, number, report.held, count)
        if delta is None:
            return None
        return FoundDelta(add_vector_change(delta, change), block_count_of(delta))

    def _of_blocks(self, base: BlockStore, number: int, held: int, count: int) -> bytes | None:
        key = (base.version, number, held, count)
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            old, new = first_blocks(base, number, held), first_blocks(self._store, number, count)
            self._kept[key] = encode_delta(self._store.geometry, old, new)
        return self._kept[key]


def first_blocks(store: BlockStore, number: int, count: int) -> HeldBlocks:
    """Return the first *count* blocks of the ranking of user group *number*."""
    group = store.groups[number]
    return HeldBlocks(group.blocks.part(0, count, group.starts, store.geometry.codec), group.layers)
