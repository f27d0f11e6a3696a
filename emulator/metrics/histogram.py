"""Histograms with percentiles, which can be merged without loss: the one definition of a percentile.

Values are whole numbers >= 0, in the smallest unit of the quantity. Buckets are logarithmic: 1,024 of equal
width per doubling, and one per value below 2,048. A percentile is the nearest rank, shown as the middle of
its bucket, but not below the least nor above the greatest value, so its error is below 0.05 %. Count, sum,
minimum and maximum are exact. Everything is a whole number, so merging is associative to the last bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.exact_sums import exact_sum

IntArray = NDArray[np.int64]

PER_DOUBLING = 1024
BUCKETS = PER_DOUBLING * 64 + 1
"""Buckets for every 63-bit number, and one for 0."""
EXACT_BELOW = 2 * PER_DOUBLING
"""Values below this have a bucket each."""
RELATIVE_ERROR = 1 / (2 * PER_DOUBLING)
PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")


@dataclass(frozen=True)
class Histogram:
    """Counts of values by bucket, with their sum, minimum and maximum."""

    counts: Mapping[int, int]
    """Count by bucket, rising; empty buckets are left out."""
    sum: int
    min: int | None
    max: int | None

    @classmethod
    def from_values(cls, values: NDArray[Any]) -> Self:  # Any: whole numbers of any width
        """Return the histogram of *values*."""
        values = values.astype(np.int64)
        buckets, counts = np.unique(bucket_numbers(values), return_counts=True)
        ends = (int(values.min()), int(values.max())) if len(values) else (None, None)
        return cls(dict(zip(buckets.tolist(), counts.tolist(), strict=True)), exact_sum(values), *ends)

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float | None:
        """Mean of the values; None if there are none."""
        return self.sum / self.count if self.counts else None

    def __add__(self, other: Self) -> Self:
        """Return the histogram of the values of both."""
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        least = [value for value in (self.min, other.min) if value is not None]
        most = [value for value in (self.max, other.max) if value is not None]
        return type(self)(
            dict(sorted(counts.items())),
            self.sum + other.sum,
            min(least, default=None),
            max(most, default=None),
        )

    def percentile(self, percent: float) -> float | None:
        """Return the least value that at least *percent* of all values do not exceed; None if there are none.

        The error is at most `RELATIVE_ERROR`; below `EXACT_BELOW` and at 100 % there is none.
        """
        if self.min is None or self.max is None:
            return None
        buckets = np.fromiter(self.counts.keys(), np.int64, len(self.counts))
        done = np.cumsum(np.fromiter(self.counts.values(), np.int64, len(self.counts)))
        return find_percentile(buckets, done, (self.min, self.max), percent)


def find_percentile(buckets: IntArray, done: IntArray, ends: tuple[int, int], percent: float) -> float:
    """Return a percentile of values in buckets.

    Args:
        buckets: the buckets that are not empty, rising.
        done: the number of values in each bucket and those before it.
        ends: the least and the greatest value.
        percent: above 0, up to 100.
    """
    count = int(done[-1])
    rank = max(-(-Fraction(repr(percent)) * count // 100), 1)
    if rank == count:
        return float(ends[1])
    bucket = buckets[np.searchsorted(done, int(rank), side="left")]
    return min(max(bucket_middle(int(bucket)), float(ends[0])), float(ends[1]))


def bucket_numbers(values: IntArray, per_doubling: int = PER_DOUBLING) -> IntArray:
    """Return the bucket of each value: 0 for 0, then *per_doubling* buckets of equal width per doubling.

    Raises:
        ValueError: a value is below 0.
    """
    if len(values) and values.min() < 0:
        raise ValueError(f"values(={values.min()}) must be >= 0")
    fraction, exponent = np.frexp(values.astype(np.float64))
    within = ((fraction - 0.5) * (2 * per_doubling)).astype(np.int64)
    return np.where(values > 0, 1 + (exponent.astype(np.int64) - 1) * per_doubling + within, 0)


def bucket_middle(bucket: int) -> float:
    """Return the middle of the whole numbers in *bucket*."""
    if bucket == 0:
        return 0.0
    exponent, within = divmod(bucket - 1, PER_DOUBLING)
    low, high = ((PER_DOUBLING + step) << exponent for step in (within, within + 1))
    least, most = -(-low // PER_DOUBLING), -(-high // PER_DOUBLING) - 1
    return (least + max(most, least)) / 2


def bucket_middles(values: IntArray) -> NDArray[np.float64]:
    """Return the middle of each value's bucket."""
    buckets, place = np.unique(bucket_numbers(values), return_inverse=True)
    return np.array([bucket_middle(bucket) for bucket in buckets.tolist()], dtype=np.float64)[place]
