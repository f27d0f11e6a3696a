"""Data of a report over time, and latencies of updates, as arrays from the tables of a run.

This module does not know figures or pages. A state of a device lasts from one row of the quality table to the
next row of that device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emulator.metrics.device_table import device_numbers
from emulator.metrics.histogram import nearest_rank
from wire.units import NS_PER_S

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Columns = Mapping[str, NDArray[Any]]  # Any: a table's columns differ in type

FLEET = "whole fleet"
GRID_STEPS = 300
TRAFFIC_BINS = 120
LATENCY_BINS = 60
MAX_VIEWS = 16
"""Largest number of groups with a view of their own; tables list all groups."""
FINEST_S = 1e-6
"""Shortest latency that is drawn, since a logarithmic axis has no 0."""

STATE = ("budget_bytes", "resident_bytes", "ndcg_at_10", "best_ndcg_at_10", "full_ndcg_at_10")
"""Columns of a device's state that are drawn."""


@dataclass(frozen=True)
class FleetViews:
    """The devices of a run by number (their row in ``devices.parquet``), and sets of them to look at."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    group: IntArray
    """The group of each device, an index into *groups*."""

    @classmethod
    def read(cls, devices: pa.Table) -> Self:
        """Return the devices of a run's table of devices."""
        groups, group = np.unique(np.array(devices["group"].to_pylist(), dtype=object), return_inverse=True)
        return cls(
            tuple(devices["device"].to_pylist()),
            tuple(groups),
            group.astype(np.int64),
        )

    @property
    def size(self) -> int:
        """Number of devices."""
        return len(self.names)

    @cached_property
    def views(self) -> dict[str, IntArray]:
        """Sets of devices: all, and each of the largest groups if there are several."""
        all_devices = {FLEET: np.arange(self.size)}
        if len(self.groups) == 1:
            return all_devices
        largest = np.sort(np.argsort(-np.bincount(self.group), kind="stable")[:MAX_VIEWS])
        return all_devices | {
            self.groups[number]: np.flatnonzero(self.group == number) for number in largest.tolist()
        }

    def numbered(self, table: pa.Table) -> pa.Table:
        """Return *table* with device numbers for ids."""
        numbers = pa.array(device_numbers(table, self.names))
        return table.set_column(table.column_names.index("device"), "device", numbers)


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


def time_grid(stop_ns: int, steps: int = GRID_STEPS) -> IntArray:
    """Return evenly spaced times from 0 to *stop_ns*."""
    return np.array([stop_ns * step // steps for step in range(steps + 1)], dtype=np.int64)


def sample_fleet(quality: pa.Table, fleet: FleetViews, grid_ns: IntArray) -> dict[str, FleetSeries]:
    """Return budgets, bytes held and quality at the times *grid_ns*, for each view.

    Args:
        quality: the quality table in total order.
        fleet: the devices.
        grid_ns: times, rising.
    """
    rows = fleet.numbered(quality)
    device = rows["device"].to_numpy()
    values = np.column_stack([rows[name].to_numpy().astype(np.float64) for name in STATE])
    ends = np.searchsorted(rows["t_ns"].to_numpy(), grid_ns, side="right")
    state = np.full((fleet.size, len(STATE)), np.nan)
    samples = {name: np.full((len(grid_ns), 11), np.nan) for name in fleet.views}
    first = 0
    for step, end in enumerate(ends.tolist()):
        # Rows are in the order of time; for equal indices the last row is assigned.
        state[device[first:end]] = values[first:end]
        first = end
        for name, members in fleet.views.items():
            samples[name][step] = _measure(state[members])
    return {name: _course(columns.T) for name, columns in samples.items()}


def _measure(state: FloatArray) -> FloatArray:
    """Return percentiles, sums and means over the devices that have started."""
    started = state[~np.isnan(state[:, 0])]
    if len(started) == 0:
        return np.full(11, np.nan)
    bands = np.percentile(started[:, :2], [10, 50, 90], axis=0)
    return np.concatenate([bands.T.ravel(), started[:, :2].sum(axis=0), started[:, 2:].mean(axis=0)])


def _course(columns: FloatArray) -> FleetSeries:
    return FleetSeries(PercentileBand(*columns[0:3]), PercentileBand(*columns[3:6]), *columns[6:11])


@dataclass(frozen=True)
class TrafficSeries:
    """Updates by the time at which their reports were sent."""

    edges_ns: IntArray
    full_bytes: IntArray
    """Bytes that full pushes of each PEE would have taken."""
    sent_bytes: IntArray
    wire_bytes: IntArray
    wasted_bytes: IntArray
    """Delivered but never used."""
    lost_bytes: IntArray
    superseded: IntArray
    rejected: IntArray
    lost: IntArray


def bin_traffic(updates: pa.Table, stop_ns: int, bins: int = TRAFFIC_BINS) -> TrafficSeries:
    """Return bytes and failures per time bin; reports after *stop_ns* are included."""
    sent_ns = updates["sent_ns"].to_numpy()
    edges = time_grid(max(stop_ns, int(sent_ns.max(initial=0))), bins)
    bin_ = np.clip(np.searchsorted(edges, sent_ns, side="right") - 1, 0, bins - 1)

    def total(weights: NDArray[Any]) -> IntArray:  # Any: whole numbers of any width, or truth values
        return np.bincount(bin_, weights, bins).astype(np.int64)

    update_bytes, used, lost = (
        updates[name].to_numpy() for name in ("update_bytes", "used_bytes", "lost_bytes")
    )
    ends = {result: total(equals(updates["result"], result)) for result in ("superseded", "rejected", "lost")}
    return TrafficSeries(
        edges,
        total(updates["full_update_bytes"].to_numpy()),
        total(update_bytes),
        total(updates["update_wire_bytes"].to_numpy()),
        total(update_bytes - used - lost),
        total(lost),
        **ends,
    )


@dataclass(frozen=True)
class LatencyDistribution:
    """Latencies of applied updates, from the budget change to the PEE applied."""

    edges_s: FloatArray
    """Edges of geometric bins; empty if no update was applied."""
    counts: IntArray
    percentiles: Mapping[str, float]
    """p50, p95, p99 and max in seconds; empty if no update was applied."""

    @property
    def count(self) -> int:
        """Number of updates."""
        return int(self.counts.sum())

    @property
    def cumulative(self) -> FloatArray:
        """Share of the updates up to each edge."""
        return np.concatenate([[0.0], np.cumsum(self.counts) / max(self.count, 1)])


def measure_latencies(
    updates: pa.Table, fleet: FleetViews, views: Mapping[str, IntArray], bins: int = LATENCY_BINS
) -> dict[str, LatencyDistribution]:
    """Return the latencies of each of *views*, with the same edges."""
    applied = fleet.numbered(updates.filter(pc.equal(updates["result"], "applied")))
    device = applied["device"].to_numpy()
    seconds = pc.subtract(applied["applied_ns"], applied["changed_ns"]).to_numpy() / NS_PER_S
    edges = log_edges(np.maximum(seconds, FINEST_S), bins)
    return {name: _latency(seconds[np.isin(device, members)], edges) for name, members in views.items()}


def _latency(seconds: FloatArray, edges: FloatArray) -> LatencyDistribution:
    if len(seconds) == 0:
        return LatencyDistribution(edges, np.zeros(max(len(edges) - 1, 0), dtype=np.int64), {})
    counts = np.bincount(bin_of(np.maximum(seconds, FINEST_S), edges), minlength=len(edges) - 1)
    rising = np.sort(seconds)
    percentiles = {f"p{percent}": nearest_rank(rising, percent, 1) for percent in (50, 95, 99)} | {
        "max": rising[-1]
    }
    return LatencyDistribution(
        edges, counts, {name: float(value) for name, value in percentiles.items() if value is not None}
    )


def log_edges(values: FloatArray, bins: int) -> FloatArray:
    """Return the edges of geometric bins around *values*; one bin if all values are equal."""
    if len(values) == 0:
        return np.empty(0)
    low, high = float(values.min()), float(values.max())
    return np.geomspace(low, high, bins + 1) if high > low else np.array([low / 1.1, low * 1.1])


def bin_of(values: FloatArray, edges: FloatArray) -> IntArray:
    """Return the bin of each value; the last edge belongs to the last bin."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def equals(column: pa.ChunkedArray, label: str) -> NDArray[Any]:  # Any: truth values
    """Return a mask of the rows of *column* with the value *label*."""
    return pc.equal(column, label).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
