"""The forms that metrics take: rows with values, and how they are summed up, as a whole and by dimension."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.frame import BoolArray, FloatArray, Frame, IntArray, RowSet
from emulator.metrics.histogram import PERCENTILES, exact_sum, exact_sums

Number = int | float | None
Stats = Mapping[str, Number]
"""What is said of a metric: statistics by name; None where there is nothing to say it of."""
Codes = Mapping[str, int]
"""A value for each of some dimensions, by its place among the dimension's words; -1: none has it."""


class Aggregate(Protocol):
    """A metric of a run, before it is summed up."""

    @property
    def stats(self) -> Stats:
        """What is said of all rows."""

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the same for the rows of each value of *dimension*, in the order of its words."""

    def where(self, frame: Frame, codes: Codes) -> "Aggregate":
        """Return the metric of those rows that have *codes*."""


def select_rows(frame: Frame, rows: RowSet, codes: Codes) -> BoolArray:
    """Return which of *rows* have *codes*."""
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
    """What `split` has found for all dimensions at once."""

    @property
    def stats(self) -> Stats:
        """The total."""
        return {"total": exact_sum(self.values)}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the total of each value."""
        groups = len(frame.words(dimension))
        if dimension in self.rows.own:
            sums = exact_sums(self.values, frame.places(self.rows, dimension), groups)
            return [{"total": total} for total in sums]
        cells = frame.cells(self.rows)
        if "cells" not in self.sums:
            self.sums["cells"] = exact_sums(self.values, cells.place + 1, len(cells.codes["pressure"]))
        return [{"total": total} for total in cells.by(self.sums["cells"], dimension, groups)]

    def where(self, frame: Frame, codes: Codes) -> "Counter":
        """Return the sum over those rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Counter(self.rows.where(mask), self.values[mask])


@dataclass(frozen=True, eq=False)
class Trend:
    """One value per event."""

    rows: RowSet
    values: IntArray | FloatArray
    """In the smallest unit where they are whole: nanoseconds, bytes."""
    scale: int
    """So many of them are one of the metric's unit."""

    @property
    def stats(self) -> Stats:
        """Count, mean and percentiles."""
        return trend_statistics(self._rising, self.sum, self.scale)

    @property
    def sum(self) -> float:
        """All values together."""
        return exact_total(self.values)

    def percentile(self, percent: float) -> float | None:
        """Return the least value that at least *percent* of all do not exceed; None if there are none."""
        return nearest_rank(self._rising, percent, self.scale)

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return count, mean and percentiles of each value."""
        places, groups = frame.places(self.rows, dimension), len(frame.words(dimension))
        # Sorted by value once; then only put together by place, which is fast where places are few.
        small = places[self._order].astype(np.uint16 if groups < 2**16 else np.int64)
        order = np.argsort(small, kind="stable")
        rising = self.values[self._order][order]
        ends = np.searchsorted(small[order], np.arange(groups + 1), side="right").tolist()
        parts = [rising[start:end] for start, end in itertools.pairwise(ends)]
        return [trend_statistics(part, exact_total(part), self.scale) for part in parts]

    def where(self, frame: Frame, codes: Codes) -> "Trend":
        """Return the values of those rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Trend(self.rows.where(mask), self.values[mask], self.scale)

    @cached_property
    def _order(self) -> IntArray:
        return np.argsort(self.values, kind="stable")

    @property
    def _rising(self) -> IntArray | FloatArray:
        return self.values[self._order]


def trend_statistics(rising: IntArray | FloatArray, total: float, scale: int) -> Stats:
    """Return what is said of a trend, from its values in rising order and their sum."""
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
    """Return the sum of *values* >= 0: exact, or of shares as near as a float can be."""
    if np.issubdtype(values.dtype, np.floating):
        return math.fsum(values.tolist())
    return exact_sum(values.astype(np.int64))


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """What is added up, of which rows: one side of a ratio."""

    rows: RowSet
    values: FloatArray
    sums: dict[str, list[float]] = field(default_factory=dict)
    """What `by` has found for all dimensions at once: several ratios have the same part."""

    def total(self) -> float:
        """Return the sum."""
        return float(self.values.sum())

    def by(self, frame: Frame, dimension: str) -> list[float]:
        """Return the sum of each value of *dimension*."""
        groups = len(frame.words(dimension))
        if dimension in self.rows.own:
            places = frame.places(self.rows, dimension)
            own: list[float] = np.bincount(places, self.values, groups + 1).tolist()[1:]
            return own
        cells = frame.cells(self.rows)
        if "cells" not in self.sums:
            count = len(cells.codes["pressure"])
            self.sums["cells"] = np.bincount(cells.place, self.values, count).tolist()
        return cells.by(self.sums["cells"], dimension, groups)

    def where(self, frame: Frame, codes: Codes) -> "WeightedSum":
        """Return the part of those rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return WeightedSum(self.rows.where(mask), self.values[mask])


@dataclass(frozen=True, eq=False)
class Level:
    """A state that holds for a time."""

    rows: RowSet
    values: FloatArray
    time: WeightedSum
    """How long each held, in seconds."""

    @property
    def stats(self) -> Stats:
        """The mean over time, the least and the most."""
        held = self.time.total()
        if not held:
            return {"mean": None, "min": None, "max": None}
        mean = self._weighed.total() / held
        return {"mean": mean, "min": float(self.values.min()), "max": float(self.values.max())}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the mean over time of each value."""
        pairs = zip(self._weighed.by(frame, dimension), self.time.by(frame, dimension), strict=True)
        return [{"mean": _divided(*pair, 1.0)} for pair in pairs]

    def where(self, frame: Frame, codes: Codes) -> "Level":
        """Return the states that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return Level(self.rows.where(mask), self.values[mask], self.time.where(frame, codes))

    @cached_property
    def _weighed(self) -> WeightedSum:
        return WeightedSum(self.rows, self.values * self.time.values)


@dataclass(frozen=True, eq=False)
class Ratio:
    """One sum over another."""

    above: WeightedSum
    below: WeightedSum
    factor: float = 1.0

    @property
    def stats(self) -> Stats:
        """The ratio."""
        return {"value": _divided(self.above.total(), self.below.total(), self.factor)}

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return the ratio of each value."""
        pairs = zip(self.above.by(frame, dimension), self.below.by(frame, dimension), strict=True)
        return [{"value": _divided(above, below, self.factor)} for above, below in pairs]

    def where(self, frame: Frame, codes: Codes) -> "Ratio":
        """Return the ratio of those rows that have *codes*."""
        return replace(self, above=self.above.where(frame, codes), below=self.below.where(frame, codes))


@dataclass(frozen=True, eq=False)
class Time:
    """Device time in which something holds."""

    held: WeightedSum
    all: WeightedSum
    """All device time."""

    @property
    def stats(self) -> Stats:
        """The time, and its share."""
        return self._stats(self.held.total(), self.all.total())

    def split(self, frame: Frame, dimension: str) -> Sequence[Stats]:
        """Return time and share of each value; by a dimension of its own the share is of all device time."""
        held = self.held.by(frame, dimension)
        own = dimension in self.held.rows.own
        whole = [self.all.total()] * len(held) if own else self.all.by(frame, dimension)
        return [self._stats(*pair) for pair in zip(held, whole, strict=True)]

    def where(self, frame: Frame, codes: Codes) -> "Time":
        """Return the time of those rows that have *codes*; its own dimensions do not narrow what it is of."""
        own = self.held.rows.own
        general = {dimension: code for dimension, code in codes.items() if dimension not in own}
        return Time(self.held.where(frame, codes), self.all.where(frame, general))

    @staticmethod
    def _stats(held: float, whole: float) -> Stats:
        return {"total": held if whole else None, "share": _divided(held, whole, 1.0)}


@dataclass(frozen=True, eq=False)
class Gauge:
    """One number that is no sum."""

    rows: RowSet
    columns: Mapping[str, NDArray[Any]]
    """Of the rows, what it is computed from."""
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
            for columns in self._parts(codes == at for at in range(len(frame.words(dimension))))
        ]

    def where(self, frame: Frame, codes: Codes) -> "Gauge":
        """Return the number for those rows that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        (columns,) = self._parts(iter([mask]))
        return Gauge(self.rows.where(mask), columns, self.compute)

    def _parts(self, masks: Iterator[BoolArray]) -> Iterator[Mapping[str, NDArray[Any]]]:
        for mask in masks:
            yield {name: values[mask] for name, values in self.columns.items()}


def _divided(above: float, below: float, factor: float) -> float | None:
    return above / below * factor if below else None
