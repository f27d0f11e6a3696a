"""Memory traces: reading recorded series of free memory and replaying them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

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
    table = _read_table(path)
    for column in ("t_s", trace.column):
        if column not in table.column_names:
            raise InputError(
                f"{path}: column {column!r} is missing; there are {', '.join(table.column_names)}"
            )
    if table.num_rows == 0:
        raise InputError(f"{path}: the trace is empty")
    if "device_id" not in table.column_names:
        return (_series(path, "", table, trace.column),)
    devices = sorted(pc.unique(table["device_id"].cast(pa.string())).to_pylist())
    chosen = table["device_id"].cast(pa.string())
    return tuple(_series(path, name, table.filter(pc.equal(chosen, name)), trace.column) for name in devices)


def _read_table(path: Path) -> pa.Table:
    try:
        return pa.csv.read_csv(path) if path.suffix == ".csv" else pa.parquet.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such trace file") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as a trace: {error}") from None


def _series(path: Path, device: str, table: pa.Table, column: str) -> Series:
    where = f"{path}: device {device!r}" if device else f"{path}"
    try:
        times = table["t_s"].cast(pa.float64()).to_numpy()
        free = table[column].cast(pa.int64()).to_numpy()
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{where}: t_s must be numbers and {column} whole bytes: {error}") from None
    if not np.isfinite(times).all() or table[column].null_count or (np.asarray(free) < 0).any():
        raise InputError(f"{where}: t_s and {column} must be present and not negative in every row")
    times_ns = np.rint((times - times[0]) * NS_PER_S).astype(np.int64)
    falls = np.flatnonzero(np.diff(times_ns) <= 0)
    if len(falls):
        raise InputError(f"{where}: t_s(={times[falls[0] + 1]}) must rise after {times[falls[0]]}")
    return Series(tuple(times_ns.tolist()), tuple(np.asarray(free).tolist()))
