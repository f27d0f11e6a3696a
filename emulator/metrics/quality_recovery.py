"""Episodes of lower quality: when a device, or the mean of the fleet, fell, and when it was back."""

import numpy as np

from emulator.metrics.frame import Columns, FloatArray, IntArray

RECOVERED_SHARE = 0.95
"""Quality is back when it is this share of what it was before it fell."""


def find_recoveries(states: Columns) -> tuple[IntArray, IntArray]:
    """Return the states with which a device fell below 95 % of its quality, and how long it was back after.

    Quality is NDCG@10 as a share of that of the full table, so that a new user counts by what can be had. A
    fall that the run ends in is left out.

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
    busy = -1
    for at, end in zip(fell.tolist(), last, strict=True):
        if at < busy:
            continue  # within an earlier fall
        wanted = RECOVERED_SHARE * values[at - 1]
        busy = at + 1
        while busy < end and values[busy] < wanted:
            busy += 1
        if busy < end:
            starts.append(at)
            spans.append(times[busy] - times[at])
    return np.array(starts, dtype=np.int64), np.array(spans, dtype=np.int64)


def mean_quality_over_time(states: Columns) -> tuple[IntArray, FloatArray]:
    """Return the times at which the mean NDCG@10 of the devices that have started changes, and to what.

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
    # Sums of changes leave dust behind: without it, what is back where it was is equal to that.
    return times[last], np.round(total[last] / started[last], 12)
