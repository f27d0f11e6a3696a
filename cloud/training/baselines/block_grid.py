"""The full table cut into blocks (item group, slice) for baselines that choose among them. Pure.

Baselines keep a cut of their own, in int8, so that they stay as they are when PEEL's blocks change.
Letters: I items, d dimensions, M item groups, N slices.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cloud.data.interactions import item_group_bounds
from cloud.training.baselines.method import Candidate, by_products
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray

BLOCK_OVERHEAD = 6  # the block's number in 16 bits, its scale as float32


@dataclass(frozen=True, eq=False)
class BlockGrid:
    """A pair of tables, the item table in blocks of int8.

    Bytes: the numbers of the blocks held, a number and a scale for each block.
    """

    users: Float32Array
    items: Float32Array
    """As read back from int8, shape (I, d)."""
    item_groups: IntArray
    """The item group of each item, shape (I,)."""
    slices: IntArray
    """The slice of each dimension, shape (d,)."""
    sizes: IntArray
    """Bytes of each block, shape (M, N)."""

    def prefix(self, weights: FloatArray, budget_bytes: int) -> NDArray[np.bool_]:
        """Return which blocks are held, shape (M, N): the best of each item group, then by weight."""
        flat = weights.reshape(-1)
        floor = np.zeros(len(flat), dtype=bool)
        floor[np.arange(len(weights)) * weights.shape[1] + weights.argmax(axis=1)] = True
        order = np.lexsort((-flat, ~floor))
        fits = np.cumsum(self.sizes.reshape(-1)[order]) <= budget_bytes
        held = np.zeros(len(flat), dtype=bool)
        held[order[fits]] = True
        return held.reshape(weights.shape)

    def zero_where_not_held(self, held: NDArray[np.bool_]) -> Float32Array:
        """Return the item table with 0 for what is not held."""
        return self.items * held[self.item_groups][:, self.slices]

    def rankable_items(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which items have a block at all, shape (I,)."""
        groups: NDArray[np.bool_] = np.any(held, axis=1)
        return groups[self.item_groups]

    def candidate(self, held: NDArray[np.bool_], note: str) -> Candidate:
        """Return the tables with which the *held* blocks, shape (M, N), score."""
        size = int(self.sizes[held].sum())
        return by_products(self.users, self.zero_where_not_held(held), size, note, self.rankable_items(held))


def cut_blocks(users: Float32Array, items: Float32Array, item_groups: int, slice_width: int) -> BlockGrid:
    """Cut and quantize; there are at most as many item groups as items."""
    bounds = item_group_bounds(len(items), min(item_groups, len(items)))
    edges = np.array([*range(0, items.shape[1], slice_width), items.shape[1]])
    heights, widths = np.diff(bounds), np.diff(edges)
    decoded = np.empty_like(items)
    for top, bottom in pairwise(bounds):
        for left, right in pairwise(edges):
            block = items[top:bottom, left:right]
            scale = np.float32(max(np.abs(block).max() / 127, 1e-30))
            decoded[top:bottom, left:right] = np.rint(block / scale) * scale
    return BlockGrid(
        users,
        decoded,
        np.repeat(np.arange(len(heights)), heights),
        np.repeat(np.arange(len(widths)), widths),
        np.multiply.outer(heights, widths) + BLOCK_OVERHEAD,
    )


def closed_form(grid: BlockGrid) -> FloatArray:
    """Return each block's share of the score's energy per byte, sum of E[u^2] v^2, shape (M, N)."""
    spread = np.square(grid.users, dtype=np.float64).mean(axis=0)  # (d,)
    energy = np.square(grid.items, dtype=np.float64) * spread  # (I, d)
    total = np.zeros(grid.sizes.shape)
    np.add.at(total, (grid.item_groups[:, None], grid.slices[None, :]), energy)
    return np.asarray(total / grid.sizes, dtype=np.float64)
