"""Sums of a metric by slice, which are merged from ranges of devices without loss.

All sums are whole numbers, so a figure does not depend on how the fleet was cut into ranges. A float is
counted in units of 2^-52, see `emulator.metrics.exact_sums`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.histogram import PERCENTILES, find_percentile
from emulator.metrics.intervals import Intervals
from emulator.metrics.row_index import IntArray
from emulator.metrics.slices import WHOLE

Number = int | float | None
Stats = Mapping[str, Number]
"""Statistics of a metric by name; None if there are no rows to compute them from."""


class MetricSums(Protocol):
    """The sums of a metric, by slice."""

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the statistics of a slice."""

    def merged(self, other: Any) -> Any:  # Any: sums of the same class
        """Return the sums over the rows of both; those of *other* come later in the order of devices."""


@dataclass(frozen=True, eq=False)
class ScaledSums:
    """A sum by slice, in a smaller unit."""

    sums: Sequence[int]
    per_unit: int
    """Number of smaller units in one unit."""

    def total(self, number: int) -> float:
        """Return the sum of a slice, correctly rounded."""
        return self.sums[number] / self.per_unit

    def merged(self, other: "ScaledSums") -> "ScaledSums":
        """Return the sums of both."""
        return replace(self, sums=_added(self.sums, other.sums))


@dataclass(frozen=True, eq=False)
class CounterSums:
    """Totals of a counter."""

    totals: Sequence[int]

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the total."""
        return {"total": self.totals[number]}

    def merged(self, other: Self) -> Self:
        """Return the totals of both."""
        return replace(self, totals=_added(self.totals, other.totals))


@dataclass(frozen=True, eq=False)
class LevelSums:
    """A value of states, weighted by how long each lasted."""

    weighted: ScaledSums
    held: ScaledSums
    """Durations."""
    least: float | None
    """The least value of all slices."""
    most: float | None

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the mean over time, and of the whole the least and the greatest value."""
        mean = _divide(self.weighted.total(number), self.held.total(number))
        return {"mean": mean, "min": self.least, "max": self.most} if number == WHOLE else {"mean": mean}

    def merged(self, other: Self) -> Self:
        """Return the sums of both."""
        return type(self)(
            self.weighted.merged(other.weighted),
            self.held.merged(other.held),
            min((each for each in (self.least, other.least) if each is not None), default=None),
            max((each for each in (self.most, other.most) if each is not None), default=None),
        )


@dataclass(frozen=True, eq=False)
class RatioParts:
    """One sum over another."""

    above: ScaledSums
    below: ScaledSums

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the ratio."""
        return {"value": _divide(self.above.total(number), self.below.total(number))}

    def merged(self, other: Self) -> Self:
        """Return the sums of both."""
        return type(self)(self.above.merged(other.above), self.below.merged(other.below))


@dataclass(frozen=True, eq=False)
class TimeSums:
    """Device time in which a condition holds."""

    held: ScaledSums
    all: ScaledSums
    """All device time; that of the whole run in the slices of the metric's own dimensions."""

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the time, and its share of all device time."""
        held, total = self.held.total(number), self.all.total(number)
        return {"total": held if total else None, "share": _divide(held, total)}

    def merged(self, other: Self) -> Self:
        """Return the times of both."""
        return type(self)(self.held.merged(other.held), self.all.merged(other.all))


@dataclass(frozen=True, eq=False)
class LargestValue:
    """The largest value of rows; no less than 0."""

    most: Sequence[int | None]

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the value."""
        return {"value": self.most[number]}

    def merged(self, other: Self) -> Self:
        """Return the larger values."""
        pairs = zip(self.most, other.most, strict=True)
        return type(self)([max((each for each in pair if each is not None), default=None) for pair in pairs])


@dataclass(frozen=True, eq=False)
class JointTime:
    """The time in which a condition holds for every device that has a state."""

    started: Sequence[Intervals]
    """Times at which any device has a state, by slice."""
    excepted: Sequence[Intervals]
    """Times at which the condition does not hold for some device."""

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the time in seconds."""
        return {"value": self.started[number].seconds_without(self.excepted[number])}

    def merged(self, other: Self) -> Self:
        """Return the times of both."""
        return type(self)(
            [one.union(two) for one, two in zip(self.started, other.started, strict=True)],
            [one.union(two) for one, two in zip(self.excepted, other.excepted, strict=True)],
        )


BUCKET_BITS = 17
"""Bits of a bucket's number, in a key that has the slice above it."""
Chunk = tuple[NDArray[np.uint64], IntArray]
"""Keys of slice and bucket, rising, and the count of each."""


@dataclass(frozen=True, eq=False)
class TrendSums:
    """Values of events: count, sum, least and greatest value, and a histogram, by slice."""

    scale: int
    """Number of smallest units in one unit of the metric."""
    count: Sequence[int]
    sum: Sequence[int]
    least: IntArray
    """The largest number if there are no values."""
    most: IntArray
    """-1 if there are no values."""
    chunks: Sequence[Chunk]
    """Parts of the histogram, the largest first."""

    @cached_property
    def histogram(self) -> Chunk:
        """The count of each slice and bucket."""
        return merge_chunks(self.chunks)

    def stats(self, number: int = WHOLE) -> Stats:
        """Return count, mean and percentiles."""
        count = self.count[number]
        if not count:
            return dict.fromkeys(("n", "mean", "min", *PERCENTILES, "max")) | {"n": 0}
        ranks = {name: self.percentile(float(name.removeprefix("p")), number) for name in PERCENTILES}
        return {
            "n": count,
            "mean": self.sum[number] / (count * self.scale),
            "min": int(self.least[number]) / self.scale,
            **ranks,
            "max": int(self.most[number]) / self.scale,
        }

    def total(self, number: int = WHOLE) -> float:
        """Return the sum of all values of a slice."""
        return self.sum[number] / self.scale

    def percentile(self, percent: float, number: int = WHOLE) -> float | None:
        """Return a percentile of a slice, see `emulator.metrics.histogram`; None without values."""
        if not self.count[number]:
            return None
        keys, counts = self.histogram
        low, high = (np.uint64(slice_ << BUCKET_BITS) for slice_ in (number, number + 1))
        first, last = np.searchsorted(keys, np.array([low, high]))
        buckets = (keys[first:last] - low).astype(np.int64)
        ends = int(self.least[number]), int(self.most[number])
        return find_percentile(buckets, np.cumsum(counts[first:last]), ends, percent) / self.scale

    def merged(self, other: Self) -> Self:
        """Return the values of both.

        Chunks are merged only when they have become many, so that each key is copied a few times altogether.
        """
        chunks = [*self.chunks, *other.chunks]
        while len(chunks) > 1 and len(chunks[-2][0]) <= 2 * len(chunks[-1][0]):
            chunks[-2:] = [merge_chunks(chunks[-2:])]
        return type(self)(
            self.scale,
            _added(self.count, other.count),
            _added(self.sum, other.sum),
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
            chunks,
        )


def merge_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Return all keys once, rising, with their counts."""
    if len(chunks) == 1:
        return chunks[0]
    keys = np.concatenate([keys for keys, _ in chunks])
    counts = np.concatenate([counts for _, counts in chunks])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    return keys[first], np.add.reduceat(counts, first) if len(first) else counts


def _added(first: Sequence[int], second: Sequence[int]) -> Sequence[int]:
    return [one + two for one, two in zip(first, second, strict=True)]


def _divide(above: float, below: float) -> float | None:
    return above / below if below else None
