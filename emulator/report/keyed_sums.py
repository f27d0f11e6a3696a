"""Sums by key on fixed scales, which merge without loss: the ground of all figures of a report.

Everything is a whole number. So the sums of a run are the same to the last bit, however it was cut into
ranges of devices.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MANTISSA: Final = 52
_KEPT: Final = 7
"""Bits of the mantissa that are kept: 128 buckets per doubling, each less than 0.8 % wide."""
_ZERO: Final = (1023 << _KEPT) - 1
BUCKETS: Final = 1 << 13
"""More than the number of buckets of whole numbers of 63 bits."""

_FRACTION: Final = 30
_LOW_BITS: Final = 26
LIMBS: Final = 2


def byte_bucket(sizes: IntArray) -> IntArray:
    """Return the bucket of each size >= 0: 0 for 0, then 128 buckets of equal width per doubling."""
    bits: IntArray = sizes.astype(np.float64).view(np.int64)
    buckets: IntArray = np.maximum((bits >> (_MANTISSA - _KEPT)) - _ZERO, 0)
    return buckets


def bucket_start(bucket: IntArray) -> FloatArray:
    """Return the least size in each bucket; a bucket of size 0 starts at 0."""
    starts = ((np.asarray(bucket, dtype=np.int64) + _ZERO) << (_MANTISSA - _KEPT)).view(np.float64)
    return np.where(bucket > 0, starts, 0.0)


def to_limbs(values: FloatArray) -> IntArray:
    """Return *values* as whole multiples of 2^-30, in two columns whose sums do not overflow.

    Sums are exact for a billion rows, and for a thousand million years of device time in seconds.
    """
    whole = np.rint(values * float(1 << _FRACTION)).astype(np.int64)
    return np.column_stack([whole >> _LOW_BITS, whole & ((1 << _LOW_BITS) - 1)])


def from_limbs(sums: IntArray) -> FloatArray:
    """Return the numbers whose sums of limbs are in the last axis of *sums*."""
    high, low = sums[..., 0].astype(np.float64), sums[..., 1].astype(np.float64)
    return (high * float(1 << _LOW_BITS) + low) / float(1 << _FRACTION)


@dataclass(frozen=True, eq=False)
class KeyedSums:
    """Sums of rows by key, with the least and the greatest value of each key."""

    keys: IntArray
    """Rising."""
    sums: IntArray
    """A row per key."""
    least: IntArray
    most: IntArray

    @classmethod
    def from_rows(cls, keys: IntArray, added: IntArray, least: IntArray, most: IntArray) -> "KeyedSums":
        """Return the sums of rows in any order.

        Args:
            keys: the key of each row.
            added: numbers to add up, a row for each key.
            least: the least value of each row.
            most: the greatest value of each row.
        """
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        if not len(first):
            return cls(keys, added, least, most)
        return cls(
            keys[first],
            np.add.reduceat(added[order], first),
            np.minimum.reduceat(least[order], first),
            np.maximum.reduceat(most[order], first),
        )

    def merged(self, other: "KeyedSums") -> "KeyedSums":
        """Return the sums of both."""
        if not len(self.keys) or not len(other.keys):
            return other if not len(self.keys) else self
        place = np.minimum(np.searchsorted(self.keys, other.keys), len(self.keys) - 1)
        known = self.keys[place] == other.keys
        at, new = place[known], ~known
        sums, least, most = self.sums.copy(), self.least.copy(), self.most.copy()
        sums[at] += other.sums[known]
        least[at] = np.minimum(least[at], other.least[known])
        most[at] = np.maximum(most[at], other.most[known])
        if not new.any():
            return KeyedSums(self.keys, sums, least, most)
        before = np.searchsorted(self.keys, other.keys[new])
        return KeyedSums(
            np.insert(self.keys, before, other.keys[new]),
            np.insert(sums, before, other.sums[new], axis=0),
            np.insert(least, before, other.least[new]),
            np.insert(most, before, other.most[new]),
        )

    def rekeyed(self, keys: IntArray) -> "KeyedSums":
        """Return the sums by other *keys*, one for each of these; equal ones are added up."""
        return KeyedSums.from_rows(keys, self.sums, self.least, self.most)

    def between(self, first: int, stop: int) -> "KeyedSums":
        """Return the sums of the keys from *first* to *stop*, without it."""
        rows = slice(*np.searchsorted(self.keys, [first, stop]).tolist())
        return KeyedSums(self.keys[rows], self.sums[rows], self.least[rows], self.most[rows])
