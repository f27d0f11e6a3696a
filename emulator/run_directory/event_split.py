"""Splits event logs that several devices wrote together into ranges of devices, in little memory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.event_log import COLUMNS, row_type
from devices.simulated.roster import RANGE_DEVICES, DeviceRange, split_ranges
from emulator.run_directory.event_log import read_draft_rows
from emulator.run_directory.event_parts import SUFFIX, Leaf, RangeWriter, decode_part, pack_rows
from emulator.run_directory.event_reader import read_part

MOST_BYTES = 2**27
"""Rows in memory; beyond it, rows wait in a file for each table and range."""

TableRows = tuple[str, NDArray[Any]]
"""Packed rows of a table, with its name."""


def draft_rows(folders: Iterable[Path]) -> Iterator[TableRows]:
    """Yield the rows of the drafts in *folders*.

    Raises:
        InputError: a draft is damaged.
    """
    for folder in folders:
        for name in COLUMNS:
            for rows in read_draft_rows(folder, name):
                yield name, rows


def part_rows(folder: Path) -> Iterator[TableRows]:
    """Yield the rows of the parts in *folder*, of a run that did not end.

    Raises:
        InputError: a part is damaged.
    """
    for name in COLUMNS:
        for path in sorted((folder / name).glob(f"*{SUFFIX}")):
            yield name, pack_rows(name, decode_part(name, read_part(path, name, None)))


def split_rows(rows: Iterable[TableRows], devices: int, folder: Path, *, wall: bool) -> list[Leaf]:
    """Write *rows* as the parts of all ranges of a fleet, and return the leaves in order.

    Args:
        rows: in any order.
        devices: number of devices of the fleet.
        folder: of the events.
        wall: True to keep the column ``wall_s``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".split-", dir=folder.parent) as work:
        sorter = _RangeSorter(Path(work))
        for name, batch in rows:
            sorter.add(name, batch)
        return [sorter.write(each, folder, wall=wall) for each in split_ranges(devices)]


class _RangeSorter:
    """Rows by table and range: in memory, and in files when they are many."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._waiting: dict[tuple[int, str], list[NDArray[Any]]] = defaultdict(list)
        self._bytes = 0

    def add(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows of any devices."""
        index = rows["device"] // RANGE_DEVICES
        for number in np.unique(index).tolist():
            self._waiting[number, name].append(rows[index == number])
        self._bytes += rows.nbytes
        if self._bytes > MOST_BYTES:
            self._spill()

    def _spill(self) -> None:
        for key, batches in self._waiting.items():
            with self._file(*key).open("ab") as file:
                for batch in batches:
                    file.write(batch.tobytes())
        self._waiting.clear()
        self._bytes = 0

    def _file(self, index: int, name: str) -> Path:
        return self._work / f"{index}-{name}"

    def write(self, devices: DeviceRange, folder: Path, *, wall: bool) -> Leaf:
        """Write the parts of a range."""
        writer = RangeWriter(folder, devices, wall=wall)
        for name in COLUMNS:
            batches = self._waiting.pop((devices.index, name), [])
            file = self._file(devices.index, name)
            if file.exists():
                batches.insert(0, np.fromfile(file, dtype=row_type(COLUMNS[name])))
                file.unlink()
            if batches:
                writer.add({name: np.concatenate(batches)})
        return writer.close()


def renumber(rows: Iterable[TableRows], numbers: Sequence[int]) -> Iterator[TableRows]:
    """Yield *rows* with devices numbered by their index in *numbers*, which is sorted."""
    known = np.array(numbers)
    for name, batch in rows:
        renumbered = batch.copy()
        renumbered["device"] = np.searchsorted(known, batch["device"])
        yield name, renumbered
