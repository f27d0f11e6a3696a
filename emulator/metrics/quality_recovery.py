"""Drops of quality: when the quality of a device, or the fleet's mean, fell, and when it recovered."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from emulator.metrics.row_index import Columns, FloatArray, IntArray
from emulator.metrics.seconds import Pages, add_pages, running_totals, sum_by_second
from wire.units import NS_PER_S

QUALITY_BITS = 38
"""Binary places of NDCG@10 in sums by second."""

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


@dataclass(frozen=True, eq=False)
class QualitySums:
    """Changes of the sum of NDCG@10 over all started devices, and of their number, by clock second."""

    quality: Pages
    """In units of 2^-38, so that sums over sixteen million devices are whole numbers of 63 bits."""
    started: Pages

    @classmethod
    def from_states(cls, states: Columns) -> Self:
        """Return the changes of *states*, which are sorted by device and time."""
        quality = np.rint(states["ndcg_at_10"] * float(1 << QUALITY_BITS)).astype(np.int64)
        first = np.diff(states["device"], prepend=-1) != 0
        change = np.where(first, quality, np.diff(quality, prepend=0))
        return cls(sum_by_second(states["t_ns"], change), sum_by_second(states["t_ns"], first))

    def merged(self, other: Self) -> Self:
        """Return the changes of both."""
        return type(self)(add_pages(self.quality, other.quality), add_pages(self.started, other.started))

    def means(self) -> tuple[IntArray, FloatArray]:
        """Return clock seconds, in nanoseconds, and the mean NDCG@10 of the started devices at their ends.

        Seconds in which the mean does not change are left out.
        """
        seconds, total = running_totals(self.quality)
        _, started = running_totals(self.started)
        there = started > 0
        mean = total[there] / started[there] / float(1 << QUALITY_BITS)
        begins = seconds[there] * NS_PER_S
        changed = np.append(True, mean[1:] != mean[:-1])[: len(mean)]
        return begins[changed], mean[changed]
