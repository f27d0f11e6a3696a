"""Rows of a table by device and time: looking them up, and how long each state of a device lasted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wire.units import NS_PER_S

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Columns = Mapping[str, NDArray[Any]]
"""Columns of a table by name. Any: they differ in type."""


MOST_COUNTED = 2**18
"""Up to this number cells are counted in an array, not sorted."""


@dataclass(frozen=True, eq=False)
class RowIndex:
    """An index of rows that are sorted by device and time."""

    device: IntArray
    t_ns: IntArray

    @cached_property
    def _times(self) -> IntArray | None:
        """The distinct times, rising, if device and time do not fit into one number: ranks replace times."""
        if (int(self.device.max(initial=0)) + 1) * self._span < 2**62:
            return None
        times = np.sort(self.t_ns)
        return times[np.flatnonzero(np.diff(times, prepend=-1))]

    @cached_property
    def _span(self) -> int:
        return int(self.t_ns.max(initial=0)) + 3

    @cached_property
    def _keys(self) -> IntArray:
        return self._key(self.device, self.t_ns, "left")

    def last(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return for each device and time the device's last row at or before that time; -1: none."""
        row = np.searchsorted(self._keys, self._key(device, t_ns, "right"), side="right")
        return self._checked(device, row.astype(np.int64) - 1)

    def first(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return for each device and time the device's first row at or after that time; -1: none."""
        row = np.searchsorted(self._keys, self._key(device, t_ns, "left"), side="left")
        return self._checked(device, row.astype(np.int64))

    def between(self, device: IntArray, after: IntArray, before: IntArray) -> tuple[IntArray, IntArray]:
        """Return the first row of each device between two times, without them, and the one after the last."""
        first = np.searchsorted(self._keys, self._key(device, after, "right"), side="right")
        last = np.searchsorted(self._keys, self._key(device, before, "left"), side="left")
        return first.astype(np.int64), np.maximum(first, last).astype(np.int64)

    def _key(self, device: IntArray, t_ns: IntArray, side: Literal["left", "right"]) -> IntArray:
        """Return device and time as one number; a time between two times of the rows is rounded to *side*."""
        if self._times is None:
            return device * self._span + np.clip(t_ns, -1, self._span - 2) + 1
        rank = np.searchsorted(self._times, t_ns, side=side) - (side == "right")
        return device * (len(self._times) + 2) + rank + 1

    def _checked(self, device: IntArray, row: IntArray) -> IntArray:
        """Return *row*, with -1 for rows that do not exist or belong to another device."""
        if not len(self.device):
            return np.full(len(device), -1, dtype=np.int64)
        inside = np.clip(row, 0, len(self.device) - 1)
        return np.where((inside == row) & (self.device[inside] == device), row, -1)


def order_by_device(columns: Columns) -> IntArray:
    """Return the order of rows by device; the rows of one device are sorted by time already."""
    if is_by_device(columns):
        return np.arange(len(columns["device"]))
    return np.argsort(columns["device"], kind="stable")


def is_by_device(columns: Columns) -> bool:
    """Return True if rows are sorted by device."""
    device = columns["device"]
    return bool((device[1:] >= device[:-1]).all())


@dataclass(frozen=True)
class DeviceStates:
    """Rows of the quality table by device and time, with the time for which each state lasted.

    A state lasts until the next one of its device, or until the stop time. A later state lasts no time.
    """

    columns: Columns
    start_ns: IntArray
    end_ns: IntArray

    @classmethod
    def from_rows(cls, quality: Columns, stop_ns: int) -> "DeviceStates":
        """Return the states of the rows *quality*, which are sorted by time, in a run until *stop_ns*."""
        columns = quality
        if not is_by_device(quality):
            order = order_by_device(quality)
            columns = {name: values[order] for name, values in quality.items()}
        start = np.minimum(columns["t_ns"], stop_ns)
        end = np.full(len(start), stop_ns, dtype=np.int64)
        same = columns["device"][1:] == columns["device"][:-1]
        end[:-1][same] = start[1:][same]
        return cls(columns, start, end)

    @property
    def with_seconds(self) -> Columns:
        """The columns, and the column ``seconds``: how long each state lasted."""
        return {**self.columns, "seconds": (self.end_ns - self.start_ns) / NS_PER_S}


def find_distinct(numbers: IntArray, limit: int) -> tuple[IntArray, IntArray]:
    """Return the distinct *numbers* >= 0, rising, and the index of each number among them.

    Args:
        numbers: the numbers.
        limit: above all numbers; a small one makes this fast.
    """
    if limit > max(MOST_COUNTED, 4 * len(numbers)):
        used, of_number = np.unique(numbers, return_inverse=True)
        return used, of_number
    present = np.zeros(limit, dtype=np.bool_)
    present[numbers] = True
    used = np.flatnonzero(present)
    return used, (np.cumsum(present) - 1)[numbers]
