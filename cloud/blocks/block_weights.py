"""How an item table is cut into blocks, and what a block is worth without learning anything.

Nothing in this file knows about torch. Letters: I items, d dimensions, G user groups, M item groups, N
slices.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cloud.data.interactions import Interactions, item_group_bounds
from cloud.training.config import Training
from wire.geometry import Float32Array, Geometry
from wire.ranking_metrics import FloatArray, IntArray

Value = TypeVar("Value", bound=np.generic)

LEAST_SHARE = 1e-12  # of a group's total weight: keeps the logarithm of an empty block finite
PRIOR_STRENGTH = 0.5  # of the global popularity that is mixed into a group's own, which counts 1


@dataclass(frozen=True, eq=False)
class Cut:
    """How a table of I items and d dimensions is cut: item group m starts at ``row_starts[m]``."""

    n_items: int
    dim: int
    row_starts: IntArray
    column_starts: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return len(self.row_starts), len(self.column_starts)

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum of each block of *values*, shape (I, d) to (M, N)."""
        by_rows = np.add.reduceat(values, self.row_starts, axis=0)  # (M, d)
        return np.asarray(np.add.reduceat(by_rows, self.column_starts, axis=1))

    def spread(self, blocks: NDArray[Value]) -> NDArray[Value]:
        """Return a value per block as a value per entry of the table, shape (M, N) to (I, d)."""
        return blocks[self.item_groups()][:, self.slices()]

    def item_groups(self) -> IntArray:
        """Return the item group of each item, shape (I,)."""
        return _runs(self.row_starts, self.n_items)

    def slices(self) -> IntArray:
        """Return the slice of each dimension, shape (d,)."""
        return _runs(self.column_starts, self.dim)


def cut_table(n_items: int, dim: int, config: Training) -> Cut:
    """Return the cut that *config* asks for, with at most one item group per item."""
    bounds = item_group_bounds(n_items, min(config.item_groups, n_items))
    return Cut(n_items, dim, bounds[:-1], np.arange(0, dim, config.slice_width))


def cut_of(geometry: Geometry) -> Cut:
    """Return how *geometry* cuts a table."""
    bounds = item_group_bounds(geometry.items, geometry.item_groups)
    return Cut(geometry.items, geometry.dim, bounds[:-1], np.arange(0, geometry.dim, geometry.slice_width))


def closed_form(
    table: Float32Array, second_moment: FloatArray, item_weights: Float32Array, cut: Cut
) -> FloatArray:
    """Return the drop in weighted distortion that each block buys, as shares, shape (M, N).

    The block is worth ``sum_i pop_i * sum_k E_g[u_k^2] * v_ik^2`` over its items i and dimensions k:
    the mean squared change of the group's scores when it is left out, if the dimensions of the
    group's users are uncorrelated, as rotation makes them.

    Args:
        table: the group's item table, shape (I, d).
        second_moment: E_g[u_k^2] (`second_moment`), shape (d,).
        item_weights: pop_i, shape (I,).
        cut: where blocks begin.
    """
    energy = second_moment * table.astype(np.float64) ** 2  # (I, d)
    worth = cut.sums(item_weights.astype(np.float64)[:, None] * energy)
    shares = np.maximum(worth / max(float(worth.sum()), np.finfo(np.float64).tiny), LEAST_SHARE)
    return np.asarray(shares / shares.sum())


def second_moment(vectors: Float32Array) -> FloatArray:
    """Return the mean over users of each dimension's square, shape (n, d) to (d,)."""
    return np.asarray((vectors.astype(np.float64) ** 2).mean(axis=0))


def group_item_weights(groups: IntArray, interactions: Interactions) -> Float32Array:
    """Return how much each item counts in each user group, shape (G, I); rows sum to 1.

    An item counts by its share of the group's training interactions, mixed with its share of all, so
    that a small group does not deem worthless what it has not met.

    Args:
        groups: the group of each user, shape (U,).
        interactions: of all users.
    """
    everywhere = interactions.popularity() + 1.0
    everywhere = everywhere / everywhere.sum()
    users, items = interactions.train.pairs()
    n_groups, n_items = int(groups.max()) + 1, interactions.n_items
    counts = np.bincount(groups[users] * n_items + items, minlength=n_groups * n_items)
    shares = counts.reshape(n_groups, n_items).astype(np.float64)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    shares += PRIOR_STRENGTH * everywhere
    shares /= shares.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def _runs(starts: IntArray, total: int) -> IntArray:
    """Return 0 for the places before ``starts[1]``, then 1, and so on, shape (total,)."""
    return np.repeat(np.arange(len(starts)), np.diff(starts, append=total))
