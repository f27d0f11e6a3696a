"""Histograms with percentiles, which can be merged without loss.

Values are whole numbers >= 0, in the smallest unit of the quantity. Buckets are logarithmic: 64 per doubling,
and one per value below 128, so the error of a percentile is at most 1/128. Count, sum, minimum and maximum
are exact. Everything is a whole number, so merging is associative and commutative to the last bit.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

PER_DOUBLING = 64
BUCKETS = PER_DOUBLING * 64 + 1
"""Buckets for every 63-bit number, and one for 0."""
RELATIVE_ERROR = 1 / (2 * PER_DOUBLING)
PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")

_LIMB = 22
"""Bits of a number that are summed at a time: sums of two billion such parts are exact in a float."""


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
        (histogram,) = cls.by_group(values, bucket_numbers(values), np.ones(len(values), dtype=np.int64), 1)
        return histogram

    @classmethod
    def by_group(cls, values: IntArray, bucket: IntArray, group: IntArray, groups: int) -> Sequence[Self]:
        """Return one histogram per group.

        Args:
            values: whole numbers >= 0.
            bucket: of each value, as `bucket_numbers` returns it.
            group: of each value, from 1; 0: no group.
            groups: number of groups.
        """
        first = int(bucket.min(initial=BUCKETS))
        width = max(int(bucket.max(initial=0)) - first + 1, 1)
        counts = np.bincount(group * width + (bucket - first), minlength=(groups + 1) * width)
        least, most = np.full(groups + 1, np.iinfo(np.int64).max), np.full(groups + 1, -1)
        np.minimum.at(least, group, values)
        np.maximum.at(most, group, values)
        sums = exact_sums(values, group, groups)
        return [
            cls(_sparse(row, first), total, None if high < 0 else low, None if high < 0 else high)
            for row, total, low, high in zip(
                counts.reshape(-1, width)[1:], sums, least.tolist()[1:], most.tolist()[1:], strict=True
            )
        ]

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

        The error is at most `RELATIVE_ERROR`; below 128 and at 100 % there is none.
        """
        if self.min is None or self.max is None:
            return None
        rank = max(-(-Fraction(repr(percent)) * self.count // 100), 1)
        if rank == self.count:
            return float(self.max)
        seen = itertools.accumulate(self.counts.values())
        bucket = next(bucket for bucket, done in zip(self.counts, seen, strict=True) if done >= rank)
        return min(max(bucket_middle(bucket), float(self.min)), float(self.max))


def bucket_numbers(values: IntArray) -> IntArray:
    """Return the bucket of each value: 0 for 0, then `PER_DOUBLING` buckets of equal width per doubling.

    Raises:
        ValueError: a value is below 0.
    """
    if len(values) and values.min() < 0:
        raise ValueError(f"values(={values.min()}) must be >= 0")
    fraction, exponent = np.frexp(values.astype(np.float64))
    within = np.floor((fraction - 0.5) * (2 * PER_DOUBLING)).astype(np.int64)
    return np.where(values > 0, 1 + (exponent - 1) * PER_DOUBLING + within, 0)


def bucket_middle(bucket: int) -> float:
    """Return the middle of the whole numbers in *bucket*."""
    if bucket == 0:
        return 0.0
    exponent, within = divmod(bucket - 1, PER_DOUBLING)
    low, high = ((PER_DOUBLING + step) << exponent for step in (within, within + 1))
    least, most = -(-low // PER_DOUBLING), -(-high // PER_DOUBLING) - 1
    return (least + max(most, least)) / 2


def exact_sum(values: IntArray) -> int:
    """Return the sum of *values* >= 0, however large."""
    if int(values.max(initial=0)) * len(values) < 2**63:
        return int(values.sum())
    (total,) = exact_sums(values, np.ones(len(values), dtype=np.int64), 1)
    return total


def exact_sums(values: IntArray, group: IntArray, groups: int) -> list[int]:
    """Return the sum of the *values* >= 0 of each group from 1 to *groups*, however large."""
    sums = [0] * (groups + 1)
    mask = (1 << _LIMB) - 1
    for shift in range(0, int(values.max(initial=0)).bit_length(), _LIMB):
        limbs = np.bincount(group, (values >> shift) & mask, groups + 1)
        sums = [total + (int(limb) << shift) for total, limb in zip(sums, limbs.tolist(), strict=True)]
    return sums[1:]


def _sparse(row: IntArray, first: int) -> dict[int, int]:
    used = np.flatnonzero(row)
    return dict(zip((used + first).tolist(), row[used].tolist(), strict=True))
