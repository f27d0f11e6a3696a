"""Partition of an item table into blocks of rows and columns.

Letters: I items, d dimensions, M item groups, N slices.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wire.geometry import Geometry
from wire.ranking_metrics import FloatArray, IntArray

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Partition:
    """A partition of a table of I items and d dimensions: item group m starts at ``row_starts[m]``."""

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

    def broadcast(self, blocks: NDArray[Value]) -> NDArray[Value]:
        """Return a value per block as a value per entry of the table, shape (M, N) to (I, d)."""
        return blocks[self.item_groups()][:, self.slices()]

    def item_groups(self) -> IntArray:
        """Return the item group of each item, shape (I,)."""
        return _repeat_indices(self.row_starts, self.n_items)

    def slices(self) -> IntArray:
        """Return the slice of each dimension, shape (d,)."""
        return _repeat_indices(self.column_starts, self.dim)


def partition_of(geometry: Geometry) -> Partition:
    """Return the partition of the tables of *geometry*."""
    starts = np.array([geometry.item_group(m).start for m in range(geometry.item_groups)])
    return Partition(geometry.items, geometry.dim, starts, np.arange(0, geometry.dim, geometry.slice_width))


def _repeat_indices(starts: IntArray, total: int) -> IntArray:
    """Return 0 for the positions before ``starts[1]``, then 1, and so on, shape (total,)."""
    return np.repeat(np.arange(len(starts)), np.diff(starts, append=total))
