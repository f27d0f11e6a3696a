"""Which blocks a budget gets: one ranking per user group, cut into layers. Pure.

PEEs of one ranking are nested: a larger budget's PEE holds all of a smaller one's.
"""

import numpy as np
from numpy.typing import NDArray

from wire.geometry import Geometry, data_sizes, stored_overhead
from wire.layers import Layers

IdArray = NDArray[np.uint16]


def rank_blocks(weights: NDArray[np.floating]) -> IdArray:
    """Return block ids from the most to the least wanted.

    First the floor, the heaviest block of each item group, so that the smallest budgets can rank
    every item; then the others. Both by falling weight, equal weights by the lower id.

    Args:
        weights: shape (M, N), finite.
    """
    if not np.isfinite(weights).all():
        raise ValueError("block weights must be finite")
    flat = weights.reshape(-1)
    in_floor = np.zeros(len(flat), dtype=bool)
    in_floor[np.arange(len(weights)) * weights.shape[1] + weights.argmax(axis=1)] = True
    return np.lexsort((np.arange(len(flat)), -flat, ~in_floor)).astype(np.uint16)


def stored_sizes(geometry: Geometry, ranking: IdArray) -> NDArray[np.int64]:
    """Return the bytes that a device stores for each block of *ranking*, id and scale included."""
    return np.asarray(data_sizes(geometry), dtype=np.int64)[ranking] + stored_overhead(geometry)


def cut_layers(sizes: NDArray[np.int64], count: int) -> Layers:
    """Cut a ranking into at most *count* layers, geometric in bytes, at block boundaries.

    With as many layers as blocks, a budget selects the longest prefix of blocks that fits.

    Args:
        sizes: stored bytes of each block in ranking order, shape (blocks,).
        count: at least 1.
    """
    ends = np.cumsum(sizes)
    if count >= len(ends):
        return Layers.above_zero(range(1, len(ends) + 1), ends.tolist())
    wanted = np.geomspace(ends[0], ends[-1], count)
    # The block boundary at or above each wanted size; rounding must not lose the last block.
    blocks = np.unique(np.minimum(np.searchsorted(ends, wanted - 0.5), len(ends) - 1) + 1)
    blocks[-1] = len(ends)
    return Layers.above_zero(blocks.tolist(), ends[blocks - 1].tolist())
