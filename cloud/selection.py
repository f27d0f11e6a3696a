"""Which blocks a budget gets: one ranking per user group, cut into layers. Pure.

PEEs of one ranking are nested: a larger budget's PEE holds all of a smaller one's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wire.layers import Layers
from wire.metrics import IntArray

SHARE_BELOW_FLOOR = 1 / 8
"""The part of the layers that lies below the floor, where hardly any budget does."""


def floor_first(worth: NDArray[np.floating], item_groups: IntArray) -> IntArray:
    """Return the order from the most to the least wanted block.

    First the floor, the worthiest block of each item group, so that the smallest budgets can rank
    every item; then the others. Both by falling worth, equal ones in the order given.

    Args:
        worth: of each block, finite, shape (B,).
        item_groups: the item group of each block, shape (B,).
    """
    if not np.isfinite(worth).all():
        raise ValueError("the worth of a block must be finite")
    falling = np.argsort(-worth, kind="stable")
    _, first = np.unique(item_groups[falling], return_index=True)
    rest = np.ones(len(worth), dtype=bool)
    rest[first] = False
    return np.concatenate([falling[np.sort(first)], falling[rest]])


def rank_blocks(weights: NDArray[np.floating]) -> IntArray:
    """Return block ids, `floor_first`, of cells with *weights*, shape (M, N), that have one block each."""
    return floor_first(weights.reshape(-1), np.repeat(np.arange(len(weights)), weights.shape[1]))


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
