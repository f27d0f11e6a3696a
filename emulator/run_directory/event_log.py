"""The draft of an event log: rows are written to streams in batches while a simulation runs.

At its end the drafts of all processes are split into ranges of devices (`event_split`).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from devices.event_log import COLUMNS, Column, FleetLog, row_type
from emulator.run_directory.manifest import CountedFile, check_file, read_table_entry, write_entries
from wire.errors import InputError
from wire.input_files import open_regular
from wire.output_files import os_error_text

BATCH_ROWS = 50_000
BATCH_PART_ROWS = 1_024
"""Rows of a part of a batch; after a full disk or a killed process, only complete parts are read again."""
JOURNAL = "journal.json"
"""File beside the draft files of a simulation that ended: their rows and checksums."""

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


def read_draft(folder: Path, name: str) -> pa.Table:
    """Return the draft of table *name*, up to the last complete part if its process died.

    Raises:
        InputError: it was changed after the end of its simulation, or cannot be read.
    """
    return pa.Table.from_batches(list(_checked_batches(folder, name)), _SCHEMAS[name])


def read_draft_rows(folder: Path, name: str) -> Iterator[NDArray[Any]]:
    """Yield the packed rows of the draft of table *name*, as `read_draft` reads them, a batch at a time."""
    for batch in _checked_batches(folder, name):
        rows = np.empty(batch.num_rows, dtype=row_type(COLUMNS[name]))
        for column, kind in COLUMNS[name].items():
            values = batch.column(column)
            if not isinstance(kind, str):
                values = pc.index_in(values, value_set=pa.array(kind, pa.string()))
            rows[column] = values.to_numpy(zero_copy_only=False)
        yield rows


def draft_batches(folder: Path, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of the draft of table *name* while it grows, without a check.

    Columns that are not looked at are not read from the disk.
    """
    try:
        with pa.memory_map(str(folder / f"{name}.arrows")) as source:
            reader = pa.ipc.open_stream(source)
            while (batch := _next_batch(reader)) is not None:
                yield batch
    except (OSError, pa.ArrowException):  # it has not begun yet
        return


def _checked_batches(folder: Path, name: str) -> Iterator[pa.RecordBatch]:
    path = folder / f"{name}.arrows"
    expected = read_table_entry(folder / JOURNAL, name)
    if expected is not None:
        check_file(path, expected, "the log")
    rows = 0
    try:
        for batch in _read_batches(path, name):
            batch.validate(full=True)
            rows += batch.num_rows
            yield batch
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    except (UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"{path}: the log is damaged: {str(error).splitlines()[0]}") from None
    if expected is not None and rows != expected.rows:
        raise InputError(
            f"{path}: the log is damaged: {expected.rows:,} rows were written, {rows:,} are there"
        )


def _read_batches(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    with open_regular(path, "the log of a shard") as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:  # killed before the first byte
            return
        if reader.schema != _SCHEMAS[name]:
            raise InputError(
                f"{path}: the log is damaged: another version wrote it: its columns are not those of {name}"
            )
        while (batch := _next_batch(reader)) is not None:
            yield batch


def _next_batch(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except (StopIteration, pa.ArrowInvalid):
        return None
    except OSError as error:
        if error.errno is None:  # from Arrow: the batch is cut off; an error of the disk has a number
            return None
        raise


def _table(name: str, rows: NDArray[Any]) -> pa.Table:
    arrays = [_column(rows[column], kind) for column, kind in COLUMNS[name].items()]
    return pa.Table.from_arrays(arrays, schema=_SCHEMAS[name])


def _column(values: NDArray[Any], kind: Column) -> pa.Array:
    if isinstance(kind, str):
        return pa.array(np.ascontiguousarray(values))
    return pc.take(pa.array(kind, pa.string()), pa.array(np.ascontiguousarray(values)))
