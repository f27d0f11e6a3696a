"""Reads the event log of a run directory: range by range, or all of it as tables."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from devices.event_log import COLUMNS, MOMENTS, WALL
from devices.simulated.roster import DeviceRange
from emulator.run_directory.column_types import part_types
from emulator.run_directory.device_reader import DeviceReader
from emulator.run_directory.event_hash import log_sha256, range_sha256
from emulator.run_directory.event_parts import SUFFIX, Columns, decode_part, part_path, part_schema
from emulator.run_directory.layout import EVENTS
from emulator.run_directory.manifest import MANIFEST, FileEntry, read_entries
from emulator.run_directory.run_tables import check_columns, damaged, read_checked, with_descriptions
from scenarios.catalogue.event_columns import ROW_COLUMNS
from wire.errors import InputError

_ORDER: Final = [("t_ns", "ascending"), ("number", "ascending"), ("order", "ascending")]


class EventReader:
    """The event log of a finished run.

    Args:
        run: a run directory.

    Raises:
        InputError: an older version wrote it, or it is damaged; reading a damaged part raises the same.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folder = run / EVENTS
        self._entries = read_entries(run / MANIFEST)
        old = [f"{EVENTS}/{name}{SUFFIX}" for name in COLUMNS]
        if any(name in self._entries if self._entries else (run / name).exists() for name in old):
            raise InputError(
                f"{self._folder}: an older version of peelfleet wrote this run, with one file for each "
                "table: run its scenario again"
            )

    @cached_property
    def devices(self) -> DeviceReader:
        """The reader of the devices."""
        return DeviceReader(self._run)

    @property
    def ranges(self) -> list[DeviceRange]:
        """All ranges of devices, in order."""
        return self.devices.ranges

    def read_range(self, devices: DeviceRange, names: Iterable[str] = COLUMNS) -> dict[str, Columns]:
        """Return the columns of the tables called *names* for a range, by device, time and order.

        A device is its number, a label its index.

        Raises:
            InputError: a part is damaged.
        """
        return {name: self._read(name, devices) for name in names}

    def read_ranges(self) -> Iterator[dict[str, Columns]]:
        """Yield the columns of each table for one range of devices after the other."""
        for devices in self.ranges:
            yield self.read_range(devices)

    def sha256(self) -> str:
        """Return the hash of the event log, computed from the parts."""
        return log_sha256(map(range_sha256, self.read_ranges()))

    def _read(self, name: str, devices: DeviceRange) -> Columns:
        path = self._folder / part_path(name, devices)
        entry = None
        if self._entries is not None:
            entry = self._entries.get(f"{EVENTS}/{part_path(name, devices)}")
            there = entry is not None
        else:
            there = path.exists() or path.is_symlink()
        if not there:
            return _no_rows(name)
        columns = decode_part(name, read_part(path, name, entry))
        _check(path, name, columns, devices)
        return columns


def read_part(path: Path, name: str, entry: FileEntry | None) -> pa.Table:
    """Return a part of table *name* as it is in the file; *entry* is that of the manifest.

    Raises:
        InputError: it is damaged.
    """
    table, types = read_checked(path, entry), part_types(name)
    check_columns(path, table, [column for column in types if column != WALL], types)
    return table


def _check(path: Path, name: str, columns: Columns, devices: DeviceRange) -> None:
    """Check that labels are known, and that rows are of these devices, in order."""
    for column, kind in COLUMNS[name].items():
        if not isinstance(kind, str) and (columns[column] < 0).any():
            raise damaged(path, f"{column} must be one of {', '.join(kind)}")
    numbers = columns["device"]
    wrong = numbers[(numbers < devices.first) | (numbers >= devices.stop)]
    if len(wrong):
        raise damaged(path, f"device(={wrong[0]}) must be from {devices.first} to {devices.stop - 1}")
    if (np.diff(numbers) < 0).any():
        raise damaged(path, "its rows must be in the order of devices")


def read_tables(folder: Path, names: Iterable[str] = COLUMNS) -> dict[str, pa.Table]:
    """Return tables of a run's ``events`` folder by name, in the order of time, with ids and labels.

    All their rows are in memory at once: `EventReader` yields a range after the other.

    Raises:
        InputError: one is missing or damaged.
    """
    reader = EventReader(folder.parent)
    ids = reader.devices.ids
    parts = {name: [_with_labels(name, _no_rows(name), ids)] for name in names}
    for devices in reader.devices.ranges:
        for name, columns in reader.read_range(devices, parts).items():
            parts[name].append(_with_labels(name, columns, ids))
    return {name: _in_order(_join(tables)) for name, tables in parts.items()}


def labelled_table(name: str, columns: Columns, ids: pa.ChunkedArray) -> pa.Table:
    """Return columns of table *name* as a table with ids and labels, in the order of time.

    Args:
        name: of the table.
        columns: as `EventReader.read_range` returns them.
        ids: of all devices of the run, by number.
    """
    return _in_order(_with_labels(name, columns, ids))


def _in_order(table: pa.Table) -> pa.Table:
    return table.sort_by(_ORDER).drop_columns(["number"])


def read_described_table(run: Path, name: str) -> pa.Table:
    """Return an event table of a *run* for analysis, with a description and a unit for each column.

    A moment that did not come is null.

    Raises:
        InputError: the run has no such table, or it is damaged.
    """
    if name not in COLUMNS:
        raise InputError(f"events(={name!r}) must be one of {', '.join(COLUMNS)}")
    table = read_tables(run / EVENTS, [name])[name]
    for moment in MOMENTS:
        if moment in table.column_names:
            never = pc.equal(table[moment], -1)
            known = pc.if_else(never, pa.scalar(None, pa.int64()), table[moment])
            table = table.set_column(table.column_names.index(moment), moment, known)
    return with_descriptions(table, ROW_COLUMNS[name])


def _join(tables: list[pa.Table]) -> pa.Table:
    filled = [
        table for table in tables if table.num_rows
    ]  # these may have a wall clock, empty ones have none
    return pa.concat_tables(filled or tables[:1]).combine_chunks()


def _no_rows(name: str) -> Columns:
    return decode_part(name, part_schema(name, wall=False).empty_table())


def _with_labels(name: str, columns: Columns, ids: pa.ChunkedArray) -> pa.Table:
    """Return columns as a table, with the number of the device besides its id."""
    arrays = {}
    for column, values in columns.items():
        kind = COLUMNS[name][column]
        if isinstance(kind, str):
            arrays[column] = pa.array(values)
        else:
            arrays[column] = pc.take(pa.array(kind, pa.string()), pa.array(values))
    arrays["device"] = pc.take(ids, pa.array(columns["device"]))
    return pa.table({**arrays, "number": columns["device"]})
