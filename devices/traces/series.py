"""The series of a trace: what each recorded device did, step by step."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from devices.memory import Changes, Replay
from devices.traces.columns import Columns, read_columns, refuse
from wire.errors import InputError
from wire.units import NS_PER_S

Value = TypeVar("Value", int, bool, str)
Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Series(Generic[Value]):
    """What one recorded device did; each value holds until the next time."""

    times_ns: tuple[int, ...]
    """From 0, rising."""
    values: tuple[Value, ...]
    length_ns: int
    """When it is over; 0 for a single value that holds for ever."""

    def steps(self, *, wrap: bool, scale: float = 1.0, from_ns: int = 0) -> Iterator[tuple[int, Value]]:
        """Yield (wait_ns, value), the first wait being 0; without end where the series wraps.

        Args:
            wrap: whether it starts again when it is over.
            scale: how many times slower it goes than it was recorded.
            from_ns: where in the recording to start.
        """
        times, length = self.times_ns, self.length_ns
        wrap = wrap and length > 0
        now = from_ns % length if wrap else min(from_ns, times[-1])
        place, lap = bisect_right(times, now) - 1, 0
        before = _scaled(now, scale)
        yield 0, self.values[place]
        while True:
            place += 1
            if place == len(times):
                if not wrap:
                    return
                place, lap = 0, lap + 1
            at = _scaled(lap * length + times[place], scale)
            yield at - before, self.values[place]
            before = at


def read_memory(trace: Replay, path: Path) -> tuple[Series[int], ...]:
    """Return the series of free memory in the file at *path*, by device id.

    Raises:
        InputError: it cannot be read, lacks a column, or breaks a rule of the format.
    """
    return tuple(read_series(path, trace.column, "whole").values())


def memory_changes(series: Series[int], trace: Replay, from_ns: int = 0) -> Changes:
    """Return the (wait_ns, free_bytes) of a device that plays *series*."""
    return series.steps(wrap=trace.on_end == "wrap", scale=trace.scale, from_ns=from_ns)


def read_series(path: Path, column: str, kind: str) -> Mapping[str, Series[Any]]:
    """Return what *column* of the trace at *path* says, by device id, in the order of the ids.

    Raises:
        InputError: it cannot be read, lacks a column, or breaks a rule of the format.
    """
    columns = read_columns(path, {"device_id": "text", "t_s": "seconds", column: kind})
    for name in ("t_s", column):
        if name not in columns:
            raise InputError(f"{path}: column {name!r} is missing; there are {', '.join(columns.names)}")
    rows_of = device_rows(columns)
    values = columns.table[column].combine_chunks()
    known = np.asarray(values.is_valid())
    listed = values.to_pylist()
    series = {}
    for device, (rows, times) in rows_of.items():
        kept = known[rows]
        if not kept.any():
            raise InputError(f"{path}: device {device!r}: {column} must have a value in some row")
        series[device] = _series(times, kept, [listed[row] for row in rows[kept].tolist()])
    return series


def device_rows(columns: Columns) -> Mapping[str, tuple[Int64Array, Int64Array]]:
    """Return, by device id, the places of its rows in the file and their times in ns from its first.

    Raises:
        InputError: there are no rows, or the time of a device is unknown or falls.
    """
    path = columns.path
    seconds = columns.table["t_s"].to_numpy()
    if not len(seconds):
        raise InputError(f"{path}: the trace is empty")
    unknown = np.flatnonzero(np.isnan(seconds))
    if len(unknown):
        refuse(path, int(unknown[0]) + 1, "t_s", "nothing", "have a value in every row")
    return {
        device: (rows, _times(path, seconds, rows))
        for device, rows in sorted(_rows_of(columns, len(seconds)))
    }


def _rows_of(columns: Columns, count: int) -> list[tuple[str, Int64Array]]:
    if "device_id" not in columns:
        return [("", np.arange(count))]
    ids = columns.table["device_id"].combine_chunks().dictionary_encode()
    if ids.null_count:
        row = int(np.flatnonzero(~np.asarray(ids.is_valid()))[0]) + 1
        refuse(columns.path, row, "device_id", "nothing", "have a value in every row")
    codes = ids.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    names = ids.dictionary.to_pylist()
    return [(names[codes[rows[0]]], rows) for rows in np.split(order, cuts)]


def _times(path: Path, seconds: NDArray[np.float64], rows: Int64Array) -> Int64Array:
    own = seconds[rows]
    falls = np.flatnonzero(np.diff(own) < 0)
    if len(falls):
        at = int(falls[0]) + 1
        refuse(path, int(rows[at]) + 1, "t_s", float(own[at]), f"not fall: it follows {own[at - 1]:g}")
    times: Int64Array = np.rint((own - own[0]) * NS_PER_S).astype(np.int64)
    return times


def _series(times: Int64Array, known: NDArray[np.bool_], values: list[Any]) -> Series[Any]:
    """Return the series of the *known* rows: the first value from the start, the last of equal times."""
    own = times[known]
    last = np.append(np.diff(own) > 0, True)
    starts = own[last].tolist()
    kept = [value for value, stays in zip(values, last.tolist(), strict=True) if stays]
    starts[0] = 0
    # A last row without a value says when it is over; else its value lasts as long as that before it.
    over = int(times[-1])
    if over == starts[-1] and len(starts) > 1:
        over += starts[-1] - starts[-2]
    return Series(tuple(starts), tuple(kept), over)


def _scaled(span_ns: int, scale: float) -> int:
    return span_ns if scale == 1 else round(span_ns * scale)
