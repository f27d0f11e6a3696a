"""The parts of an event log: a Parquet file for each table and range, ``events/update/00003.parquet``.

Rows of a part are sorted by device, time and order. Its columns are those of the table with two differences,
which make it small: a device is its number, and each moment of an exchange is a span from the one before it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from devices.event_log import COLUMNS, MOMENTS, WALL, Column, row_type
from devices.simulated.roster import DeviceRange
from emulator.run_directory.event_hash import RangeHash
from emulator.run_directory.manifest import CountedFile, FileEntry
from emulator.run_directory.run_tables import described
from scenarios.catalogue.event_columns import EVENT_COLUMNS, part_column, span_name

Columns = Mapping[str, NDArray[Any]]
"""The columns of a table by name; a device is its number, a label its index."""
OnColumns = Callable[[str, Columns], None]
"""Receives a table by name."""
Rows = NDArray[Any]  # Any: a structured type
"""Packed rows of a table, as `devices.event_log.EventTable.drain` returns them."""

ROW_GROUP_ROWS = 2**16
SUFFIX = ".parquet"
_UNFINISHED: Final = ".partial"
_DELTA: Final = frozenset({"t_ns", "device", "order", "free_bytes", "budget_bytes", "wanted_bytes"})
"""Columns of which nearly each value is new: differences take less than a dictionary."""
_ARROW: Final = {"i4": pa.int32(), "i8": pa.int64(), "f8": pa.float64(), "?": pa.bool_()}
_WORDS: Final = pa.dictionary(pa.int8(), pa.string())


@dataclass(frozen=True)
class Leaf:
    """The result of a range of devices: its hash, and its part files."""

    devices: DeviceRange
    sha256: str
    rows: Mapping[str, int]
    """Number of rows of each table that has any."""
    files: Mapping[str, FileEntry]
    """Entries for the manifest by the path inside the folder of events."""


def part_path(name: str, devices: DeviceRange) -> str:
    """Return the path of the part of table *name*, inside the folder of events."""
    return f"{name}/{devices.index:05d}{SUFFIX}"


class RangeWriter:
    """Writes the part files of one range of devices; they have their names when it is closed.

    Args:
        folder: of the events.
        devices: the range.
        wall: True to keep the column ``wall_s``.
    """

    def __init__(self, folder: Path, devices: DeviceRange, *, wall: bool) -> None:
        self._folder = folder
        self._devices = devices
        self._wall = wall
        self._hash = RangeHash()
        self._parts: dict[str, _Part] = {}

    def add(self, rows: Mapping[str, Rows], on_columns: OnColumns | None = None) -> None:
        """Add rows of further devices, whose numbers are above those of earlier calls, in any order.

        Args:
            rows: by table.
            on_columns: receives the columns of each table that has rows; these are sorted.
        """
        for name, packed in rows.items():
            if len(packed):
                ordered = sort_rows(packed)
                columns = {column: np.ascontiguousarray(ordered[column]) for column in COLUMNS[name]}
                self._hash.add(name, columns)
                self._part(name).add(columns)
                if on_columns is not None:
                    on_columns(name, columns)

    def close(self) -> Leaf:
        """Write what is left, give the files their names, and return the leaf."""
        entries = {name: part.close() for name, part in self._parts.items()}
        return Leaf(
            self._devices,
            self._hash.hexdigest(),
            {name: entry.rows or 0 for name, entry in entries.items()},
            {part_path(name, self._devices): entry for name, entry in entries.items()},
        )

    def abandon(self) -> None:
        """Keep of the rows of a simulation that failed as many as can be written, on a full disk, too."""
        for part in self._parts.values():
            part.abandon()

    def _part(self, name: str) -> "_Part":
        if name not in self._parts:
            path = self._folder / part_path(name, self._devices)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._parts[name] = _Part(path, name, wall=self._wall)
        return self._parts[name]


class _Part:
    """One part file that is being written."""

    def __init__(self, path: Path, name: str, *, wall: bool) -> None:
        self._path = path
        self._name = name
        self._schema = part_schema(name, wall=wall)
        self._file = CountedFile(path.with_name(path.name + _UNFINISHED))
        plain = [column for column in self._schema.names if column in _DELTA or column == WALL]
        self._writer = pq.ParquetWriter(
            self._file,
            described(self._schema, EVENT_COLUMNS[name]),
            compression="zstd",
            compression_level=1,
            use_dictionary=[column for column in self._schema.names if column not in plain],
            column_encoding={column: "DELTA_BINARY_PACKED" for column in plain if column != WALL},
        )
        self._batches: list[pa.Table] = []
        self._waiting = self._rows = 0

    def add(self, columns: Columns) -> None:
        """Add rows, and write a row group when there are enough."""
        self._batches.append(_encode(self._name, columns, self._schema))
        self._waiting += len(columns["t_ns"])
        if self._waiting >= ROW_GROUP_ROWS:
            self._write()

    def close(self) -> FileEntry:
        """Write the rest, give the file its name, and return its entry."""
        if self._waiting:
            self._write()
        self._writer.close()
        self._file.close()
        self._path.with_name(self._path.name + _UNFINISHED).replace(self._path)
        return self._file.entry(self._rows)

    def abandon(self) -> None:
        """Close the file; if that fails, write the rows in memory again, then half of them, and so on."""
        table = pa.concat_tables(self._batches) if self._batches else None
        with suppress(OSError, ValueError, pa.ArrowException):  # a file that has failed may be closed
            self.close()
            return
        unfinished = self._path.with_name(self._path.name + _UNFINISHED)
        while table is not None and len(table):
            with suppress(OSError, pa.ArrowException):
                pq.write_table(table, unfinished, compression="zstd")
                unfinished.replace(self._path)
                return
            table = table.slice(0, len(table) // 2)
        unfinished.unlink(missing_ok=True)

    def _write(self) -> None:
        table = pa.concat_tables(self._batches)
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=len(table))
        self._rows += self._waiting
        self._batches, self._waiting = [], 0


def sort_rows(rows: Rows) -> Rows:
    """Return packed rows by device, time and order."""
    device, order, t_ns = rows["device"], rows["order"], rows["t_ns"]
    place = np.argsort((device.astype(np.int64) << 32) | order, kind="stable")
    late = (np.diff(t_ns[place]) < 0) & (np.diff(device[place]) == 0)
    if late.any():  # a process that was started again counts the rows of a device from 1 again
        place = np.lexsort((order, t_ns, device))
    return rows[place]


def part_schema(name: str, *, wall: bool) -> pa.Schema:
    """Return the columns of a part of table *name*."""
    return pa.schema(
        (part_column(name, column), _type(kind))
        for column, kind in COLUMNS[name].items()
        if wall or column != WALL
    )


def _type(kind: Column) -> pa.DataType:
    return _ARROW[kind] if isinstance(kind, str) else _WORDS


def _encode(name: str, columns: Columns, schema: pa.Schema) -> pa.Table:
    """Return the columns of a table as they are in a part."""
    arrays: dict[str, pa.Array] = {}
    for column, kind in COLUMNS[name].items():
        if isinstance(kind, str):
            arrays[column] = pa.array(columns[column])
        else:
            codes = pa.array(columns[column].view(np.int8))
            arrays[column] = pa.DictionaryArray.from_arrays(codes, pa.array(kind, pa.string()))
    if name == "update":
        arrays |= {span_name(moment): array for moment, array in _spans(columns)}
    return pa.Table.from_arrays([arrays[column] for column in schema.names], schema=schema)


def _spans(columns: Columns) -> Iterator[tuple[str, pa.Array]]:
    """Yield each moment's span: the first up to the end of the exchange, the others from the one before.

    A moment that did not come has none.
    """
    before = np.zeros_like(columns["t_ns"])
    for moment in MOMENTS:
        values = columns[moment]
        never = values == -1
        span = columns["t_ns"] - values if moment == MOMENTS[0] else values - before
        yield moment, pa.array(span, mask=never) if never.any() else pa.array(span)
        before = np.where(never, before, values)


def decode_part(name: str, table: pa.Table) -> Columns:
    """Return the logical columns of a part of table *name*; it has the right columns.

    A label that the table does not know has the index -1.
    """
    columns: dict[str, NDArray[Any]] = {}
    for column, kind in COLUMNS[name].items():
        if column not in table.column_names:
            continue
        if isinstance(kind, str):
            columns[column] = table[column].to_numpy()
        else:
            columns[column] = _codes(table[column], kind)
    if name == "update":
        columns |= _moments(table)
        columns = {column: columns[column] for column in COLUMNS[name] if column in columns}
    columns["device"] = columns["device"].astype(np.int64)
    return MappingProxyType(columns)


def _moments(table: pa.Table) -> Columns:
    """Return the moments whose spans a part has."""
    moments: dict[str, NDArray[Any]] = {}
    before = np.zeros(table.num_rows, dtype=np.int64)
    for moment in MOMENTS:
        span = table[span_name(moment)]
        never = span.is_null().to_numpy()
        spans = span.fill_null(0).to_numpy()
        values = table["t_ns"].to_numpy() - spans if moment == MOMENTS[0] else before + spans
        moments[moment] = np.where(never, -1, values)
        before = np.where(never, before, values)
    return moments


def _codes(column: pa.ChunkedArray, labels: tuple[str, ...]) -> NDArray[Any]:
    known = pa.array(labels, pa.string())
    if pa.types.is_dictionary(column.type):
        column = column.combine_chunks()
        places = pc.index_in(column.dictionary, value_set=known).fill_null(-1).to_numpy()
        found: NDArray[Any] = places.astype(np.int8)[column.indices.to_numpy()]
        return found
    codes: NDArray[Any] = pc.index_in(column, value_set=known).fill_null(-1).to_numpy()
    return codes.astype(np.int8)


def pack_rows(name: str, columns: Columns) -> Rows:
    """Return the packed rows of the columns of table *name*; a wall clock that they lack is 0."""
    rows = np.zeros(len(columns["t_ns"]), dtype=row_type(COLUMNS[name]))
    for column, values in columns.items():
        rows[column] = values
    return rows
