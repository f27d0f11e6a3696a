"""Magnitude pruning: the largest numbers of the table, with what it takes to say where they stand."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.baselines.basis import rotate_tables
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from cloud.training.baselines.precision import Precision
from wire.arrays import Float32Array

PRECISIONS = (Precision.FP32, Precision.INT8)


@dataclass(frozen=True)
class PrunedTable:
    """The largest numbers of the table, as trained or rotated, in fp32 or int8: chosen on validation.

    Bytes: the numbers, one scale for int8, and the index: a bitmap of I d bits, or a column number
    for each and a count for each item (a byte each, two where d > 256), whichever is smaller.
    """

    name: str = "pruned"

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Prepare both bases."""
        bases = {"as trained": (full.users, full.items), "rotated": rotate_tables(full)}

        rows, columns = full.items.shape

        def options(budget_bytes: int) -> Iterator[Candidate]:
            for basis, (users, items) in bases.items():
                for precision in PRECISIONS:
                    count = most_kept(precision, rows, columns, budget_bytes)
                    size = pruned_bytes(precision, rows, columns, count)
                    if count:
                        yield by_products(
                            users, _prune(items, count, precision), size, f"{precision}, {basis}"
                        )

        return Choice(interactions, options)


def pruned_bytes(precision: Precision, rows: int, columns: int, kept: int) -> int:
    """Return the bytes of *kept* numbers of a table, index included."""
    return kept * precision.bits // 8 + precision.scale_bytes + index_bytes(rows, columns, kept)


def index_bytes(rows: int, columns: int, kept: int) -> int:
    """Return the bytes of the cheaper index."""
    number = 1 if columns <= 256 else 2
    return min(-(-rows * columns // 8), number * (kept + rows))


def most_kept(precision: Precision, rows: int, columns: int, budget_bytes: int) -> int:
    """Return how many numbers fit: the larger of what the two indices allow."""
    left = budget_bytes - precision.scale_bytes
    number = 1 if columns <= 256 else 2
    value = precision.bits // 8
    by_bitmap = (left - -(-rows * columns // 8)) // value
    by_coordinates = (left - number * rows) // (value + number)
    return min(max(by_bitmap, by_coordinates, 0), rows * columns)


def _prune(table: Float32Array, kept: int, precision: Precision) -> Float32Array:
    flat = table.reshape(-1)
    chosen = np.argsort(-np.abs(flat), kind="stable")[:kept]
    values = flat[chosen]
    if precision is Precision.INT8:
        scale = np.float32(max(np.abs(values).max() / 127, 1e-30))
        values = np.rint(values / scale) * scale
    result = np.zeros_like(flat)
    result[chosen] = values
    return result.reshape(table.shape)
