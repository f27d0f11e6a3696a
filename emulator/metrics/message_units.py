"""Messages in the units in which brokers bill them, by group of the fleet."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from emulator.metrics.device_table import DeviceTable
from emulator.metrics.row_index import BoolArray, Columns, IntArray

Counts = Mapping[str, int]
"""Numbers by group."""


@dataclass(frozen=True)
class MessageUnits:
    """Messages of devices; a message larger than the unit counts several times."""

    down: Counts
    """Parts of updates; the parts of an update are taken to be of one size."""
    up: Counts
    """Reports, messages of quality and status, and a request for each connection."""
    confirmations: Counts
    """Confirmations of parts by devices, one each."""

    @classmethod
    def from_rows(cls, tables: Mapping[str, Columns], devices: DeviceTable, unit_bytes: int) -> Self:
        """Return the messages of a range of devices."""
        updates = tables["update"]
        parts = updates["parts"].astype(np.int64)
        sizes = -(-updates["update_bytes"].astype(np.int64) // np.maximum(parts, 1))
        up = [(updates["device"], _pieces(updates["report_bytes"], unit_bytes))]
        for name in ("quality", "connection"):
            rows = tables[name]
            sent: BoolArray = np.asarray(rows["message_bytes"] > 0)
            requests = 0
            if name == "connection":
                sent = sent & rows["online"].astype(np.bool_)  # the broker sends a will
                requests = 1
            up.append((rows["device"][sent], _pieces(rows["message_bytes"][sent], unit_bytes) + requests))
        return cls(
            _by_group(devices, updates["device"], parts * _pieces(sizes, unit_bytes)),
            _by_group(devices, *(np.concatenate(each) for each in zip(*up, strict=True))),
            _by_group(devices, updates["device"], parts),
        )

    def merged(self, other: Self) -> Self:
        """Return the messages of both."""
        pairs = ((self.down, other.down), (self.up, other.up), (self.confirmations, other.confirmations))
        return type(self)(*(_added(*pair) for pair in pairs))

    def scaled(self, weight: Fraction) -> Self:
        """Return the messages of devices that stand for *weight* devices each."""
        parts = (self.down, self.up, self.confirmations)
        return type(self)(*({name: round(count * weight) for name, count in part.items()} for part in parts))


def _pieces(sizes: IntArray, unit_bytes: int) -> IntArray:
    """Return the number of units of each message; a message without payload is one, too."""
    return np.maximum(-(-sizes.astype(np.int64) // unit_bytes), 1)


def _by_group(devices: DeviceTable, device: IntArray, counts: IntArray) -> Counts:
    groups = devices.dimensions["group"]
    sums = np.zeros(len(groups.values), dtype=np.int64)
    np.add.at(sums, groups.first[device], counts)
    return dict(zip(groups.values, sums.tolist(), strict=True))


def _added(first: Counts, second: Counts) -> Counts:
    return {name: first.get(name, 0) + second.get(name, 0) for name in sorted({*first, *second})}
