"""The event log of a fleet on disk, its order and its hash.

Rows are written to draft files in batches while a simulation runs. At the end every table is sorted into its
total order (t_ns, device, order) and written as Parquet. The hash leaves out wall-clock columns, so it does
not depend on clock, number of shards and speed of the machine.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from devices.event_log import COLUMNS, Column, FleetLog
from emulator.run_directory.column_types import column_types, has_type
from emulator.run_directory.layout import EVENTS
from emulator.run_directory.manifest import MANIFEST, CountedFile, check_file, read_table_entry, write_entries
from scenarios.catalogue.event_columns import EVENT_COLUMNS
from wire.errors import InputError
from wire.input_files import open_regular
from wire.output_files import naming, os_error_text

BATCH_ROWS = 50_000
BATCH_PART_ROWS = 1_024
"""Rows of a part of a batch; after a full disk or a killed process, only complete parts are read again."""
JOURNAL = "journal.json"
"""File beside the draft files of a simulation that ended: their rows and checksums."""
WALL = "wall_s"
ORDER = [("t_ns", "ascending"), ("device", "ascending"), ("order", "ascending")]

Tables = Mapping[str, pa.Table]

_ARROW = {"i4": pa.int32(), "i8": pa.int64(), "f8": pa.float64(), "?": pa.bool_()}
_SCHEMAS = {
    name: pa.schema(
        [(column, _ARROW[kind] if isinstance(kind, str) else pa.string()) for column, kind in columns.items()]
    )
    for name, columns in COLUMNS.items()
}


class EventLogWriter:
    """Writes the event log of one simulation to draft files while it grows.

    Args:
        folder: of the draft files.
        keep: True to keep all rows in memory too, for `snapshot`.
    """

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.on_rows: Callable[[str, NDArray[Any]], None] = lambda _name, _rows: None
        """Receives the rows of each table as they are written."""
        self._kept: dict[str, list[NDArray[Any]]] | None = {name: [] for name in COLUMNS} if keep else None
        # Streams, not files: after a killed process they can be read up to the last complete batch.
        self._folder = folder
        self._rows = dict.fromkeys(_SCHEMAS, 0)
        self._sinks = {name: CountedFile(folder / f"{name}.arrows") for name in _SCHEMAS}
        self._writers = {
            name: pa.ipc.new_stream(self._sinks[name], schema) for name, schema in _SCHEMAS.items()
        }

    def flush(self, log: FleetLog, *, at_least: int = BATCH_ROWS) -> None:
        """Move the rows of every table with at least so many from *log* to the disk."""
        for name in self._writers:
            self._flush(name, log, at_least)

    def _flush(self, name: str, log: FleetLog, at_least: int) -> None:
        rows = log.tables[name]
        if len(rows) >= at_least:
            taken = rows.drain()
            self._writers[name].write_table(_table(name, taken), max_chunksize=BATCH_PART_ROWS)
            self._sinks[name].flush()
            self._rows[name] += len(taken)
            self.on_rows(name, taken)
            if self._kept is not None:
                self._kept[name].append(taken)

    def snapshot(self, log: FleetLog) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the columns of every table with all rows until now, with numbers for devices and labels.

        Only for a writer that keeps its rows.
        """
        assert self._kept is not None
        self.flush(log, at_least=1)
        columns: dict[str, dict[str, NDArray[Any]]] = {}
        for name, parts in self._kept.items():
            empty = np.empty(0, dtype=[(column, kind if isinstance(kind, str) else "u1")
                                       for column, kind in COLUMNS[name].items()])  # fmt: skip
            rows = np.concatenate(parts) if parts else empty
            self._kept[name] = [rows]
            columns[name] = {column: np.ascontiguousarray(rows[column]) for column in COLUMNS[name]}
            columns[name]["device"] = columns[name]["device"].astype(np.int64)
        return columns

    def close(self, log: FleetLog) -> None:
        """Write the remaining rows, close the files, and write their checksums beside them."""
        self.flush(log, at_least=1)
        for name, writer in self._writers.items():
            writer.close()
            self._sinks[name].close()
        entries = {name: sink.entry(self._rows[name]) for name, sink in self._sinks.items()}
        write_entries(self._folder / JOURNAL, entries)

    def abandon(self, log: FleetLog) -> None:
        """Write the remaining rows and close the files of a simulation that failed, without checksums."""
        with ExitStack() as stack:  # all of them, even if one fails
            for name in self._writers:
                stack.callback(self._abandon, name, log)

    def _abandon(self, name: str, log: FleetLog) -> None:
        with self._sinks[name].closing():
            self._flush(name, log, 1)
            self._writers[name].close()


def merge_shards(folders: Sequence[Path], names: Sequence[str]) -> dict[str, pa.Table]:
    """Return every table of the event logs of all shards, in total order, with ids for devices.

    Args:
        folders: one per shard.
        names: device ids by device number.
    """
    ids = pa.array(names, pa.string())
    tables: dict[str, pa.Table] = {}
    for name in COLUMNS:
        table = pa.concat_tables([read_draft(folder, name) for folder in folders])
        table = table.sort_by(ORDER).combine_chunks()
        column = table.column_names.index("device")
        tables[name] = table.set_column(column, "device", pc.take(ids, table["device"]))
    return tables


def write_tables(tables: Tables, folder: Path) -> None:
    """Write each table as ``<name>.parquet`` in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(
            with_descriptions(table, EVENT_COLUMNS[name]), folder / f"{name}.parquet", compression="zstd"
        )


def with_descriptions(table: pa.Table, meanings: Mapping[str, str]) -> pa.Table:
    """Return *table* with the meaning of each column in the metadata of its field, as `description`."""
    fields = [
        field.with_metadata({"description": meanings[field.name]}) if field.name in meanings else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def write_table(table: pa.Table, path: Path, compression: str = "snappy") -> None:
    """Write *table* as Parquet to *path*, whose folder may have any name."""
    with naming(path), path.open("wb") as file:
        pq.write_table(table, file, compression=compression)


def read_tables(folder: Path) -> dict[str, pa.Table]:
    """Return the event tables of a run directory's ``events`` folder.

    Raises:
        InputError: one is missing or damaged.
    """
    return {name: read_table(folder / f"{name}.parquet", columns) for name, columns in COLUMNS.items()}


def read_table(path: Path, columns: Iterable[str]) -> pa.Table:
    """Return the Parquet table at *path* in a run directory, which must have at least *columns*.

    Raises:
        InputError: it is missing, was changed, or is damaged.
    """
    run = path.parent.parent if path.parent.name == EVENTS and path.stem in COLUMNS else path.parent
    name = path.relative_to(run).as_posix()
    entry = read_table_entry(run / MANIFEST, name)
    if entry is not None:
        check_file(path, entry)
    try:
        with open_regular(path, "a table of a run") as file:
            # Not pq.read_table: its threads still let go of the file when the process already ends on an
            # error in the next table, and abort it.
            table = pq.ParquetFile(file).read()
        table.validate(full=True)  # finds invalid text, among other damage
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path}: the run directory is damaged: {text.splitlines()[0]}") from None
    missing = set(columns) - set(table.column_names)
    if missing:
        raise InputError(f"{path}: the run directory is damaged: no column {', '.join(sorted(missing))}")
    for column, kind in column_types(name).items():
        if column in table.column_names and not has_type(table[column], kind):
            raise InputError(f"{path}: the run directory is damaged: {column} must be {kind}")
    return table


def read_draft(folder: Path, name: str) -> pa.Table:
    """Return the draft of table *name*, up to the last complete part if its process died.

    Raises:
        InputError: it was changed after the end of its simulation, or cannot be read.
    """
    path = folder / f"{name}.arrows"
    expected = read_table_entry(folder / JOURNAL, name)
    if expected is not None:
        check_file(path, expected, "the log")
    try:
        table = _read_batches(path, name)
        table.validate(full=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    except (UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"{path}: the log is damaged: {str(error).splitlines()[0]}") from None
    if table.schema != _SCHEMAS[name]:
        raise InputError(
            f"{path}: the log is damaged: another version wrote it: its columns are not those of {name}"
        )
    if expected is not None and table.num_rows != expected.rows:
        raise InputError(
            f"{path}: the log is damaged: {expected.rows:,} rows were written, {table.num_rows:,} are there"
        )
    return table


def _read_batches(path: Path, name: str) -> pa.Table:
    with open_regular(path, "the log of a shard") as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:  # killed before the first byte
            return _SCHEMAS[name].empty_table()
        batches = []
        while (batch := _next_batch(reader)) is not None:
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)


def _next_batch(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except (StopIteration, pa.ArrowInvalid):
        return None
    except OSError as error:
        if error.errno is None:  # from Arrow: the batch is cut off; an error of the disk has a number
            return None
        raise


def logical_sha256(tables: Tables) -> str:
    """Return the hash of the logical event log: every table without its wall-clock columns."""
    digest = hashlib.sha256()
    for name in sorted(tables):
        digest.update(f"{name}:{tables[name].num_rows}\n".encode())
        for column in tables[name].column_names:
            if column != WALL:
                digest.update(f"{column}\n".encode())
                digest.update(_canonical(tables[name][column]))
    return digest.hexdigest()


def _table(name: str, rows: NDArray[Any]) -> pa.Table:
    arrays = [_column(rows[column], kind) for column, kind in COLUMNS[name].items()]
    return pa.Table.from_arrays(arrays, schema=_SCHEMAS[name])


def _column(values: NDArray[Any], kind: Column) -> pa.Array:
    if isinstance(kind, str):
        return pa.array(np.ascontiguousarray(values))
    return pc.take(pa.array(kind, pa.string()), pa.array(np.ascontiguousarray(values)))


def _canonical(column: pa.ChunkedArray) -> bytes:
    if pa.types.is_string(column.type):
        return "\0".join(column.to_pylist()).encode()
    values = column.to_numpy()
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
