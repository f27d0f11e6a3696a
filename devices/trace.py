"""Memory traces: reading recorded series of free memory and replaying them.

pyarrow is loaded when a trace is read: checking a scenario needs none of it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devices.memory import Changes, Replay
from wire.errors import InputError
from wire.units import NS_PER_S


@dataclass(frozen=True)
class Series:
    """Free memory of one recorded device; each value holds until the next time."""

    times_ns: tuple[int, ...]
    """From 0, rising."""
    free_bytes: tuple[int, ...]

    def changes(self, on_end: str) -> Changes:
        """Yield (wait_ns, free_bytes); without end where the series wraps."""
        previous = 0
        while True:
            for at, free in zip(self.times_ns, self.free_bytes, strict=True):
                yield at - previous, free
                previous = at
            if on_end == "hold" or len(self.times_ns) == 1:
                return
            # The last value holds as long as the one before it did, then the series starts again.
            previous = -(self.times_ns[-1] - self.times_ns[-2])


def read_trace(trace: Replay, path: Path) -> tuple[Series, ...]:
    """Return the series in the file at *path*, by device id.

    Raises:
        InputError: it cannot be read, lacks a column, or its times fall.
    """
    columns = _read_columns(path)
    for name in ("t_s", trace.column):
        if name not in columns:
            raise InputError(f"{path}: column {name!r} is missing; there are {', '.join(columns)}")
    if not columns["t_s"]:
        raise InputError(f"{path}: the trace is empty")
    rows_of: dict[str, list[int]] = {}
    for row, device in enumerate(columns.get("device_id", [""] * len(columns["t_s"]))):
        rows_of.setdefault(str(device), []).append(row)
    return tuple(
        _series(f"{path}: device {device!r}" if device else f"{path}", columns, trace.column, rows)
        for device, rows in sorted(rows_of.items())
    )


def _read_columns(path: Path) -> dict[str, list[object]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such trace file") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a trace: {error}") from None
    columns: dict[str, list[object]] = table.to_pydict()
    return columns


def _series(where: str, columns: dict[str, list[object]], column: str, rows: list[int]) -> Series:
    times, free = (_numbers(where, name, [columns[name][row] for row in rows]) for name in ("t_s", column))
    if (free < 0).any() or (free != np.floor(free)).any():
        raise InputError(f"{where}: {column} must be whole bytes, not negative")
    times_ns = np.rint((times - times[0]) * NS_PER_S).astype(np.int64)
    falls = np.flatnonzero(np.diff(times_ns) <= 0)
    if len(falls):
        raise InputError(f"{where}: t_s(={times[falls[0] + 1]:g}) must rise after {times[falls[0]]:g}")
    return Series(tuple(times_ns.tolist()), tuple(free.astype(np.int64).tolist()))


def _numbers(where: str, name: str, values: list[object]) -> NDArray[np.float64]:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: {name} must be a number in every row")
    return numbers
