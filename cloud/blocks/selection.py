"""Selection of blocks for a budget: one ranking of blocks per user group, cut into layers.

PEEs of one ranking are nested: the PEE of a larger budget contains that of a smaller one. Every policy is a
ranking. Where an item without a block cannot be ranked (`wire.geometry.Unheld`), every ranking starts with a
floor of one block per item group, the first that the policy itself takes. Letters: M item groups, N slices, B
blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.errors import InputError
from wire.layers import Layers
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, new_member
from wire.ranking_metrics import FloatArray, IntArray

SHARE_BELOW_FLOOR = 1 / 8
"""The part of the layers that lies below the floor; few budgets are that small."""


class Selection(StrEnum):
    """The policies by which blocks are ranked, after the floor if there is one.

    A policy of a plug-in is a `Selection`, too: `Selection(name)` finds it, and a loop has our own ones only.
    """

    PEEL = "peel"  # by weight of whole cells, or by utility per byte of planes
    WEIGHT = "weight"  # by utility of a block, whatever its size
    WEIGHT_PER_BYTE = "weight_per_byte"
    POPULARITY = "popularity"  # whole item groups, by demand of the user group
    PREFIX = "prefix"  # whole slices, in order of dimensions
    RANDOM = "random"

    @classmethod
    def _missing_(cls, value: object) -> object:
        """Return the policy of a plug-in; None, which is an unknown name, where there is none that works."""
        try:
            known = isinstance(value, str) and POLICY_PLUGINS.find(value) is not None
        except InputError:
            return None
        return new_member(cls, str(value)) if known else None

    def is_peel(self, embedded: bool) -> bool:
        """Tell whether this policy ranks as `peel` does, with codecs that are *embedded* or not."""
        return self in (Selection.PEEL, Selection.WEIGHT_PER_BYTE if embedded else Selection.WEIGHT)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The blocks to rank. The blocks of a cell are consecutive, each after those that it refines.

    Shapes (B,): ``item_groups`` and ``slices`` of the blocks; ``utility``, finite, by which `peel` ranks,
    never rising within a cell; ``bytes``, the stored size. ``per_byte``: the utility is per byte, else per
    block. ``demand`` (M,) is the user group's demand for each item group. ``floor``: the first block of each
    item group comes before all others; the ranking sees to it, not the policy.
    """

    item_groups: IntArray
    slices: IntArray
    utility: FloatArray
    bytes: FloatArray
    per_byte: bool
    demand: FloatArray
    floor: bool

    @property
    def weights(self) -> FloatArray:
        """The utility of each block."""
        return self.utility * self.bytes if self.per_byte else self.utility

    @property
    def weights_per_byte(self) -> FloatArray:
        """The utility of each block per byte."""
        return self.utility if self.per_byte else self.utility / self.bytes

    @property
    def cells(self) -> IntArray:
        """The number of each block's cell."""
        return np.asarray(self.item_groups * (int(self.slices.max()) + 1) + self.slices)


RankingPolicy = Callable[[Candidates], IntArray]
"""Returns the order of the candidates: a floor first, and no block before one that it refines."""

CandidateOrder = Callable[[Candidates, np.random.Generator], IntArray]
"""A policy of a plug-in: returns the order of the candidates, no block before one that it refines.

The generator is that of the user group; nothing else draws from it.
"""


def _check_plugin(name: str, found: object) -> CandidateOrder:
    if not callable(found):
        raise ValueError("must be a function of the candidates and a generator")
    return found


POLICY_PLUGINS: Final = PluginRegistry(
    PluginKind.POLICY, [str(policy) for policy in Selection], _check_plugin
)
"""The selection policies of plug-ins."""


def rank_by_peel(candidates: Candidates) -> IntArray:
    """Return the order of PEEL."""
    return _with_floor(_descending(candidates.utility), candidates)


def ranking_policy(selection: Selection, rng: np.random.Generator) -> RankingPolicy:
    """Return the policy of *selection*; only `random` and plug-ins draw from *rng*."""
    plugin = POLICY_PLUGINS.find(selection)
    if plugin is not None:
        return lambda candidates: _order_by_plugin(selection, plugin, candidates, rng)
    orders: dict[Selection, RankingPolicy] = {
        Selection.PEEL: lambda candidates: _descending(candidates.utility),
        Selection.WEIGHT: lambda candidates: order_in_cells(candidates.weights, candidates.cells),
        Selection.WEIGHT_PER_BYTE: lambda candidates: order_in_cells(
            candidates.weights_per_byte, candidates.cells
        ),
        Selection.POPULARITY: lambda candidates: np.lexsort(
            (-candidates.utility, candidates.item_groups, -candidates.demand[candidates.item_groups])
        ),
        Selection.PREFIX: lambda candidates: np.lexsort((-candidates.utility, candidates.slices)),
        Selection.RANDOM: lambda candidates: _shuffle_in_cell_order(candidates.cells, rng),
    }
    if selection not in orders:
        raise InputError(f"selection(={str(selection)!r}) is that of a plug-in that is not there any more")
    return lambda candidates: _with_floor(orders[selection](candidates), candidates)


def _order_by_plugin(
    selection: Selection, plugin: CandidateOrder, candidates: Candidates, rng: np.random.Generator
) -> IntArray:
    """Return the order of a plug-in, checked, with a floor first.

    Raises:
        InputError: it is no order of the candidates.
    """
    order = np.asarray(plugin(candidates, rng))
    count = len(candidates.bytes)
    if order.shape != (count,) or not np.array_equal(np.sort(order), np.arange(count)):
        raise InputError(
            f"{POLICY_PLUGINS.plugin(selection)}: must return the numbers of {count} blocks once"
        )
    rank = np.argsort(order)
    if (np.diff(rank)[np.diff(candidates.cells) == 0] < 0).any():
        raise InputError(
            f"{POLICY_PLUGINS.plugin(selection)}: must not return a block before one that it refines"
        )
    return _with_floor(order.astype(np.int64), candidates)


def order_in_cells(utility: FloatArray, cells: IntArray) -> IntArray:
    """Return the order by falling *utility* in which no block comes before one that it refines."""
    return _descending(_running_minimum(utility, cells))


def rank_blocks(weights: NDArray[np.floating], *, floor: bool) -> IntArray:
    """Return the block ids of cells with one block each by falling *weights*, shape (M, N).

    Args:
        weights: finite; equal weights keep their order.
        floor: put the heaviest block of each item group before all others.
    """
    order = _descending(weights.reshape(-1))
    return _move_floor_first(order, order // weights.shape[1]) if floor else order


def cut_layers(sizes: Sequence[int], count: int, floor: int) -> Layers:
    """Cut a ranking into at most *count* layers at block boundaries.

    Above the floor, the bytes of the layers form a geometric series up to the whole ranking; below it,
    layers divide the floor evenly. With as many layers as blocks, a budget selects the longest prefix of
    blocks that fits.

    Args:
        sizes: stored bytes of each block in ranking order, overhead included.
        count: at least 1.
        floor: the number of blocks of the floor; 1 for none.
    """
    ends = np.cumsum(sizes)
    if count >= len(ends):
        return Layers.above_zero(range(1, len(ends) + 1), ends.tolist())
    below = min(int(count * SHARE_BELOW_FLOOR), floor - 1)
    targets = np.concatenate(
        [
            ends[floor - 1] * np.arange(1, below + 1) / (below + 1),
            np.geomspace(ends[floor - 1], ends[-1], count - below),
        ]
    )
    # The block boundary at or above each target size; rounding must not lose the last block.
    blocks = np.unique(np.minimum(np.searchsorted(ends, targets - 0.5), len(ends) - 1) + 1)
    blocks[-1] = len(ends)
    return Layers.above_zero(blocks.tolist(), ends[blocks - 1].tolist())


def _descending(utility: NDArray[np.floating]) -> IntArray:
    if not np.isfinite(utility).all():
        raise ValueError("the worth of a block must be finite")
    return np.argsort(-utility, kind="stable")


def _with_floor(order: IntArray, candidates: Candidates) -> IntArray:
    """Return *order*, with the floor first if the candidates need one."""
    return _move_floor_first(order, candidates.item_groups[order]) if candidates.floor else order


def _move_floor_first(order: IntArray, item_groups: IntArray) -> IntArray:
    """Return *order* with the first block of each item group before all others.

    Args:
        order: of the blocks.
        item_groups: the item group of each block, in that order.
    """
    _, first = np.unique(item_groups, return_index=True)
    rest = np.ones(len(order), dtype=bool)
    rest[first] = False
    return np.concatenate([order[np.sort(first)], order[rest]])


def _running_minimum(utility: FloatArray, cells: IntArray) -> FloatArray:
    """Return the smallest *utility* of each block and the earlier blocks of its cell."""
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    return np.concatenate([np.minimum.accumulate(part) for part in np.split(utility, starts[1:])])


def _shuffle_in_cell_order(cells: IntArray, rng: np.random.Generator) -> IntArray:
    """Return a random order that keeps the order within cells; all such orders are equally likely."""
    order = np.empty(len(cells), dtype=np.int64)
    # Assign the positions of each cell in a random sequence to its blocks in their order.
    order[np.argsort(rng.permutation(cells), kind="stable")] = np.argsort(cells, kind="stable")
    return order
