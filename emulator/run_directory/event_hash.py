"""The hash of an event log: a hash of each range of devices, and one over these.

It is defined by the logical columns and by nothing that a file or a process adds. So it depends neither on
clock, workers and speed nor on how tables are encoded and compressed. docs/events.md has the definition.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.event_log import COLUMNS, WALL, Column
from devices.simulated.roster import RANGE_DEVICES


class RangeHash:
    """The hash of the rows of a range of devices, which may come in batches.

    Rows must be sorted by device, time and order.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._digests: dict[str, dict[str, Any]] = {}  # Any: hashlib's objects have no public type

    def add(self, name: str, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add the next rows of table *name*; labels are indices."""
        kinds = {column: kind for column, kind in COLUMNS[name].items() if column != WALL}
        if name not in self._digests:
            self._digests[name] = {column: hashlib.sha256() for column in kinds}
            self._rows[name] = 0
        self._rows[name] += len(columns["t_ns"])
        for column, kind in kinds.items():
            self._digests[name][column].update(np.ascontiguousarray(columns[column], dtype=numpy_type(kind)))

    def hexdigest(self) -> str:
        """Return the hash."""
        lines = []
        for name in sorted(self._digests):
            if self._rows[name]:
                lines.append(f"{name}:{self._rows[name]}\n")
                lines += [
                    f"{column} {digest.hexdigest()}\n" for column, digest in self._digests[name].items()
                ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def range_sha256(tables: Mapping[str, Mapping[str, NDArray[Any]]]) -> str:
    """Return the hash of the rows of one range: the columns of its *tables* by name."""
    digest = RangeHash()
    for name, columns in tables.items():
        digest.add(name, columns)
    return digest.hexdigest()


def numpy_type(kind: Column) -> str:
    """Return the type in which the values of a column are hashed: a label is a byte, its index."""
    return f"<{kind}" if isinstance(kind, str) else "u1"


def log_sha256(leaves: Iterable[str]) -> str:
    """Return the hash of an event log.

    Args:
        leaves: the hashes of all ranges of its devices, in order.
    """
    lines = [f"ranges of {RANGE_DEVICES} devices\n", *(f"{at} {leaf}\n" for at, leaf in enumerate(leaves))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
