"""Sets of moments as intervals, which can be united."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emulator.metrics.row_index import IntArray
from wire.units import NS_PER_S


@dataclass(frozen=True, eq=False)
class Intervals:
    """Disjoint intervals in rising order, each with its start and without its end."""

    start: IntArray
    end: IntArray

    @classmethod
    def from_sorted(cls, start: IntArray, end: IntArray) -> "Intervals":
        """Return the moments in any of some intervals, which are sorted by *start*."""
        if not len(start):
            return cls(start, end)
        reached = np.maximum.accumulate(end)
        first = np.append(True, start[1:] > reached[:-1])
        last = np.append(first[1:], True)
        return cls(start[first], reached[last])

    def union(self, other: "Intervals") -> "Intervals":
        """Return the moments in either."""
        start = np.concatenate([self.start, other.start])
        order = np.argsort(start, kind="stable")
        return Intervals.from_sorted(start[order], np.concatenate([self.end, other.end])[order])

    @property
    def length_ns(self) -> int:
        """The length of all intervals together."""
        return int((self.end - self.start).sum())

    def seconds_without(self, part: "Intervals") -> float:
        """Return the length of these intervals without *part*, which is inside them, in seconds."""
        return (self.length_ns - part.length_ns) / NS_PER_S


def intervals_by_code(start: IntArray, end: IntArray, codes: IntArray, count: int) -> Sequence[Intervals]:
    """Return the moments in the intervals of each code from 0 to *count* - 1.

    Args:
        start: of each interval, rising.
        end: of each interval.
        codes: of each interval; others are left out.
        count: number of codes.
    """
    masks = (codes == code for code in range(count))
    return [Intervals.from_sorted(start[mask], end[mask]) for mask in masks]
