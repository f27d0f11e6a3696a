"""Which blocks a budget gets: one ranking per user group, cut into layers. Pure.

PEEs of one ranking are nested: a larger budget's PEE holds all of a smaller one's. Every policy is a
ranking, and every ranking starts with a floor, one block per item group: the first that the policy
itself would take. So any policy can rank all items at the smallest budgets. Letters: M item groups, N
slices, B blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wire.layers import Layers
from wire.ranking_metrics import FloatArray, IntArray

SHARE_BELOW_FLOOR = 1 / 8
"""The part of the layers that lies below the floor, where hardly any budget does."""


class Selection(StrEnum):
    """By what blocks are ranked behind the floor."""

    PEEL = "peel"  # the weight of whole cells; what a plane buys per byte
    WEIGHT = "weight"  # what a block buys, whatever it costs
    WEIGHT_PER_BYTE = "weight_per_byte"
    POPULARITY = "popularity"  # item groups, those the user group wants most first, each whole
    PREFIX = "prefix"  # slices, the first dimensions first, each whole
    RANDOM = "random"

    def is_peel(self, embedded: bool) -> bool:
        """Return whether this ranks as `peel` does, where the codec is or is not *embedded*."""
        return self in (Selection.PEEL, Selection.WEIGHT_PER_BYTE if embedded else Selection.WEIGHT)


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is ranked. The blocks of a cell lie side by side, each behind those that it builds on.

    Shapes (B,): ``item_groups`` and ``slices`` of the blocks; ``worth``, finite, by which `peel` ranks them,
    never rising within a cell; ``bytes``, what each is stored in. ``per_byte`` says whether the worth is
    that of a byte or of the block. ``wanted`` (M,) is how much the user group wants each item group.
    """

    item_groups: IntArray
    slices: IntArray
    worth: FloatArray
    bytes: FloatArray
    per_byte: bool
    wanted: FloatArray

    @property
    def weights(self) -> FloatArray:
        """What each block buys, whatever it costs."""
        return self.worth * self.bytes if self.per_byte else self.worth

    @property
    def weights_per_byte(self) -> FloatArray:
        """What each block buys per byte."""
        return self.worth if self.per_byte else self.worth / self.bytes

    @property
    def cells(self) -> IntArray:
        """The number of each block's cell."""
        return np.asarray(self.item_groups * (int(self.slices.max()) + 1) + self.slices)


RankingPolicy = Callable[[Candidates], IntArray]
"""From an offer to the order of its blocks, the floor first, no block before one that it builds on."""


def rank_by_peel(offer: Candidates) -> IntArray:
    """Rank as PEEL does."""
    return order_floor_first(offer.worth, offer.item_groups)


def ranking_policy(selection: Selection, rng: np.random.Generator) -> RankingPolicy:
    """Return how *selection* ranks; *rng* is drawn from at `random` alone."""
    orders: dict[Selection, RankingPolicy] = {
        Selection.PEEL: lambda offer: _descending(offer.worth),
        Selection.WEIGHT: lambda offer: _descending(_running_minimum(offer.weights, offer.cells)),
        Selection.WEIGHT_PER_BYTE: lambda offer: _descending(
            _running_minimum(offer.weights_per_byte, offer.cells)
        ),
        Selection.POPULARITY: lambda offer: np.lexsort(
            (-offer.worth, offer.item_groups, -offer.wanted[offer.item_groups])
        ),
        Selection.PREFIX: lambda offer: np.lexsort((-offer.worth, offer.slices)),
        Selection.RANDOM: lambda offer: _shuffle_in_cell_order(offer.cells, rng),
    }
    return lambda offer: _move_floor_first(orders[selection](offer), offer.item_groups)


def order_floor_first(worth: NDArray[np.floating], item_groups: IntArray) -> IntArray:
    """Return the order from the most to the least wanted block.

    First the floor, the worthiest block of each item group, so that the smallest budgets can rank
    every item; then the others. Both by falling worth, equal ones in the order given.

    Args:
        worth: of each block, finite, shape (B,).
        item_groups: the item group of each block, shape (B,).
    """
    return _move_floor_first(_descending(worth), item_groups)


def rank_blocks(weights: NDArray[np.floating]) -> IntArray:
    """Return the block ids of cells with one block each, `order_floor_first` by *weights*, shape (M, N)."""
    return order_floor_first(weights.reshape(-1), np.repeat(np.arange(len(weights)), weights.shape[1]))


def cut_layers(sizes: Sequence[int], count: int, floor: int) -> Layers:
    """Cut a ranking into at most *count* layers at block boundaries.

    Layers are geometric in bytes from the floor's to the whole ranking's, and evenly divide the
    floor. With as many layers as blocks, a budget selects the longest prefix of blocks that fits.

    Args:
        sizes: stored bytes of each block in ranking order, overhead included.
        count: at least 1.
        floor: how many blocks the floor has.
    """
    ends = np.cumsum(sizes)
    if count >= len(ends):
        return Layers.above_zero(range(1, len(ends) + 1), ends.tolist())
    below = min(int(count * SHARE_BELOW_FLOOR), floor - 1)
    wanted = np.concatenate(
        [
            ends[floor - 1] * np.arange(1, below + 1) / (below + 1),
            np.geomspace(ends[floor - 1], ends[-1], count - below),
        ]
    )
    # The block boundary at or above each wanted size; rounding must not lose the last block.
    blocks = np.unique(np.minimum(np.searchsorted(ends, wanted - 0.5), len(ends) - 1) + 1)
    blocks[-1] = len(ends)
    return Layers.above_zero(blocks.tolist(), ends[blocks - 1].tolist())


def _descending(worth: NDArray[np.floating]) -> IntArray:
    if not np.isfinite(worth).all():
        raise ValueError("the worth of a block must be finite")
    return np.argsort(-worth, kind="stable")


def _move_floor_first(order: IntArray, item_groups: IntArray) -> IntArray:
    """Return *order* with the first block of each item group before all others."""
    _, first = np.unique(item_groups[order], return_index=True)
    rest = np.ones(len(order), dtype=bool)
    rest[first] = False
    return np.concatenate([order[np.sort(first)], order[rest]])


def _running_minimum(worth: FloatArray, cells: IntArray) -> FloatArray:
    """Return the least *worth* of each block and those of its cell before it: it waits for them."""
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    return np.concatenate([np.minimum.accumulate(each) for each in np.split(worth, starts[1:])])


def _shuffle_in_cell_order(cells: IntArray, rng: np.random.Generator) -> IntArray:
    """Return a random order, every one equally likely that keeps the blocks of each cell in theirs."""
    order = np.empty(len(cells), dtype=np.int64)
    # Deal the places of a random row of cells to the blocks of each cell, in their order.
    order[np.argsort(rng.permutation(cells), kind="stable")] = np.argsort(cells, kind="stable")
    return order
