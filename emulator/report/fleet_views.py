"""Sets of devices that a figure shows one at a time: the whole fleet, and each of the largest groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from emulator.report.keyed_sums import IntArray

FLEET = "whole fleet"
MAX_VIEWS = 16
"""Largest number of groups with a view of their own; tables list all groups."""


@dataclass(frozen=True)
class FleetViews:
    """The views of a run. Sums are kept by slot: one for each group with a view, and one for the others."""

    groups: Sequence[str]
    """The groups with a view of their own, by name; the slot of a group is its index."""

    @classmethod
    def from_sizes(cls, sizes: Mapping[str, int]) -> Self:
        """Return the views of a fleet, from the number of devices of each group."""
        if len(sizes) < 2:
            return cls(())
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:MAX_VIEWS]
        return cls(tuple(sorted(largest)))

    @property
    def slots(self) -> int:
        """The number of slots."""
        return len(self.groups) + 1

    def slots_of(self, groups: Sequence[str]) -> IntArray:
        """Return the slot of each device from the name of its group."""
        slot_of = {name: slot for slot, name in enumerate(self.groups)}
        others = len(self.groups)
        return np.array([slot_of.get(group, others) for group in groups], dtype=np.int64)

    def __iter__(self) -> Iterator[tuple[str, int | None]]:
        """Yield the name and the slot of each view; None: all slots."""
        yield FLEET, None
        yield from ((name, slot) for slot, name in enumerate(self.groups))


@dataclass(frozen=True)
class RangeDevices:
    """Devices of consecutive numbers, as figures need them."""

    first: int
    """The number of the first one."""
    names: Sequence[str]
    groups: Sequence[str]
    slots: IntArray
    """See `FleetViews.slots_of`."""
