"""Budgets, bytes held and quality over time, as sums that merge: counts on fixed scales at fixed times."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from emulator.metrics.row_index import Columns
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.report.keyed_sums import BUCKETS, FloatArray, IntArray, KeyedSums, byte_bucket

GRID_STEPS = 300
QUALITIES = ("ndcg_at_10", "best_ndcg_at_10", "full_ndcg_at_10")
SIZES = ("budget_bytes", "resident_bytes")
_PERCENTS = (10, 50, 90)
_SETTLED_SHARE = 0.9
"""Part of the usual share of full quality at which the first updates are over."""
_QUALITY_UNIT = float(1 << 36)
_SIZE_BITS = 49
"""A size and its cell make one number of 63 bits: larger ones count as 512 TiB."""


@dataclass(frozen=True)
class PercentileBand:
    """Percentiles (10, 50, 90) over devices, at each time of a grid."""

    low: FloatArray
    median: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class FleetSeries:
    """Budgets, bytes held and quality of a set of devices over time; NaN before its first device starts."""

    budget: PercentileBand
    resident: PercentileBand
    total_budget: FloatArray
    total_resident: FloatArray
    ndcg: FloatArray
    best: FloatArray
    full: FloatArray

    @property
    def settled_at(self) -> int | None:
        """The first time of the grid after the fleet's first updates; None if they did not come."""
        # As a share of full quality, which itself moves where users join: else days without an update would
        # count as the time before the first one.
        ratio = np.divide(self.ndcg, self.full, out=np.full(len(self.full), np.nan), where=self.full > 0)
        usual = _SETTLED_SHARE * float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 0.0
        settled = np.flatnonzero((ratio > 0.5) & (ratio >= usual))
        return int(settled[0]) if len(settled) else None


def time_grid(stop_ns: int, steps: int = GRID_STEPS) -> IntArray:
    """Return evenly spaced times from 0 to *stop_ns*."""
    return np.array([stop_ns * step // steps for step in range(steps + 1)], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class StateSeriesSums:
    """The states of devices at each time of the grid, by slot."""

    totals: IntArray
    """By slot, quantity and time: devices, budget, bytes held, and the qualities in units of 2^-36."""
    sizes: Mapping[str, KeyedSums]
    """Number of devices by slot, time and bucket of the size, for budgets and bytes held."""

    def merged(self, other: "StateSeriesSums") -> "StateSeriesSums":
        """Return the sums of both."""
        sizes = {name: sums.merged(other.sizes[name]) for name, sums in self.sizes.items()}
        return StateSeriesSums(self.totals + other.totals, sizes)

    def series(self, views: FleetViews) -> dict[str, FleetSeries]:
        """Return the curves of each view."""
        return {name: self._series(slot) for name, slot in views}

    def _series(self, slot: int | None) -> FleetSeries:
        totals = self.totals.sum(axis=0) if slot is None else self.totals[slot]
        count = totals[0].astype(np.float64)
        some = count > 0
        budget, held, *qualities = (np.where(some, values, np.nan) for values in totals[1:])
        means = (
            np.divide(values / _QUALITY_UNIT, count, out=np.full(len(count), np.nan), where=some)
            for values in qualities
        )
        bands = [self._band(name, slot, totals[0]) for name in SIZES]
        return FleetSeries(bands[0], bands[1], budget, held, *means)

    def _band(self, name: str, slot: int | None, count: IntArray) -> PercentileBand:
        steps = len(count)
        sizes = self.sizes[name]
        if slot is None:
            sizes = sizes.rekeyed(sizes.keys % (steps * BUCKETS))
        else:
            first = slot * steps * BUCKETS
            sizes = sizes.between(first, first + steps * BUCKETS)
        done = np.cumsum(sizes.sums[:, 0])
        before = np.concatenate([[0], np.cumsum(count)[:-1]])
        curves = []
        for percent in _PERCENTS:
            rank = before + np.maximum(-(-percent * count // 100), 1)
            row = np.minimum(np.searchsorted(done, rank), max(len(done) - 1, 0))
            middle = (sizes.least[row] + sizes.most[row]) / 2 if len(done) else np.zeros(steps)
            curves.append(np.where(count > 0, middle, np.nan))
        return PercentileBand(*curves)


def sample_states(
    quality: Columns, devices: RangeDevices, slots: int, stop_ns: int, steps: int = GRID_STEPS
) -> StateSeriesSums:
    """Return the sums of a range of devices.

    Args:
        quality: the columns of the quality table, by device and time; a device is its index in the range.
        devices: the range.
        slots: number of slots of the views.
        stop_ns: the end of the run.
        steps: number of steps of the grid.
    """
    device, t_ns = quality["device"], quality["t_ns"]
    # A state counts at the times of the grid from its own until the next of its device; of states at the
    # same time the last one does.
    first = np.searchsorted(time_grid(stop_ns, steps), t_ns, side="left").astype(np.int64)
    end = np.full(len(first), steps + 1, dtype=np.int64)
    same = device[1:] == device[:-1]
    end[:-1][same] = first[1:][same]
    slot = devices.slots[device]
    totals = np.zeros((slots, 3 + len(QUALITIES), steps + 2), dtype=np.int64)
    for row, values in enumerate(_added(quality)):
        np.add.at(totals[:, row], (slot, first), values)
        np.subtract.at(totals[:, row], (slot, end), values)
    count = end - first
    state = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(state)) - np.repeat(np.cumsum(count) - count, count)
    cell = slot[state] * (steps + 1) + first[state] + nth
    return StateSeriesSums(
        np.cumsum(totals, axis=2)[:, :, :-1],
        {name: _count_sizes(cell, quality[name].astype(np.int64)[state]) for name in SIZES},
    )


def _added(quality: Columns) -> Iterator[IntArray]:
    """Yield the numbers that are added up: one for each device, its sizes, and its qualities."""
    yield np.ones(len(quality["device"]), dtype=np.int64)
    yield from (quality[name].astype(np.int64) for name in SIZES)
    yield from (np.rint(quality[name] * _QUALITY_UNIT).astype(np.int64) for name in QUALITIES)


def _count_sizes(cell: IntArray, size: IntArray) -> KeyedSums:
    """Return the number of sizes by cell and bucket."""
    joint = np.sort((cell << _SIZE_BITS) | np.minimum(size, (1 << _SIZE_BITS) - 1))
    size = joint & ((1 << _SIZE_BITS) - 1)
    keys = (joint >> _SIZE_BITS) * BUCKETS + byte_bucket(size)
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    stop = np.append(first[1:], len(keys))[: len(first)]
    return KeyedSums(keys[first], (stop - first)[:, np.newaxis], size[first], size[stop - 1])
