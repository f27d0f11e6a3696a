"""Metrics of a range of devices as rows with values, and their sums by slice."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.exact_sums import add_shifted, exact_sum, fraction_bits, limbs
from emulator.metrics.frame import Frame, RowSet
from emulator.metrics.histogram import bucket_numbers
from emulator.metrics.intervals import Intervals, intervals_by_code
from emulator.metrics.row_index import BoolArray, FloatArray, IntArray
from emulator.metrics.slices import WHOLE, SliceLayout
from emulator.metrics.sums import (
    BUCKET_BITS,
    Chunk,
    CounterSums,
    JointTime,
    LargestValue,
    LevelSums,
    MetricSums,
    RatioParts,
    ScaledSums,
    TimeSums,
    TrendSums,
)

Codes = Mapping[str, int]
"""A code for each of some dimensions: the index of a value; -1: no row has the value."""
Values = NDArray[Any]  # Any: whole numbers of any width, truth values or floats

_LARGEST = np.iinfo(np.int64).max


class Aggregate(Protocol):
    """A metric of a range of devices as rows with values."""

    def sums(self, frame: Frame, layout: SliceLayout) -> MetricSums:
        """Return the sums of each slice."""

    def select(self, frame: Frame, codes: Codes) -> "Aggregate":
        """Return the metric over the rows that have *codes*."""


def select_rows(frame: Frame, rows: RowSet, codes: Codes) -> BoolArray:
    """Return a mask of the *rows* that have *codes*."""
    mask = np.full(len(rows.device), all(code >= 0 for code in codes.values()))
    for dimension, code in codes.items():
        if code >= 0:
            mask &= frame.codes(rows, dimension) == code
    return mask


def sum_slices(frame: Frame, rows: RowSet, layout: SliceLayout, values: Values) -> list[int]:
    """Return the exact sum of the *values* of each slice, see `exact_sum`."""
    sums = [0] * layout.count
    if layout.count == 1:
        return [exact_sum(values)]
    cells = frame.cells(rows) if layout.general else None
    own = own_bins(frame, rows, layout)
    for shift, limb in limbs(values):
        found = np.zeros(layout.count)
        found[WHOLE] = limb.sum()
        if cells is not None:
            of_cells = np.bincount(cells.of_row, limb, cells.count)
            for column in layout.general:
                by_value = np.bincount(cells.bins[column.dimension], of_cells, column.size + 1)
                found[column.first : column.first + column.size] = by_value[1:]
        for first, size, bins in own:
            found[first : first + size] = np.bincount(bins, limb, size + 1)[1:]
        add_shifted(sums, found, shift)
    return sums


def own_bins(frame: Frame, rows: RowSet, layout: SliceLayout) -> list[tuple[int, int, IntArray]]:
    """Return the first slice and the number of slices of each own column, and each row's code plus 1."""
    columns = []
    for column in layout.own:
        codes = frame.codes(rows, column.dimension).astype(np.int64)
        if column.other:
            codes = codes * column.width + frame.codes(rows, column.other)
        columns.append((column.first, column.size, codes + 1))
    return columns


def count_slices(frame: Frame, rows: RowSet, layout: SliceLayout) -> list[int]:
    """Return the number of rows in each slice."""
    key = rows, layout
    if key not in frame.counts:
        frame.counts[key] = sum_slices(frame, rows, layout, np.ones(len(rows.device), dtype=np.bool_))
    return frame.counts[key]


@dataclass(frozen=True, eq=False)
class Counter:
    """A sum over events."""

    rows: RowSet
    values: Values

    def sums(self, frame: Frame, layout: SliceLayout) -> CounterSums:
        """Return the total of each slice."""
        return CounterSums(sum_slices(frame, self.rows, layout, self.values))

    def select(self, frame: Frame, codes: Codes) -> "Counter":
        """Return the sum over the rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Counter(self.rows.select(mask), self.values[mask])


@dataclass(frozen=True, eq=False)
class Trend:
    """One value per event."""

    rows: RowSet
    values: IntArray
    """Whole numbers in the smallest unit: nanoseconds, bytes, or parts of a share."""
    scale: int
    """Number of smallest units in one unit of the metric."""

    def sums(self, frame: Frame, layout: SliceLayout) -> TrendSums:
        """Return count, sum, extremes and histogram of each slice."""
        count = count_slices(frame, self.rows, layout)
        total = sum_slices(frame, self.rows, layout, self.values)
        least, most = self._extremes(frame, layout)
        return TrendSums(self.scale, count, total, least, most, [self._histogram(frame, layout)])

    def select(self, frame: Frame, codes: Codes) -> "Trend":
        """Return the values of those rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Trend(self.rows.select(mask), self.values[mask], self.scale)

    def _extremes(self, frame: Frame, layout: SliceLayout) -> tuple[IntArray, IntArray]:
        least, most = np.full(layout.count, _LARGEST), np.full(layout.count, -1, dtype=np.int64)
        least[WHOLE], most[WHOLE] = self.values.min(initial=_LARGEST), self.values.max(initial=-1)
        if layout.general:
            cells = frame.cells(self.rows)
            low, high = extremes(self.values, self.values, cells.of_row, cells.count)
            for column in layout.general:
                ends = extremes(low, high, cells.bins[column.dimension], column.size + 1)
                inside = slice(column.first, column.first + column.size)
                least[inside], most[inside] = (each[1:] for each in ends)
        for first, size, bins in own_bins(frame, self.rows, layout):
            ends = extremes(self.values, self.values, bins, size + 1)
            least[first : first + size], most[first : first + size] = (each[1:] for each in ends)
        return least, most

    def _histogram(self, frame: Frame, layout: SliceLayout) -> Chunk:
        """Return the keys of slice and bucket, and their counts."""
        buckets = bucket_numbers(self.values).astype(np.uint32)
        parts = [buckets]
        for column in layout.general:
            bins = frame.cells(self.rows).bins[column.dimension][frame.cells(self.rows).of_row]
            parts.append(_keys(buckets, bins, column.first))
        for first, _, bins in own_bins(frame, self.rows, layout):
            parts.append(_keys(buckets, bins, first))
        keys = np.sort(np.concatenate(parts))
        first_rows = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        counts = np.diff(np.append(first_rows, len(keys)))
        return keys[first_rows].astype(np.uint64), counts.astype(np.int64)


def _keys(buckets: NDArray[np.uint32], bins: IntArray, first: int) -> NDArray[np.uint32]:
    """Return the keys of the rows that have a value: 2^15 slices of 2^17 buckets fit a key."""
    number = (bins + (first - 1)).astype(np.uint32) << np.uint32(BUCKET_BITS)
    keys = number | buckets
    return keys if bins.all() else keys[bins > 0]


def extremes(low: IntArray, high: IntArray, group: IntArray, groups: int) -> tuple[IntArray, IntArray]:
    """Return the least of *low* and the greatest of *high*, all >= 0, of each group; -1 without any."""
    least, most = np.full(groups, _LARGEST), np.full(groups, -1, dtype=np.int64)
    np.minimum.at(least, group, low)
    np.maximum.at(most, group, high)
    return least, most


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """A sum over rows: one side of a ratio."""

    rows: RowSet
    values: Values
    per_unit: int = 1
    """Number of units of the values in one unit of the sum."""
    known: dict[SliceLayout, list[int]] = field(default_factory=dict)
    """Sums that were computed already: several ratios have a side in common."""

    def sums(self, frame: Frame, layout: SliceLayout) -> ScaledSums:
        """Return the sum of each slice."""
        if layout not in self.known:
            self.known[layout] = sum_slices(frame, self.rows, layout, self.values)
        return ScaledSums(self.known[layout], self.per_unit << fraction_bits(self.values))

    def select(self, frame: Frame, codes: Codes) -> "WeightedSum":
        """Return the sum over the rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return WeightedSum(self.rows.select(mask), self.values[mask], self.per_unit)


@dataclass(frozen=True, eq=False)
class Level:
    """A value of states, each of which lasts for a time."""

    rows: RowSet
    values: FloatArray
    time: WeightedSum
    """Duration of each state."""

    @property
    def weighted(self) -> WeightedSum:
        """The values, each times its duration in seconds."""
        return WeightedSum(self.rows, self.values * (self.time.values / self.time.per_unit))

    def sums(self, frame: Frame, layout: SliceLayout) -> LevelSums:
        """Return the sums of each slice, and the least and the greatest value."""
        ends = (float(self.values.min()), float(self.values.max())) if len(self.values) else (None, None)
        return LevelSums(self.weighted.sums(frame, layout), self.time.sums(frame, layout), *ends)

    def select(self, frame: Frame, codes: Codes) -> "Level":
        """Return the level of the states that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Level(self.rows.select(mask), self.values[mask], self.time.select(frame, codes))


@dataclass(frozen=True, eq=False)
class Ratio:
    """One sum divided by another."""

    above: WeightedSum
    below: WeightedSum

    def sums(self, frame: Frame, layout: SliceLayout) -> RatioParts:
        """Return both sums of each slice."""
        return RatioParts(self.above.sums(frame, layout), self.below.sums(frame, layout))

    def select(self, frame: Frame, codes: Codes) -> "Ratio":
        """Return the ratio over the rows that have *codes*."""
        return Ratio(self.above.select(frame, codes), self.below.select(frame, codes))


@dataclass(frozen=True, eq=False)
class Time:
    """Device time in which a condition holds."""

    held: WeightedSum
    all: WeightedSum
    """All device time."""

    def sums(self, frame: Frame, layout: SliceLayout) -> TimeSums:
        """Return the times of each slice; by its own dimensions the share is of all device time."""
        total = self.all.sums(frame, layout.common or layout)
        sums = [*total.sums, *[total.sums[WHOLE]] * (layout.count - len(total.sums))]
        return TimeSums(self.held.sums(frame, layout), replace(total, sums=sums))

    def select(self, frame: Frame, codes: Codes) -> "Time":
        """Return the time of the rows that have *codes*; its own dimensions do not narrow all device time."""
        own = self.held.rows.own
        general = {dimension: code for dimension, code in codes.items() if dimension not in own}
        return Time(self.held.select(frame, codes), self.all.select(frame, general))


@dataclass(frozen=True, eq=False)
class Largest:
    """The largest value of any row; at least 0."""

    rows: RowSet
    values: IntArray

    def sums(self, frame: Frame, layout: SliceLayout) -> LargestValue:
        """Return the largest value of each slice."""
        values = np.maximum(self.values, 0)
        most = np.full(layout.count, -1, dtype=np.int64)
        most[WHOLE] = values.max(initial=-1)
        if layout.general:
            cells = frame.cells(self.rows)
            _, high = extremes(values, values, cells.of_row, cells.count)
            for column in layout.general:
                _, by_value = extremes(high, high, cells.bins[column.dimension], column.size + 1)
                most[column.first : column.first + column.size] = by_value[1:]
        return LargestValue([None if value < 0 else value for value in most.tolist()])

    def select(self, frame: Frame, codes: Codes) -> "Largest":
        """Return the largest of the rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Largest(self.rows.select(mask), self.values[mask])


@dataclass(frozen=True, eq=False)
class AllAtOnce:
    """The time in which a condition holds for every device that has a state."""

    rows: RowSet
    """Pieces of states, each from its time on."""
    lasting_ns: IntArray
    holds: BoolArray

    def sums(self, frame: Frame, layout: SliceLayout) -> JointTime:
        """Return the times of each slice."""
        order = np.argsort(self.rows.t_ns, kind="stable")
        excepted = order[~self.holds[order]]
        started = self._intervals(frame, layout, order)
        # In most ranges there is no device for which the condition holds.
        same = len(excepted) == len(order)
        return JointTime(started, started if same else self._intervals(frame, layout, excepted))

    def select(self, frame: Frame, codes: Codes) -> "AllAtOnce":
        """Return the time of the states that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return AllAtOnce(self.rows.select(mask), self.lasting_ns[mask], self.holds[mask])

    def _intervals(self, frame: Frame, layout: SliceLayout, order: IntArray) -> list[Intervals]:
        start = self.rows.t_ns[order]
        end = start + self.lasting_ns[order]
        found = [Intervals.from_sorted(start, end)]
        for column in layout.general:
            codes = frame.codes(self.rows, column.dimension)[order]
            found += intervals_by_code(start, end, codes, column.size)
        return found
