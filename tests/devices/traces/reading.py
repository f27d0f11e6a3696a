"""Reads the series of a trace, as tests need them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.memory import Replay
from devices.traces.availability import Availability
from devices.traces.series import Series, read_trace_column


def read_memory(trace: Replay, path: Path) -> tuple[Series[int], ...]:
    """Return the series of free memory in the file at *path*, by device id."""
    return tuple(read_series(path, trace.column, "whole", trace.without_data).values())


def read_availability(trace: Availability, path: Path) -> tuple[Series[bool], ...]:
    """Return the online states in the file at *path*, by device id."""
    return tuple(read_series(path, trace.column, "flag", trace.without_data).values())


def read_series(
    path: Path, column: str, kind: str, without_data: str = "refuse"
) -> Mapping[str, Series[Any]]:
    """Return the series of *column* of the trace at *path*, by device id, in the order of the ids."""
    return read_trace_column(path, column, kind, without_data).series
