"""Live status of a fleet, counted from the rows that it logs; the statuses of shards can be merged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.event_log import ExchangeResult
from emulator.metrics.histogram import Histogram, bucket_middle

WINDOW_S = 10
"""Number of statuses whose latencies are shown together; there is one status per second."""


class LiveGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one group of a fleet."""

    devices: int
    online: int
    budget_bytes: int
    resident_bytes: int
    over_budget: int
    ndcg_sum: float
    best_sum: float


class LiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a shard, or of a fleet; counts are since its start."""

    t_ns: int
    """Simulated time."""
    wall_s: float
    """Wall-clock time since the start."""
    devices: int
    online: int
    connections: int
    """Open MQTT connections."""
    budget_bytes: int
    """Sum over the devices that have started."""
    resident_bytes: int
    over_budget: int
    """Devices that hold more than their budget."""
    ndcg_sum: float
    """Sum of NDCG@10 of the PEEs held, over the devices that have started."""
    best_sum: float
    """The same sum for the best PEEs for their budgets."""
    started: int
    """Devices that have started."""
    reports: int
    applied: int
    lost: int
    update_bytes: int
    in_flight: int
    """Reports without an answer yet."""
    lag_ns: int
    """The greatest lag since the last status, in wall-clock time; -1 if it is not measured."""
    latency: dict[int, int]
    """Latencies since the last status, in nanoseconds of simulated time, by bucket of a `Histogram`."""
    groups: dict[str, LiveGroup] = {}
    """By group of the fleet."""


class LiveCounters:
    """Counts the rows of a fleet's log for its live status.

    Args:
        groups: the group of each device of this shard, by the device's number.
    """

    def __init__(self, groups: Mapping[int, str]) -> None:
        size = max(groups, default=-1) + 1
        self._devices = len(groups)
        self._groups = {name: place for place, name in enumerate(dict.fromkeys(groups.values()))}
        self._numbers = np.array(list(groups), dtype=np.int64)
        self._group_of = np.array([self._groups[name] for name in groups.values()], dtype=np.int64)
        self._online = np.zeros(size, dtype=bool)
        self._columns = {
            name: np.zeros(size)
            for name in ("budget_bytes", "resident_bytes", "ndcg_at_10", "best_ndcg_at_10")
        }
        self._started = np.zeros(size, dtype=bool)
        self._reports = self._applied = self._lost = self._update_bytes = 0
        self._latency = Histogram({}, 0, None, None)
        self._lag_ns = -1

    def add_rows(self, name: str, rows: NDArray[Any]) -> None:  # Any: a structured type
        """Count the next rows of table *name*."""
        match name:
            case "quality":
                device = rows["device"]  # the last row of a device counts
                for column, values in self._columns.items():
                    values[device] = rows[column]
                self._online[device] = rows["online"]
                self._started[device] = True
            case "connection":
                self._online[rows["device"]] = rows["online"]
            case "update":
                self._count_exchanges(rows)

    def add_lag(self, lag_ns: int) -> None:
        """Count the lag of an event."""
        self._lag_ns = max(self._lag_ns, lag_ns)

    def snapshot(self, t_ns: int, wall_s: float, *, connections: int = 0, in_flight: int = 0) -> LiveStatus:
        """Return the status at a moment, and reset latencies and lag."""
        budget, resident, ndcg, best = self._columns.values()
        status = LiveStatus(
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
            in_flight=in_flight,
            lag_ns=self._lag_ns,
            latency=dict(self._latency.counts),
            groups=self._live_groups(),
        )
        self._latency, self._lag_ns = Histogram({}, 0, None, None), -1
        return status

    def _live_groups(self) -> dict[str, LiveGroup]:
        """Return the status of each group."""
        own = self._numbers
        budget, resident, ndcg, best = (column[own] for column in self._columns.values())
        columns = (np.ones(len(own)), self._online[own], budget, resident, resident > budget, ndcg, best)
        return live_groups(
            self._groups, [np.bincount(self._group_of, column, len(self._groups)) for column in columns]
        )

    def _count_exchanges(self, rows: NDArray[Any]) -> None:
        applied = rows[rows["result"] == ExchangeResult.APPLIED]
        self._reports += len(rows)
        self._applied += len(applied)
        self._lost += int((rows["result"] == ExchangeResult.LOST).sum())
        self._update_bytes += int(rows["update_bytes"].sum())
        self._latency += Histogram.from_values(applied["applied_ns"] - applied["changed_ns"])


def live_groups(names: Iterable[str], columns: Sequence[NDArray[Any]]) -> dict[str, LiveGroup]:
    """Return the statuses of groups from columns, which are the fields of `LiveGroup` in their order."""
    return {
        name: LiveGroup(
            devices=int(devices),
            online=int(online),
            budget_bytes=int(budget),
            resident_bytes=int(resident),
            over_budget=int(over),
            ndcg_sum=float(ndcg),
            best_sum=float(best),
        )
        for name, devices, online, budget, resident, over, ndcg, best in zip(names, *columns, strict=True)
    }


def merge_statuses(statuses: Sequence[LiveStatus]) -> LiveStatus:
    """Return the status of a fleet from those of its shards; its time is that of the slowest shard.

    Args:
        statuses: at least one.
    """
    latency: dict[int, int] = {}
    for status in statuses:
        for bucket, count in status.latency.items():
            latency[bucket] = latency.get(bucket, 0) + count
    sums = {
        name: sum(getattr(status, name) for status in statuses)
        for name in LiveStatus.__struct_fields__
        if name not in ("t_ns", "wall_s", "lag_ns", "latency", "groups")
    }
    groups: dict[str, LiveGroup] = {}
    for name, group in (pair for status in statuses for pair in status.groups.items()):
        groups[name] = _both(groups[name], group) if name in groups else group
    return LiveStatus(
        t_ns=min(status.t_ns for status in statuses),
        wall_s=max(status.wall_s for status in statuses),
        lag_ns=max(status.lag_ns for status in statuses),
        latency=dict(sorted(latency.items())),
        groups=groups,
        **sums,
    )


def _both(one: LiveGroup, other: LiveGroup) -> LiveGroup:
    """Return the status of a group from those of two parts of it."""
    names = LiveGroup.__struct_fields__
    return LiveGroup(**{name: getattr(one, name) + getattr(other, name) for name in names})


def latency_percentiles(
    latency: Sequence[Mapping[int, int]], percents: Sequence[float]
) -> list[float | None]:
    """Return percentiles, in nanoseconds, of the latencies of several statuses."""
    counts: dict[int, int] = {}
    for buckets in latency:
        for bucket, count in buckets.items():
            counts[bucket] = counts.get(bucket, 0) + count
    # A status has no extremes: the greatest value is assumed to be in the middle of the last bucket.
    ends = [round(bucket_middle(end(counts))) for end in (min, max)] if counts else [None, None]
    histogram = Histogram(dict(sorted(counts.items())), 0, *ends) if counts else None
    return [None if histogram is None else histogram.percentile(percent) for percent in percents]
