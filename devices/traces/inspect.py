"""What is in a trace: its series, and figures of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from devices.memory.pressure import LEVELS
from devices.traces.columns import COLUMNS, KINDS, Columns, missing, read_columns
from devices.traces.series import Int64Array, device_rows
from wire.units import NS_PER_S


@dataclass(frozen=True)
class Figures:
    """Figures of one series, or of all."""

    rows: int
    span_s: float
    """From its first row to its last."""
    available: tuple[int, int, int] | None
    """Least, median and most free memory, by time; None where there is none."""
    online_share: float | None
    """The share of time online, by what is known of it."""
    pressure_shares: Mapping[str, float]
    """The share of time at each level of pressure that occurs."""
    changes_per_hour: float | None
    """Changes of free memory; else of what else the trace holds. None where it has no span."""


@dataclass(frozen=True)
class Inspected:
    """What is in a trace."""

    columns: tuple[str, ...]
    """Those of the format that it has."""
    others: tuple[str, ...]
    """Those that it has besides; nothing reads them, unless a scenario names them."""
    series: Mapping[str, Figures]
    overall: Figures


def inspect(path: Path) -> Inspected:
    """Return what is in the trace at *path*, every column of the format checked.

    Raises:
        InputError: it cannot be read, or breaks a rule of the format.
    """
    columns = read_columns(path, KINDS)
    if "t_s" not in columns:
        raise missing(columns, "t_s")
    found = {device: _Series(columns, rows, times) for device, (rows, times) in device_rows(columns).items()}
    known = {column.name for column in COLUMNS}
    return Inspected(
        columns=tuple(name for name in columns.names if name in known),
        others=tuple(name for name in columns.names if name not in known),
        series={device: _figures([each]) for device, each in found.items()},
        overall=_figures(list(found.values())),
    )


class _Series:
    """One device of a trace: values, and how long each held.

    Args:
        columns: of the trace.
        rows: the places of its rows.
        times: of its rows, in nanoseconds from the first.
    """

    def __init__(self, columns: Columns, rows: Int64Array, times: Int64Array) -> None:
        self.rows = len(rows)
        self.span_ns = int(times[-1])
        self._columns, self._places, self._times = columns, rows, times
        self.available = self._held("mem_available_bytes")
        self.online = self._held("online")
        self.pressure = self._held("pressure")

    def _held(self, name: str) -> list[tuple[Any, int]]:
        """Return (value, nanoseconds) of each value of a column; the last up to the last row."""
        if name not in self._columns:
            return []
        values = self._columns.table[name].take(self._places).to_pylist()
        known = [
            (value, at) for value, at in zip(values, self._times.tolist(), strict=True) if value is not None
        ]
        ends = [*(at for _, at in known), self.span_ns][1:]
        return [(value, end - at) for (value, at), end in zip(known, ends, strict=True)]

    def changes(self) -> int:
        """How often free memory changed; else anything."""
        if self.available:
            values = [value for value, _ in self.available]
            return sum(a != b for a, b in pairwise(values))
        return self.rows - 1


def _figures(series: Sequence[_Series]) -> Figures:
    hours = sum(each.span_ns for each in series) / NS_PER_S / 3600
    online = _times([held for each in series for held in each.online])
    pressure = _times([held for each in series for held in each.pressure])
    return Figures(
        rows=sum(each.rows for each in series),
        span_s=max(each.span_ns for each in series) / NS_PER_S,
        available=_quantiles([held for each in series for held in each.available]),
        online_share=online[True] / sum(online.values()) if sum(online.values()) else None,
        pressure_shares={
            level: pressure[level] / sum(pressure.values()) for level in LEVELS if pressure.get(level)
        },
        changes_per_hour=sum(each.changes() for each in series) / hours if hours else None,
    )


def _times(held: Sequence[tuple[Any, int]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for value, span in held:
        total[value] += span
    return total


def _quantiles(held: Sequence[tuple[int, int]]) -> tuple[int, int, int] | None:
    """Return the least, the median by time, and the most."""
    if not held:
        return None
    values, spans = (np.array(column, dtype=np.int64) for column in zip(*held, strict=True))
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(np.maximum(spans[order], 1).astype(np.float64))
    middle = int(values[order][np.searchsorted(passed, passed[-1] / 2)])
    return int(values.min()), middle, int(values.max())
