"""Reads the table of devices of a run: the devices of a range, or a column of all."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from devices.simulated.roster import DeviceRange, split_ranges
from emulator.run_directory.column_types import column_types
from emulator.run_directory.layout import DEVICES, SUMMARY
from emulator.run_directory.manifest import MANIFEST, read_table_entry
from emulator.run_directory.run_tables import TableFile, check_columns, damaged

_PAIRS: Final = (("network_ns", "networks"), ("new_user_ns", "new_user_groups"))
"""Columns whose lists have equal lengths: times of changes, and values after them."""


class DeviceReader:
    """The devices of a run; their number is their row in its table.

    Args:
        run: a run directory.
        columns: names of columns that the table must have, besides ``device``.

    Raises:
        InputError: the table is missing, was changed, or is damaged; reading damaged rows raises the same.
    """

    def __init__(self, run: Path, columns: Iterable[str] = ()) -> None:
        self._path = run / DEVICES
        self._file = TableFile(self._path, read_table_entry(run / MANIFEST, DEVICES))
        missing = {"device", *columns} - set(self._file.columns)
        if missing:
            raise damaged(self._path, f"no column {', '.join(sorted(missing))}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ranges(self) -> list[DeviceRange]:
        """All ranges of devices, in order."""
        return split_ranges(len(self))

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """The ids of all devices, by number."""
        return self.column("device")

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of all devices."""
        table = self._file.read(columns=[name])
        check_columns(self._path, table, [name], column_types(DEVICES))
        return table[name]

    def numbers(self, name: str) -> NDArray[np.int64]:
        """Return a column of whole numbers of all devices."""
        numbers: NDArray[np.int64] = self.column(name).to_numpy()
        return numbers.astype(np.int64)

    def iterate_ids(self) -> Iterator[str]:
        """Yield the ids of all devices, by number."""
        for devices in self.ranges:
            yield from self.ids.slice(devices.first, len(devices)).to_pylist()

    def read(self, devices: DeviceRange) -> pa.Table:
        """Return the rows of a range of devices."""
        table = self._file.read(devices.first, devices.stop)
        check_columns(self._path, table, (), column_types(DEVICES))
        for times, values in _PAIRS:
            if {times, values} <= set(table.column_names):
                one, other = (pc.list_value_length(table[name]) for name in (times, values))
                if not pc.all(pc.equal(one, other), min_count=0).as_py():
                    raise damaged(self._path, f"{times} and {values} must be of one length")
        return table

    def check(self, devices: object) -> None:
        """Check that the table has so many *devices*, each once.

        Raises:
            InputError: it has not.
        """
        count = len(pc.unique(self.ids))
        if count != len(self):
            raise damaged(self._path, f"{len(self) - count:,} devices are there twice")
        if count != devices:
            raise damaged(self._path, f"has {count:,} devices, but {SUMMARY} says {devices:,}")


def find_numbers(ids: pa.ChunkedArray, others: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return for each of *ids* the number of the device with that id among *others*; -1: there is none."""
    numbers: NDArray[np.int64] = pc.index_in(ids, value_set=others).fill_null(-1).to_numpy()
    return numbers.astype(np.int64)
