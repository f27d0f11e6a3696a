"""The live statuses of a run as columns over simulated time, in bounded memory."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from emulator.metrics.live_status import WINDOW_S, LiveGroup, LiveStatus, latency_percentiles
from wire.units import NS_PER_S

MOST: Final = 240
"""Moments that are kept; with more every second one is left out."""
COLUMNS: Final = (
    "t_s", "online", "budget_bytes", "held_bytes", "over_budget", "ndcg", "best_ndcg", "reports_per_s",
    "update_bytes_per_s", "p50_s", "p95_s", "p99_s", "in_flight", "lost", "lag_ms",
)  # fmt: skip
PERCENTS: Final = (50.0, 95.0, 99.0)

Moment = tuple[float | None, ...]


class StatusSeries:
    """The figures of a run so far, one row for each moment.

    Args:
        by_wall: True for rates in a second of the wall clock, False for simulated seconds.
    """

    def __init__(self, *, by_wall: bool) -> None:
        self._by_wall = by_wall
        self._moments: list[Moment] = []
        self._recent: deque[Mapping[int, int]] = deque(maxlen=WINDOW_S)
        self._last: LiveStatus | None = None
        self._newest: Moment | None = None
        self._stride, self._count = 1, 0

    @property
    def last(self) -> LiveStatus | None:
        """The newest status."""
        return self._last

    def add(self, status: LiveStatus) -> None:
        """Add a status of the whole fleet."""
        self._recent.append(status.latency)
        self._newest = self._moment(status)
        if self._count % self._stride == 0:
            self._moments.append(self._newest)
        self._count += 1
        if len(self._moments) == MOST:
            self._moments, self._stride = self._moments[::2], 2 * self._stride
        self._last = status

    def columns(self) -> dict[str, Sequence[float | None]]:
        """Return the columns."""
        if self._newest is None:
            return dict.fromkeys(COLUMNS, ())
        moments = self._moments if self._moments[-1] is self._newest else [*self._moments, self._newest]
        return dict(zip(COLUMNS, zip(*moments, strict=True), strict=True))

    def _moment(self, status: LiveStatus) -> Moment:
        before, started = self._last, max(status.started, 1)
        seconds = 0.0
        if before is not None:
            seconds = status.wall_s - before.wall_s
            if not self._by_wall:
                seconds = (status.t_ns - before.t_ns) / NS_PER_S
        percentiles = latency_percentiles(list(self._recent), PERCENTS)

        def rate(name: str) -> float | None:
            if before is None or seconds <= 0:
                return None
            # Never below 0: a shard that was killed counts from 0 again.
            return rounded(max(getattr(status, name) - getattr(before, name), 0) / seconds)

        return (
            rounded(status.t_ns / NS_PER_S), status.online, status.budget_bytes, status.resident_bytes,
            status.over_budget, rounded(status.ndcg_sum / started), rounded(status.best_sum / started),
            rate("reports"), rate("update_bytes"),
            *(None if value is None else rounded(value / NS_PER_S) for value in percentiles),
            status.in_flight, status.lost, None if status.lag_ns < 0 else rounded(status.lag_ns / 1e6),
        )  # fmt: skip


def group_rows(groups: Mapping[str, LiveGroup]) -> list[list[object]]:
    """Return a row for each group, as `LiveState.groups` has it."""
    return [
        [
            name, group.devices, group.online, group.budget_bytes, group.resident_bytes, group.over_budget,
            rounded(group.ndcg_sum / group.best_sum) if group.best_sum else None,
        ]
        for name, group in groups.items()
    ]  # fmt: skip


def rounded(value: float) -> float:
    """Return *value* with six digits: a page shows fewer."""
    return float(f"{value:.6g}")
