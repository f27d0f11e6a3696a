"""What a fleet is doing now: kept up from the rows that it logs, in numbers that add up over shards."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.event_log import Result
from emulator.metrics.histogram import Histogram, bucket_middle

WINDOW_S = 10
"""Latencies are those of the last so many pulses, of which one comes in a second."""


class LiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard, or a whole fleet, is doing now; counts are since its start."""

    t_ns: int
    """Simulated time."""
    wall_s: float
    """Wall-clock time since the start."""
    devices: int
    online: int
    connections: int
    """MQTT connections that are up."""
    budget_bytes: int
    """Of all devices that have started."""
    resident_bytes: int
    over_budget: int
    """Devices that hold more than their budget."""
    ndcg_sum: float
    """NDCG@10 of what they hold now, summed up over those that have started."""
    best_sum: float
    """Of the best PEEs for their budgets."""
    started: int
    """Devices that have started."""
    reports: int
    applied: int
    lost: int
    update_bytes: int
    flying: int
    """Reports that wait for their answers."""
    lag_ns: int
    """The greatest lag since the last pulse, in wall-clock time; -1 where nothing measures it."""
    latency: dict[int, int]
    """Latencies since the last pulse in nanoseconds of simulated time, by bucket of a `Histogram`."""


class LiveCounters:
    """Keeps up what the fleet is doing from its log.

    Args:
        numbers: of the devices of this shard.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        size = max(numbers, default=-1) + 1
        self._devices = len(numbers)
        self._online = np.zeros(size, dtype=bool)
        self._columns = {
            name: np.zeros(size)
            for name in ("budget_bytes", "resident_bytes", "ndcg_at_10", "best_ndcg_at_10")
        }
        self._started = np.zeros(size, dtype=bool)
        self._reports = self._applied = self._lost = self._update_bytes = 0
        self._latency = Histogram({}, 0, None, None)
        self._lag_ns = -1

    def feed(self, name: str, rows: NDArray[Any]) -> None:  # Any: a structured type
        """Take in the next rows of table *name*."""
        match name:
            case "quality":
                device = rows["device"]  # of several rows of a device the last one counts
                for column, values in self._columns.items():
                    values[device] = rows[column]
                self._online[device] = rows["online"]
                self._started[device] = True
            case "connection":
                self._online[rows["device"]] = rows["online"]
            case "update":
                self._exchanges(rows)

    def lag(self, lag_ns: int) -> None:
        """Note how late an event was."""
        self._lag_ns = max(self._lag_ns, lag_ns)

    def take(self, t_ns: int, wall_s: float, *, connections: int = 0, flying: int = 0) -> LiveStatus:
        """Return the pulse at a moment; the next one's latencies and lag begin anew."""
        budget, resident, ndcg, best = self._columns.values()
        pulse = LiveStatus(
            t_ns=t_ns,
            wall_s=wall_s,
            devices=self._devices,
            online=int(self._online.sum()),
            connections=connections,
            budget_bytes=int(budget.sum()),
            resident_bytes=int(resident.sum()),
            over_budget=int((resident > budget).sum()),
            ndcg_sum=float(ndcg.sum()),
            best_sum=float(best.sum()),
            started=int(self._started.sum()),
            reports=self._reports,
            applied=self._applied,
            lost=self._lost,
            update_bytes=self._update_bytes,
            flying=flying,
            lag_ns=self._lag_ns,
            latency=dict(self._latency.counts),
        )
        self._latency, self._lag_ns = Histogram({}, 0, None, None), -1
        return pulse

    def _exchanges(self, rows: NDArray[Any]) -> None:
        applied = rows[rows["result"] == Result.APPLIED]
        self._reports += len(rows)
        self._applied += len(applied)
        self._lost += int((rows["result"] == Result.LOST).sum())
        self._update_bytes += int(rows["update_bytes"].sum())
        self._latency += Histogram.of(applied["applied_ns"] - applied["changed_ns"])


def merge_statuses(pulses: Sequence[LiveStatus]) -> LiveStatus:
    """Return the pulse of a fleet from those of its shards; time is that of the one that is behind.

    Args:
        pulses: at least one.
    """
    latency: dict[int, int] = {}
    for pulse in pulses:
        for bucket, count in pulse.latency.items():
            latency[bucket] = latency.get(bucket, 0) + count
    sums = {
        name: sum(getattr(pulse, name) for pulse in pulses)
        for name in LiveStatus.__struct_fields__
        if name not in ("t_ns", "wall_s", "lag_ns", "latency")
    }
    return LiveStatus(
        t_ns=min(pulse.t_ns for pulse in pulses),
        wall_s=max(pulse.wall_s for pulse in pulses),
        lag_ns=max(pulse.lag_ns for pulse in pulses),
        latency=dict(sorted(latency.items())),
        **sums,
    )


def latency_percentiles(
    latency: Sequence[Mapping[int, int]], percents: Sequence[float]
) -> list[float | None]:
    """Return percentiles, in nanoseconds, of the latencies of several pulses."""
    counts: dict[int, int] = {}
    for each in latency:
        for bucket, count in each.items():
            counts[bucket] = counts.get(bucket, 0) + count
    # A pulse carries no extremes: the greatest value is taken to be in the middle of the last bucket.
    ends = [round(bucket_middle(end(counts))) for end in (min, max)] if counts else [None, None]
    whole = Histogram(dict(sorted(counts.items())), 0, *ends) if counts else None
    return [None if whole is None else whole.percentile(percent) for percent in percents]
