"""Statistics of a trace: its series, and figures of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from devices.memory.pressure import LEVELS
from devices.traces.columns import COLUMNS, KINDS, Columns, missing_column, read_columns
from devices.traces.series import Int64Array, device_rows, series_of_rows
from wire.text import printable
from wire.units import NS_PER_S, approximate_bytes

PLAYED: Final = ("mem_available_bytes", "budget_bytes", "online")
"""The columns that a scenario plays."""
LEAST_MEDIAN_BYTES: Final = 16 * 2**20
MOST_MEDIAN_BYTES: Final = 2**44
LEAST_SPAN_S: Final = 10.0
LATEST_START_S: Final = 1e11
"""In seconds since 1970 it is the year 5138."""


@dataclass(frozen=True)
class TraceStatistics:
    """Figures of one series, or of all series."""

    rows: int
    span_s: float
    """From its first row to its last."""
    available: tuple[int, int, int] | None
    """Least, median and most free memory, by time; None if the trace has none."""
    online_share: float | None
    """The share of the known time that is online."""
    pressure_shares: Mapping[str, float]
    """The share of time at each level of pressure that occurs."""
    changes_per_hour: float | None
    """Changes of free memory, or of the other columns without it. None if the series has no length."""


@dataclass(frozen=True)
class TraceSummary:
    """The columns, series and statistics of a trace."""

    columns: tuple[str, ...]
    """The columns of the format that it has."""
    others: tuple[str, ...]
    """Its other columns; they are read only if a scenario names them."""
    series: Mapping[str, TraceStatistics]
    overall: TraceStatistics
    without: Mapping[str, tuple[str, ...]]
    """The devices without a value, by the column that a scenario could play and that others have."""
    starts_s: float
    """The least time of the trace."""


def inspect(path: Path) -> TraceSummary:
    """Check every column of the trace at *path* and return its summary.

    Raises:
        InputError: it cannot be read, or breaks a rule of the format.
    """
    columns = read_columns(path, KINDS)
    if "t_s" not in columns:
        raise missing_column(columns, "t_s")
    series = {device: _Series(columns, rows, times) for device, (rows, times) in device_rows(columns).items()}
    known = {column.name for column in COLUMNS}
    return TraceSummary(
        columns=tuple(name for name in columns.names if name in known),
        others=tuple(name for name in columns.names if name not in known),
        series={device: _figures([one]) for device, one in series.items()},
        overall=_figures(list(series.values())),
        without=_without(columns, series),
        starts_s=float(columns.table["t_s"].to_numpy().min()),
    )


def plausibility_warnings(summary: TraceSummary) -> list[str]:
    """Return warnings about valid but unlikely contents: devices without data, mixed up units."""
    lines = []
    for column, devices in summary.without.items():
        some = ", ".join(repr(printable(device, 40)) for device in devices[:3])
        lines.append(
            f"{len(devices)} of {len(summary.series)} devices have no value in {column} ({some}"
            f"{', ...' if len(devices) > 3 else ''}): a scenario that plays it needs without_data: leave_out"
        )
    return [*lines, *unit_warnings(summary)]


def unit_warnings(summary: TraceSummary) -> list[str]:
    """Return warnings about numbers that are unlikely to be in bytes or in seconds."""
    lines = []
    overall = summary.overall
    if overall.available is not None and overall.available[1] < LEAST_MEDIAN_BYTES:
        lines.append(
            f"half of the time at most {approximate_bytes(overall.available[1])} are available: bytes, or "
            "KiB? `peelfleet trace import columns --unit KiB` reads other units"
        )
    if overall.available is not None and overall.available[1] > MOST_MEDIAN_BYTES:
        lines.append(
            f"half of the time at least {approximate_bytes(overall.available[1])} are available: in bytes?"
        )
    if summary.starts_s >= LATEST_START_S:
        lines.append(
            f"its first t_s is {summary.starts_s:.10g}: seconds, or milliseconds since 1970? "
            "`peelfleet trace import columns --time-unit ms` reads other units"
        )
    elif 0 < overall.span_s < LEAST_SPAN_S and overall.rows > len(summary.series):
        lines.append(f"it spans {overall.span_s:.3g} s: is t_s in seconds?")
    return lines


def _without(columns: Columns, series: "Mapping[str, _Series]") -> dict[str, tuple[str, ...]]:
    lacking = {
        name: tuple(device for device, one in series.items() if not one.has_values(name))
        for name in PLAYED
        if name in columns
    }
    return {name: devices for name, devices in lacking.items() if devices}


class _Series:
    """One device of a trace: its values and the duration of each.

    Args:
        columns: of the trace.
        rows: the numbers of its rows.
        times: the times of its rows, in nanoseconds from the first.
    """

    def __init__(self, columns: Columns, rows: Int64Array, times: Int64Array) -> None:
        self.rows = len(rows)
        self.span_ns = int(times[-1])
        self._columns, self._rows, self._times = columns, rows, times
        self.available = self._held("mem_available_bytes")
        self.online = self._held("online")
        self.pressure = self._held("pressure")

    def has_values(self, name: str) -> bool:
        """Return whether any row has a value in a column."""
        return bool(self._columns.table[name].take(self._rows).null_count < self.rows)

    def _held(self, name: str) -> list[tuple[Any, int]]:
        """Return (value, duration in nanoseconds) of each value of a column, from start to end."""
        if name not in self._columns or not self.has_values(name):
            return []
        column = self._columns.table[name].take(self._rows).combine_chunks()
        values = [value for value in column.to_pylist() if value is not None]
        played = series_of_rows(self._times, np.asarray(column.is_valid()), values)
        ends = [*played.times_ns[1:], max(played.length_ns, played.times_ns[-1] + 1)]
        return [
            (value, end - at) for value, at, end in zip(played.values, played.times_ns, ends, strict=True)
        ]

    def changes(self) -> int:
        """Return the number of changes of free memory, or of any column without it."""
        if self.available:
            values = [value for value, _ in self.available]
            return sum(a != b for a, b in pairwise(values))
        return self.rows - 1


def _figures(series: Sequence[_Series]) -> TraceStatistics:
    hours = sum(one.span_ns for one in series) / NS_PER_S / 3600
    online = _times([held for one in series for held in one.online])
    pressure = _times([held for one in series for held in one.pressure])
    return TraceStatistics(
        rows=sum(one.rows for one in series),
        span_s=max(one.span_ns for one in series) / NS_PER_S,
        available=_quantiles([held for one in series for held in one.available]),
        online_share=online[True] / sum(online.values()) if sum(online.values()) else None,
        pressure_shares={
            level: pressure[level] / sum(pressure.values()) for level in LEVELS if pressure.get(level)
        },
        changes_per_hour=sum(one.changes() for one in series) / hours if hours else None,
    )


def _times(held: Sequence[tuple[Any, int]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for value, span in held:
        total[value] += span
    return total


def _quantiles(held: Sequence[tuple[int, int]]) -> tuple[int, int, int] | None:
    """Return the least value, the median by time, and the greatest value."""
    if not held:
        return None
    values, spans = (np.array(column, dtype=np.int64) for column in zip(*held, strict=True))
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(np.maximum(spans[order], 1).astype(np.float64))
    middle = int(values[order][np.searchsorted(passed, passed[-1] / 2)])
    return int(values.min()), middle, int(values.max())
