"""Drops of quality: when the quality of a device, or the fleet's mean, fell, and when it recovered."""

import numpy as np

from emulator.metrics.row_index import Columns, FloatArray, IntArray

RECOVERED_SHARE = 0.95
"""Quality has recovered when it is this share of the quality before it fell."""


def find_recoveries(states: Columns) -> tuple[IntArray, IntArray]:
    """Return the states in which a device fell below 95 % of its quality, and the time until it recovered.

    Quality is NDCG@10 as a share of that of the full table, so that a new user is compared with what is
    possible for that user. A drop from which the device did not recover before the end is left out.

    Args:
        states: by device and time.

    Returns:
        Indices of states, and nanoseconds.
    """
    full, ndcg = states["full_ndcg_at_10"], states["ndcg_at_10"]
    quality = np.zeros(len(full))
    np.divide(ndcg, full, out=quality, where=full > 0)
    device, t_ns = states["device"], states["t_ns"]
    fell = np.flatnonzero((device[1:] == device[:-1]) & (quality[1:] < RECOVERED_SHARE * quality[:-1])) + 1
    starts: list[int] = []
    spans: list[int] = []
    ends = np.append(np.flatnonzero(np.diff(device)) + 1, len(device))
    last = ends[np.searchsorted(ends, fell, side="right")].tolist() if len(fell) else []
    values, times = quality.tolist(), t_ns.tolist()
    after = -1
    for at, end in zip(fell.tolist(), last, strict=True):
        if at < after:
            continue  # part of an earlier drop
        needed = RECOVERED_SHARE * values[at - 1]
        after = at + 1
        while after < end and values[after] < needed:
            after += 1
        if after < end:
            starts.append(at)
            spans.append(times[after] - times[at])
    return np.array(starts, dtype=np.int64), np.array(spans, dtype=np.int64)


def mean_quality_over_time(states: Columns) -> tuple[IntArray, FloatArray]:
    """Return the times at which the mean NDCG@10 of the started devices changes, and the new means.

    Args:
        states: by device and time.
    """
    device, t_ns, ndcg = states["device"], states["t_ns"], states["ndcg_at_10"]
    first = np.diff(device, prepend=-1) != 0
    change = np.diff(ndcg, prepend=0.0)
    change[first] = ndcg[first]
    order = np.argsort(t_ns, kind="stable")
    total, started = np.cumsum(change[order]), np.cumsum(first[order])
    times = t_ns[order]
    last = np.append(times[1:] != times[:-1], True)[: len(times)]
    # Rounded, so that errors of the sums do not make a mean differ from an equal one.
    return times[last], np.round(total[last] / started[last], 12)
