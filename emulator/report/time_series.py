"""What a report draws over time, and how long updates took: from the tables of a run to arrays.

Nothing in this file knows a figure or a page. A device's state holds from one row of the quality
table to its next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emulator.metrics.aggregates import nearest_rank
from wire.units import NS_PER_S

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Columns = Mapping[str, NDArray[Any]]  # Any: a table's columns differ in type

FLEET = "whole fleet"
GRID_STEPS = 300
TRAFFIC_BINS = 120
LATENCY_BINS = 60
MAX_VIEWS = 16
"""Groups with a view of their own; the tables list all of them."""
FINEST_S = 1e-6
"""A latency of 0 has no place on a logarithmic axis."""

STATE = ("budget_bytes", "resident_bytes", "ndcg_at_10", "best_ndcg_at_10", "full_ndcg_at_10")
"""The columns of a device's state that are drawn."""


@dataclass(frozen=True)
class FleetViews:
    """The devices of a run, by device number: their place in ``devices.parquet``."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    group: IntArray
    """Which of *groups* each device is in."""

    @classmethod
    def read(cls, devices: pa.Table) -> Self:
        """Return the fleet of a run's table of devices."""
        groups, group = np.unique(np.array(devices["group"].to_pylist(), dtype=object), return_inverse=True)
        return cls(
            tuple(devices["device"].to_pylist()),
            tuple(groups),
            group.astype(np.int64),
        )

    @property
    def size(self) -> int:
        """How many devices there are."""
        return len(self.names)

    @cached_property
    def views(self) -> dict[str, IntArray]:
        """The sets of devices to look at: all, and each of the largest groups if there are several."""
        everyone = {FLEET: np.arange(self.size)}
        if len(self.groups) == 1:
            return everyone
        largest = np.sort(np.argsort(-np.bincount(self.group), kind="stable")[:MAX_VIEWS])
        return everyone | {self.groups[at]: np.flatnonzero(self.group == at) for at in largest.tolist()}

    def numbered(self, table: pa.Table) -> pa.Table:
        """Return *table* with device numbers for ids."""
        numbers = pc.index_in(table["device"], value_set=pa.array(self.names, pa.string()))
        return table.set_column(table.column_names.index("device"), "device", numbers)


@dataclass(frozen=True)
class PercentileBand:
    """Percentiles over devices, at each time of a grid."""

    low: FloatArray
    median: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class FleetSeries:
    """A set of devices over time; before its first device starts there is no number."""

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
    """Return how budgets, bytes held and quality went, sampled at *grid_ns*, for each view.

    Args:
        quality: the quality table in total order.
        fleet: whose it is.
        grid_ns: times, rising.
    """
    rows = fleet.numbered(quality)
    device = rows["device"].to_numpy()
    values = np.column_stack([rows[name].to_numpy().astype(np.float64) for name in STATE])
    ends = np.searchsorted(rows["t_ns"].to_numpy(), grid_ns, side="right")
    state = np.full((fleet.size, len(STATE)), np.nan)
    samples = {name: np.full((len(grid_ns), 11), np.nan) for name in fleet.views}
    first = 0
    for at, end in enumerate(ends.tolist()):
        # Rows are in order of time, and of equal indices the last is assigned.
        state[device[first:end]] = values[first:end]
        first = end
        for name, members in fleet.views.items():
            samples[name][at] = _measure(state[members])
    return {name: _course(columns.T) for name, columns in samples.items()}


def _measure(state: FloatArray) -> FloatArray:
    """Return spreads, totals and means over those of the devices that have started."""
    started = state[~np.isnan(state[:, 0])]
    if len(started) == 0:
        return np.full(11, np.nan)
    spreads = np.percentile(started[:, :2], [10, 50, 90], axis=0)
    return np.concatenate([spreads.T.ravel(), started[:, :2].sum(axis=0), started[:, 2:].mean(axis=0)])


def _course(columns: FloatArray) -> FleetSeries:
    return FleetSeries(PercentileBand(*columns[0:3]), PercentileBand(*columns[3:6]), *columns[6:11])


@dataclass(frozen=True)
class TrafficSeries:
    """Updates by the time at which the report left that asked for them."""

    edges_ns: IntArray
    full_bytes: IntArray
    """What pushes of whole PEEs would have cost."""
    sent_bytes: IntArray
    wire_bytes: IntArray
    wasted_bytes: IntArray
    """Delivered but never used."""
    lost_bytes: IntArray
    superseded: IntArray
    rejected: IntArray
    lost: IntArray


def bin_traffic(updates: pa.Table, stop_ns: int, bins: int = TRAFFIC_BINS) -> TrafficSeries:
    """Return the bytes and the failures per time bin; what was asked for after *stop_ns* is there too."""
    sent_ns = updates["sent_ns"].to_numpy()
    edges = time_grid(max(stop_ns, int(sent_ns.max(initial=0))), bins)
    place = np.clip(np.searchsorted(edges, sent_ns, side="right") - 1, 0, bins - 1)

    def total(weights: NDArray[Any]) -> IntArray:  # Any: whole numbers of any width, or truth values
        return np.bincount(place, weights, bins).astype(np.int64)

    update_bytes, used, lost = (
        updates[name].to_numpy() for name in ("update_bytes", "used_bytes", "lost_bytes")
    )
    ends = {word: total(equals(updates["result"], word)) for word in ("superseded", "rejected", "lost")}
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
    """How long applied updates took, from the budget change to the PEE applied."""

    edges_s: FloatArray
    """Geometric; no edges where nothing was applied."""
    counts: IntArray
    percentiles: Mapping[str, float]
    """p50, p95, p99 and max in seconds; empty where nothing was applied."""

    @property
    def count(self) -> int:
        """How many updates there were."""
        return int(self.counts.sum())

    @property
    def cumulative(self) -> FloatArray:
        """Share of the updates at or below each edge."""
        return np.concatenate([[0.0], np.cumsum(self.counts) / max(self.count, 1)])


def measure_latencies(
    updates: pa.Table, fleet: FleetViews, views: Mapping[str, IntArray], bins: int = LATENCY_BINS
) -> dict[str, LatencyDistribution]:
    """Return the latencies of each of *views*, on the same edges."""
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
    found = {f"p{percent}": nearest_rank(rising, percent, 1) for percent in (50, 95, 99)} | {
        "max": rising[-1]
    }
    return LatencyDistribution(
        edges, counts, {name: float(value) for name, value in found.items() if value is not None}
    )


def log_edges(values: FloatArray, bins: int) -> FloatArray:
    """Return the edges of geometric bins around *values*; one bin if they are all the same."""
    if len(values) == 0:
        return np.empty(0)
    low, high = float(values.min()), float(values.max())
    return np.geomspace(low, high, bins + 1) if high > low else np.array([low / 1.1, low * 1.1])


def bin_of(values: FloatArray, edges: FloatArray) -> IntArray:
    """Return the bin of each value; the last edge belongs to the last bin."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def equals(column: pa.ChunkedArray, word: str) -> NDArray[Any]:  # Any: truth values
    """Return where *column* says *word*."""
    return pc.equal(column, word).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
