"""Number formats of the baselines, and their bytes.

int8 and int4: symmetric, one float32 scale per column; int4 packs two numbers into a byte.
"""

from collections.abc import Iterable
from enum import StrEnum

import numpy as np

from wire.arrays import Float32Array

CLIPS = np.linspace(0.4, 1.0, 13)  # largest level as a share of the largest number


class Precision(StrEnum):
    """Format of a number."""

    FP32 = "fp32"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Bits of a number."""
        return {"fp32": 32, "int8": 8, "int4": 4}[self.value]

    @property
    def levels(self) -> int:
        """The largest stored whole number."""
        return {"fp32": 0, "int8": 127, "int4": 7}[self.value]

    @property
    def scale_bytes(self) -> int:
        """Bytes of a scale."""
        return 0 if self is Precision.FP32 else 4


def table_bytes(precision: Precision, rows: int, columns: int) -> int:
    """Return the bytes of a table, with one scale per column."""
    return -(-rows * columns * precision.bits // 8) + columns * precision.scale_bytes


def widest(precision: Precision, rows: int, most: int, budget_bytes: int) -> int:
    """Return how many columns of *rows* numbers fit into *budget_bytes*, at most *most*."""
    widths = range(most, 0, -1)
    return next((width for width in widths if table_bytes(precision, rows, width) <= budget_bytes), 0)


def longest(precision: Precision, most: int, columns: int, budget_bytes: int) -> int:
    """Return how many rows of *columns* numbers fit into *budget_bytes*, at most *most*."""
    rows = (budget_bytes - columns * precision.scale_bytes) * 8 // (columns * precision.bits)
    return int(min(max(rows, 0), most))


def read_back(table: Float32Array, precision: Precision) -> Float32Array:
    """Return *table*, shape (rows, columns), as it is read back."""
    if precision is Precision.FP32:
        return table
    peaks = np.abs(table).max(axis=0, initial=0)  # (columns,)
    clips: Iterable[float] = CLIPS if precision is Precision.INT4 else (1.0,)
    tries = [_round_columns(table, np.maximum(peaks * clip, 1e-30), precision.levels) for clip in clips]
    errors = np.stack([np.square(candidate - table).sum(axis=0) for candidate in tries])  # (clips, columns)
    best = errors.argmin(axis=0)
    return np.stack([tries[clip][:, column] for column, clip in enumerate(best)], axis=1)


def _round_columns(table: Float32Array, peaks: Float32Array, levels: int) -> Float32Array:
    scales = (peaks / levels).astype(np.float32)
    rounded = np.clip(np.rint(table / scales), -levels, levels)
    return np.asarray(rounded * scales, dtype=np.float32)
