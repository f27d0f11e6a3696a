"""Aggregates: rows with values, and their statistics over the whole run and by dimension."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.frame import Frame, RowSet
from emulator.metrics.histogram import PERCENTILES, exact_sum, exact_sums
from emulator.metrics.row_index import BoolArray, FloatArray, IntArray

Number = int | float | None
Stats = Mapping[str, Number]
"""Statistics of a metric by name; None if there are no rows to compute them from."""
Codes = Mapping[str, int]
"""A code for each of some dimensions: the index of a value; -1: no row has the value."""


class Aggregate(Protocol):
    """A metric of a run as rows with values, from which statistics are computed."""

    @property
    def stats(self) -> Stats:
        """The statistics over all rows."""

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the statistics for each value of *dimension*, in the order of `Frame.values`."""

    def select(self, frame: Frame, codes: Codes) -> "Aggregate":
        """Return the metric over the rows that have *codes*."""


def select_rows(frame: Frame, rows: RowSet, codes: Codes) -> BoolArray:
    """Return a mask of the *rows* that have *codes*."""
    mask = np.full(len(rows.device), all(code >= 0 for code in codes.values()))
    for dimension, code in codes.items():
        if code >= 0:
            mask &= frame.codes(rows, dimension) == code
    return mask


@dataclass(frozen=True, eq=False)
class Counter:
    """A sum over events."""

    rows: RowSet
    values: IntArray
    sums: dict[str, list[int]] = field(default_factory=dict)
    """Sums of all cells, kept for the next dimension."""

    @property
    def stats(self) -> Stats:
        """The total."""
        return {"total": exact_sum(self.values)}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the total of each value."""
        groups = len(frame.values(dimension))
        if dimension in self.rows.own:
            sums = exact_sums(self.values, frame.bins(self.rows, dimension), groups)
            return [{"total": total} for total in sums]
        cells = frame.cells(self.rows)
        if "cells" not in self.sums:
            self.sums["cells"] = exact_sums(self.values, cells.of_row + 1, len(cells.codes["pressure"]))
        return [{"total": total} for total in cells.sum_by(self.sums["cells"], dimension, groups)]

    def select(self, frame: Frame, codes: Codes) -> "Counter":
        """Return the sum over the rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Counter(self.rows.select(mask), self.values[mask])


@dataclass(frozen=True, eq=False)
class Trend:
    """One value per event."""

    rows: RowSet
    values: IntArray | FloatArray
    """Whole numbers in the smallest unit (nanoseconds, bytes), or shares."""
    scale: int
    """Number of smallest units in one unit of the metric."""

    @property
    def stats(self) -> Stats:
        """Count, mean and percentiles."""
        return trend_statistics(self._rising, self.sum, self.scale)

    @property
    def sum(self) -> float:
        """The sum of all values."""
        return exact_total(self.values)

    def percentile(self, percent: float) -> float | None:
        """Return the least value that at least *percent* of all values do not exceed; None without values."""
        return nearest_rank(self._rising, percent, self.scale)

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return count, mean and percentiles of each value."""
        bins, groups = frame.bins(self.rows, dimension), len(frame.values(dimension))
        # Sorted by value once; then only grouped by bin, which is fast for few bins.
        small = bins[self._order].astype(np.uint16 if groups < 2**16 else np.int64)
        order = np.argsort(small, kind="stable")
        rising = self.values[self._order][order]
        ends = np.searchsorted(small[order], np.arange(groups + 1), side="right").tolist()
        parts = [rising[start:end] for start, end in itertools.pairwise(ends)]
        return [trend_statistics(part, exact_total(part), self.scale) for part in parts]

    def select(self, frame: Frame, codes: Codes) -> "Trend":
        """Return the values of those rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Trend(self.rows.select(mask), self.values[mask], self.scale)

    @cached_property
    def _order(self) -> IntArray:
        return np.argsort(self.values, kind="stable")

    @property
    def _rising(self) -> IntArray | FloatArray:
        return self.values[self._order]


def trend_statistics(rising: IntArray | FloatArray, total: float, scale: int) -> Stats:
    """Return the statistics of a trend from its values in rising order and their sum."""
    count = len(rising)
    return {
        "n": count,
        "mean": total / count / scale if count else None,
        "min": float(rising[0]) / scale if count else None,
        **{name: nearest_rank(rising, float(name.removeprefix("p")), scale) for name in PERCENTILES},
        "max": float(rising[-1]) / scale if count else None,
    }


def nearest_rank(rising: IntArray | FloatArray, percent: float, scale: int) -> float | None:
    """Return the nearest rank: the least of *rising* that at least *percent* of them do not exceed."""
    if not len(rising):
        return None
    rank = max(-(-Fraction(repr(percent)) * len(rising) // 100), 1)
    return float(rising[int(rank) - 1]) / scale


def exact_total(values: IntArray | FloatArray) -> float:
    """Return the sum of *values* >= 0: exact for whole numbers, correctly rounded for floats."""
    if np.issubdtype(values.dtype, np.floating):
        return math.fsum(values.tolist())
    return exact_sum(values.astype(np.int64))


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """A sum over rows: one side of a ratio."""

    rows: RowSet
    values: FloatArray
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Sums of all cells, kept for the next dimension, or for another ratio with the same sum."""

    def total(self) -> float:
        """Return the sum."""
        return float(self.values.sum())

    def sum_by(self, frame: Frame, dimension: str) -> list[float]:
        """Return the sum of each value of *dimension*."""
        groups = len(frame.values(dimension))
        if dimension in self.rows.own:
            bins = frame.bins(self.rows, dimension)
            own: list[float] = np.bincount(bins, self.values, groups + 1).tolist()[1:]
            return own
        cells = frame.cells(self.rows)
        if "cells" not in self.sums:
            count = len(cells.codes["pressure"])
            self.sums["cells"] = np.bincount(cells.of_row, self.values, count).tolist()
        return cells.sum_by(self.sums["cells"], dimension, groups)

    def select(self, frame: Frame, codes: Codes) -> "WeightedSum":
        """Return the sum over the rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return WeightedSum(self.rows.select(mask), self.values[mask])


@dataclass(frozen=True, eq=False)
class Level:
    """A value of states, each of which lasts for a time."""

    rows: RowSet
    values: FloatArray
    time: WeightedSum
    """Duration of each state, in seconds."""

    @property
    def stats(self) -> Stats:
        """The mean over time, the least and the greatest value."""
        held = self.time.total()
        if not held:
            return {"mean": None, "min": None, "max": None}
        mean = self._weighted.total() / held
        return {"mean": mean, "min": float(self.values.min()), "max": float(self.values.max())}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the mean over time of each value."""
        pairs = zip(self._weighted.sum_by(frame, dimension), self.time.sum_by(frame, dimension), strict=True)
        return [{"mean": _divide(*pair, 1.0)} for pair in pairs]

    def select(self, frame: Frame, codes: Codes) -> "Level":
        """Return the level of the states that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Level(self.rows.select(mask), self.values[mask], self.time.select(frame, codes))

    @cached_property
    def _weighted(self) -> WeightedSum:
        return WeightedSum(self.rows, self.values * self.time.values)


@dataclass(frozen=True, eq=False)
class Ratio:
    """One sum divided by another."""

    above: WeightedSum
    below: WeightedSum
    factor: float = 1.0

    @property
    def stats(self) -> Stats:
        """The ratio."""
        return {"value": _divide(self.above.total(), self.below.total(), self.factor)}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the ratio of each value."""
        pairs = zip(self.above.sum_by(frame, dimension), self.below.sum_by(frame, dimension), strict=True)
        return [{"value": _divide(above, below, self.factor)} for above, below in pairs]

    def select(self, frame: Frame, codes: Codes) -> "Ratio":
        """Return the ratio over the rows that have *codes*."""
        return replace(self, above=self.above.select(frame, codes), below=self.below.select(frame, codes))


@dataclass(frozen=True, eq=False)
class Time:
    """Device time in which a condition holds."""

    held: WeightedSum
    all: WeightedSum
    """All device time."""

    @property
    def stats(self) -> Stats:
        """The time, and its share of all device time."""
        return self._stats(self.held.total(), self.all.total())

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return time and share of each value; by its own dimensions the share is of all device time."""
        held = self.held.sum_by(frame, dimension)
        own = dimension in self.held.rows.own
        total = [self.all.total()] * len(held) if own else self.all.sum_by(frame, dimension)
        return [self._stats(*pair) for pair in zip(held, total, strict=True)]

    def select(self, frame: Frame, codes: Codes) -> "Time":
        """Return the time of the rows that have *codes*; its own dimensions do not narrow all device time."""
        own = self.held.rows.own
        general = {dimension: code for dimension, code in codes.items() if dimension not in own}
        return Time(self.held.select(frame, codes), self.all.select(frame, general))

    @staticmethod
    def _stats(held: float, total: float) -> Stats:
        return {"total": held if total else None, "share": _divide(held, total, 1.0)}


@dataclass(frozen=True, eq=False)
class Gauge:
    """One number that is not a sum over rows."""

    rows: RowSet
    columns: Mapping[str, NDArray[Any]]
    """Columns of the rows from which it is computed."""
    compute: Callable[[Mapping[str, NDArray[Any]]], Number]

    @property
    def stats(self) -> Stats:
        """The number."""
        return {"value": self.compute(self.columns)}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the number of each value."""
        codes = frame.codes(self.rows, dimension)
        return [
            {"value": self.compute(columns)}
            for columns in self._parts(codes == code for code in range(len(frame.values(dimension))))
        ]

    def select(self, frame: Frame, codes: Codes) -> "Gauge":
        """Return the number for the rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        (columns,) = self._parts(iter([mask]))
        return Gauge(self.rows.select(mask), columns, self.compute)

    def _parts(self, masks: Iterator[BoolArray]) -> Iterator[Mapping[str, NDArray[Any]]]:
        for mask in masks:
            yield {name: values[mask] for name, values in self.columns.items()}


def _divide(above: float, below: float, factor: float) -> float | None:
    return above / below * factor if below else None
