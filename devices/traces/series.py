"""The series of a trace: the values of each recorded device over time."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from devices.memory import Changes, Replay
from devices.traces.columns import Columns, missing_column, read_columns, refuse
from wire.errors import InputError
from wire.text import printable
from wire.units import NS_PER_S

Value = TypeVar("Value", int, bool, str)
Int64Array = NDArray[np.int64]
MOST_SPAN_S = 2**32
"""The longest time between rows of a device, 136 years: nanoseconds must fit into 63 bits."""


@dataclass(frozen=True)
class Series(Generic[Value]):
    """The values of one recorded device; each is valid until the next time."""

    times_ns: tuple[int, ...]
    """From 0, rising."""
    values: tuple[Value, ...]
    length_ns: int
    """The end of the series; 0 for a single value that is valid for ever."""

    def steps(self, *, wrap: bool, scale: float = 1.0, from_ns: int = 0) -> Iterator[tuple[int, Value]]:
        """Yield (wait_ns, value), the first wait being 0; without end where the series wraps.

        Args:
            wrap: start again at the end of the series.
            scale: the factor by which time is stretched.
            from_ns: the point of the recording at which to start.
        """
        times, length = self.times_ns, self.length_ns
        wrap = wrap and length > 0
        now = from_ns % length if wrap else min(from_ns, times[-1])
        index, lap = bisect_right(times, now) - 1, 0
        before = _scale(now, scale)
        yield 0, self.values[index]
        while True:
            index += 1
            if index == len(times):
                if not wrap:
                    return
                index, lap = 0, lap + 1
            at = _scale(lap * length + times[index], scale)
            yield at - before, self.values[index]
            before = at


@dataclass(frozen=True)
class TraceColumn:
    """The series of one column of a trace."""

    series: Mapping[str, Series[Any]]
    """The series of each device that has a value, in the order of the ids."""
    without: tuple[str, ...]
    """The devices without a value, in the order of the ids."""


def memory_changes(series: Series[int], trace: Replay, from_ns: int = 0) -> Changes:
    """Return the (wait_ns, free_bytes) of a device that plays *series*."""
    return series.steps(wrap=trace.on_end == "wrap", scale=trace.scale, from_ns=from_ns)


def read_trace_column(path: Path, column: str, kind: str, without_data: str = "leave_out") -> TraceColumn:
    """Return the series of *column* of the trace at *path*, and the devices without a value in it.

    Args:
        path: the trace.
        column: the name of the column.
        kind: the kind of the column.
        without_data: `refuse` or `leave_out`, for devices without a value in the column.

    Raises:
        InputError: it cannot be read, lacks a column, or breaks a rule of the format.
    """
    columns = read_columns(path, {"device_id": "text", "t_s": "seconds", column: kind})
    for name in ("t_s", column):
        if name not in columns:
            raise missing_column(columns, name)
    rows_of = device_rows(columns)
    values = columns.table[column].combine_chunks()
    known = np.asarray(values.is_valid())
    listed = values.to_pylist()
    series = {
        device: series_of_rows(times, known[rows], [listed[row] for row in rows[known[rows]].tolist()])
        for device, (rows, times) in rows_of.items()
        if known[rows].any()
    }
    without = tuple(device for device in rows_of if device not in series)
    if without and (without_data == "refuse" or not series):
        raise _without_data(path, column, without, len(rows_of))
    return TraceColumn(series, without)


def _without_data(path: Path, column: str, without: tuple[str, ...], count: int) -> InputError:
    advice = "; `without_data: leave_out` leaves them out" if len(without) < count else ""
    of_all = f" ({len(without)} of {count} devices have none{advice})" if count > 1 else ""
    where = f"{printable(path)}: device {without[0]!r}"
    return InputError(f"{where}: {column} must have a value in some row{of_all}")


def device_rows(columns: Columns) -> Mapping[str, tuple[Int64Array, Int64Array]]:
    """Return, by device id, the numbers of its rows in the file and their times in ns from its first row.

    Raises:
        InputError: the trace is empty, or the time of a device is unknown or falls.
    """
    path = columns.path
    seconds = columns.table["t_s"].to_numpy()
    if not len(seconds):
        raise InputError(f"{printable(path)}: the trace is empty")
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
    far = np.flatnonzero(own - own[0] >= MOST_SPAN_S)
    if len(far):
        row = int(rows[int(far[0])]) + 1
        refuse(
            path, row, "t_s", float(own[far[0]]), f"be less than {MOST_SPAN_S} s after the first, {own[0]:g}"
        )
    times: Int64Array = np.rint((own - own[0]) * NS_PER_S).astype(np.int64)
    return times


def series_of_rows(times: Int64Array, known: NDArray[np.bool_], values: list[Any]) -> Series[Any]:
    """Return the series of the *known* rows: the first value from the start, the last of equal times."""
    own = times[known]
    last = np.append(np.diff(own) > 0, True)
    starts = own[last].tolist()
    kept = [value for value, is_last in zip(values, last.tolist(), strict=True) if is_last]
    starts[0] = 0
    # A last row without a value marks the end; otherwise the last value lasts as long as the one before it.
    over = int(times[-1])
    if over == starts[-1] and len(starts) > 1:
        over += starts[-1] - starts[-2]
    return Series(tuple(starts), tuple(kept), over)


def _scale(span_ns: int, scale: float) -> int:
    return span_ns if scale == 1 else round(span_ns * scale)
