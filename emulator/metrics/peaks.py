"""Gauges: figures of a run that are no sums."""

import numpy as np

from emulator.metrics.frame import BoolArray, Columns, IntArray
from wire.units import NS_PER_S


def peak_rate(columns: Columns, seconds: int, of_bytes: bool) -> float:
    """Return the most bytes, or rows, in any span of *seconds*, per second; *columns* are in time order."""
    t_ns = columns["t_ns"]
    if not len(t_ns):
        return 0.0
    values = columns["bytes"] if of_bytes else np.ones(len(t_ns), dtype=np.int64)
    done = np.concatenate([[0], np.cumsum(values)])
    ends = np.searchsorted(t_ns, t_ns + seconds * NS_PER_S, side="left")
    return float((done[ends] - done[:-1]).max()) / seconds


def all_over_budget_seconds(columns: Columns) -> float:
    """Return how long every device that was there was over its budget, in seconds.

    Args:
        columns: pieces of states by device and time: ``device``, ``start``, ``end``, ``over``.
    """
    over = columns["over"]
    if not over.any():
        return 0.0
    there = _edges(columns, np.ones(len(over), dtype=np.bool_))
    above = _edges(columns, over)
    times, place = np.unique(np.concatenate([there[0], above[0]]), return_inverse=True)
    count = len(there[0])
    present = np.cumsum(np.bincount(place[:count], there[1], len(times)))
    exceeding = np.cumsum(np.bincount(place[count:], above[1], len(times)))
    all_over = (present > 0.5) & (np.abs(present - exceeding) < 0.5)
    return float(np.diff(times)[all_over[:-1]].sum()) / NS_PER_S


def _edges(columns: Columns, mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Return when each stretch of pieces for which *mask* holds begins, +1, and ends, -1."""
    device, start, end = columns["device"], columns["start"], columns["end"]
    joined = np.zeros(len(mask) + 1, dtype=np.bool_)
    joined[1:-1] = (device[1:] == device[:-1]) & (start[1:] == end[:-1]) & mask[1:] & mask[:-1]
    begins, ends = start[mask & ~joined[:-1]], end[mask & ~joined[1:]]
    ones = np.ones(len(begins), dtype=np.int64)
    return np.concatenate([begins, ends]), np.concatenate([ones, -ones])


def largest_excess(columns: Columns) -> int | None:
    """Return the most that was held in excess, in bytes; None if nobody was there."""
    return max(int(columns["excess"].max()), 0) if len(columns["excess"]) else None
