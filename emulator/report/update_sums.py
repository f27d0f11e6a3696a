"""Traffic over time and latencies of updates, as sums that merge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.event_log import ExchangeResult
from emulator.metrics.histogram import PER_DOUBLING, Histogram, bucket_numbers
from emulator.metrics.row_index import Columns
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.report.keyed_sums import FloatArray, IntArray
from wire.units import NS_PER_S

TRAFFIC_BINS = 120
LATENCY_BINS = 60
FINEST_S = 1e-6
"""Shortest latency that is drawn, since a logarithmic axis has no 0."""
_LATE_BINS = TRAFFIC_BINS
"""Largest number of bins after the stop time, for reports that are sent again; the last one has the rest."""
_FAILURES = (ExchangeResult.SUPERSEDED, ExchangeResult.REJECTED, ExchangeResult.LOST)
_PERCENTS = (50, 95, 99)


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


@dataclass(frozen=True, eq=False)
class UpdateSums:
    """Bytes and failures of updates by time, and the latencies of applied ones by slot."""

    edges_ns: IntArray
    """Edges of the bins of time, those after the stop time included."""
    traffic: IntArray
    """By quantity, in the order of the fields of `TrafficSeries`, and bin."""
    latencies: Sequence[Histogram]
    """By slot, in nanoseconds."""

    def merged(self, other: "UpdateSums") -> "UpdateSums":
        """Return the sums of both."""
        latencies = [one + more for one, more in zip(self.latencies, other.latencies, strict=True)]
        return UpdateSums(self.edges_ns, self.traffic + other.traffic, latencies)

    def traffic_series(self) -> TrafficSeries:
        """Return the traffic until the stop time, and as much longer as reports were sent."""
        used = np.flatnonzero(self.traffic.any(axis=0))
        bins = max(len(self.edges_ns) - 1 - _LATE_BINS, int(used[-1]) + 1 if len(used) else 0)
        return TrafficSeries(self.edges_ns[: bins + 1], *self.traffic[:, :bins])

    def distributions(self, views: FleetViews, bins: int = LATENCY_BINS) -> dict[str, LatencyDistribution]:
        """Return the latencies of each view, with the same edges."""
        whole = sum(self.latencies[1:], self.latencies[0])
        edges = _edges_s(whole, bins)
        return {
            name: _distribution(whole if slot is None else self.latencies[slot], edges)
            for name, slot in views
        }


def sum_updates(
    updates: Columns, devices: RangeDevices, slots: int, stop_ns: int, bins: int = TRAFFIC_BINS
) -> UpdateSums:
    """Return the sums of a range of devices.

    Args:
        updates: the columns of the update table; a device is its index in the range.
        devices: the range.
        slots: number of slots of the views.
        stop_ns: the end of the run.
        bins: number of bins of time until then.
    """
    result, device = updates["result"], updates["device"]
    applied = result == ExchangeResult.APPLIED
    nanoseconds = (updates["applied_ns"] - updates["changed_ns"])[applied]
    slot = devices.slots[device[applied]]
    edges = traffic_edges(stop_ns, bins)
    bin_ = traffic_bins(updates["sent_ns"], edges, stop_ns)
    used, lost = updates["used_bytes"], updates["lost_bytes"]
    quantities = (
        updates["full_update_bytes"],
        updates["update_bytes"],
        updates["update_wire_bytes"],
        updates["update_bytes"] - used - lost,
        lost,
        *(result == failure for failure in _FAILURES),
    )
    return UpdateSums(
        edges,
        np.stack([_total(bin_, values, len(edges) - 1) for values in quantities]),
        [Histogram.from_values(nanoseconds[slot == number]) for number in range(slots)],
    )


def traffic_edges(stop_ns: int, bins: int = TRAFFIC_BINS) -> IntArray:
    """Return the edges of the bins of time: so many until *stop_ns*, and as long ones after it."""
    return np.array([stop_ns * step // bins for step in range(bins + _LATE_BINS + 1)], dtype=np.int64)


def traffic_bins(sent_ns: IntArray, edges: IntArray, stop_ns: int) -> IntArray:
    """Return the bin of each time; the last bin also has what is later."""
    bin_ = np.searchsorted(edges, sent_ns, side="right") - 1
    # The stop time belongs to the last bin before it.
    last = len(edges) - 2 - _LATE_BINS
    return np.where(sent_ns == stop_ns, last, np.minimum(bin_, len(edges) - 2)).astype(np.int64)


def _total(bin_: IntArray, values: NDArray[np.generic], bins: int) -> IntArray:
    total = np.zeros(bins, dtype=np.int64)
    np.add.at(total, bin_, values.astype(np.int64))
    return total


def _edges_s(latencies: Histogram, bins: int) -> FloatArray:
    """Return about evenly spaced edges on the logarithmic axis, each at the start of a bucket."""
    if latencies.min is None or latencies.max is None:
        return np.empty(0)
    low, high = (max(ns / NS_PER_S, FINEST_S) for ns in (latencies.min, latencies.max))
    if low == high:
        return np.array([low / 1.1, low * 1.1])
    even = np.rint(np.geomspace(low, high, bins + 1)[1:-1] * NS_PER_S).astype(np.int64)
    inner = _starts_s(bucket_numbers(even))
    return np.unique(np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]]))


def _starts_s(buckets: IntArray) -> FloatArray:
    """Return the least latency in each bucket of a histogram of nanoseconds; no bucket is 0."""
    exponent, within = np.divmod(buckets - 1, PER_DOUBLING)
    return np.ldexp(1 + within / PER_DOUBLING, exponent) / NS_PER_S


def _distribution(latencies: Histogram, edges_s: FloatArray) -> LatencyDistribution:
    bins = max(len(edges_s) - 1, 0)
    if not latencies.counts:
        return LatencyDistribution(edges_s, np.zeros(bins, dtype=np.int64), {})
    # A little above the start of a bucket, to be on the right side of an edge there.
    inside = _starts_s(np.array([*latencies.counts])) * (1 + 0.25 / PER_DOUBLING)
    bin_ = np.clip(np.searchsorted(edges_s, inside, side="right") - 1, 0, bins - 1)
    percentiles = {f"p{percent}": latencies.percentile(percent) for percent in _PERCENTS}
    percentiles["max"] = latencies.max
    return LatencyDistribution(
        edges_s,
        _total(bin_, np.array([*latencies.counts.values()]), bins),
        {name: value / NS_PER_S for name, value in percentiles.items() if value is not None},
    )
