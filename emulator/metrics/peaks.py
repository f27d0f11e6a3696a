"""Functions for gauges: peaks of a run that are not sums over rows."""

import numpy as np

from emulator.metrics.row_index import BoolArray, Columns, IntArray
from wire.units import NS_PER_S


def peak_rate(columns: Columns, seconds: int, of_bytes: bool) -> float:
    """Return the largest rate in any span of *seconds*, in bytes or rows per second.

    Args:
        columns: ``t_ns``, rising, and ``bytes``.
        seconds: length of the span, which may begin at any moment.
        of_bytes: True to sum bytes, False to count rows.
    """
    t_ns = columns["t_ns"]
    if not len(t_ns):
        return 0.0
    values = columns["bytes"] if of_bytes else np.ones(len(t_ns), dtype=np.int64)
    done = np.concatenate([[0], np.cumsum(values)])
    ends = np.searchsorted(t_ns, t_ns + seconds * NS_PER_S, side="left")
    return float((done[ends] - done[:-1]).max()) / seconds


def all_over_budget_seconds(columns: Columns) -> float:
    """Return for how long all started devices were over their budgets at once, in seconds.

    Args:
        columns: pieces of states by device and time: ``device``, ``start``, ``end``, ``over``.
    """
    over = columns["over"]
    if not over.any():
        return 0.0
    started = _edges(columns, np.ones(len(over), dtype=np.bool_))
    above = _edges(columns, over)
    times, index = np.unique(np.concatenate([started[0], above[0]]), return_inverse=True)
    count = len(started[0])
    running = np.cumsum(np.bincount(index[:count], started[1], len(times)))
    exceeding = np.cumsum(np.bincount(index[count:], above[1], len(times)))
    all_over = (running > 0.5) & (np.abs(running - exceeding) < 0.5)
    return float(np.diff(times)[all_over[:-1]].sum()) / NS_PER_S


def _edges(columns: Columns, mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the start (+1) and the end (-1) of each run of consecutive pieces for which *mask* holds."""
    device, start, end = columns["device"], columns["start"], columns["end"]
    joined = np.zeros(len(mask) + 1, dtype=np.bool_)
    joined[1:-1] = (device[1:] == device[:-1]) & (start[1:] == end[:-1]) & mask[1:] & mask[:-1]
    begins, ends = start[mask & ~joined[:-1]], end[mask & ~joined[1:]]
    ones = np.ones(len(begins), dtype=np.int64)
    return np.concatenate([begins, ends]), np.concatenate([ones, -ones])


def largest_excess(columns: Columns) -> int | None:
    """Return the largest excess over a budget, in bytes; None if there are no rows."""
    return max(int(columns["excess"].max()), 0) if len(columns["excess"]) else None
