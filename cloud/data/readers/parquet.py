"""Tables as Parquet: one interaction a row, read batch by batch, with limits on memory."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from cloud.data.readers.columns import ColumnNames, TableRows, find_columns
from cloud.data.readers.text import check_file, quote, raise_unreadable
from wire.errors import InputError

MAX_ROWS = 200_000_000
"""Largest number of rows; a row costs some tens of bytes of memory, however small the file is."""
MAX_BYTES = 256 * 2**30
"""Largest size of all columns, uncompressed, as stated in the file; columns are read a batch at a time."""
MAX_NAME_BYTES = 4 * 2**30
"""Largest size of the distinct names."""

_BATCH_ROWS = 2**17


def read_parquet(path: Path, wanted: ColumnNames) -> TableRows:
    """Return the wanted columns with their stored types; each distinct text is kept once.

    Raises:
        InputError: it is not a Parquet file, a column is missing, or it is too large.
    """
    check_file(path)
    try:
        schema = pyarrow.parquet.read_schema(path)
        indices = find_columns(path, schema.names, wanted)
        names = {role: schema.names[index] for role, index in indices.items()}
        texts = [name for name in names.values() if _is_text(schema.field(name).type)]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            _check_size(path, file.metadata)
            table = _read(path, file, list(dict.fromkeys(names.values())))
        columns = {
            role: _column(path, name, table[name].combine_chunks(), once=role in ("user", "item"))
            for role, name in names.items()
        }
    except (pa.ArrowException, OSError, ValueError) as error:
        raise_unreadable(path, error)
    return TableRows(path, columns, names, lambda row: f"{path}, row {row + 1}")


def _check_size(path: Path, metadata: Any) -> None:
    """Check the size that the file states, before its data are decoded."""
    if metadata.num_rows > MAX_ROWS:
        raise InputError(f"{path}: has {metadata.num_rows:,} rows, expected at most {MAX_ROWS:,}")
    # The metadata of columns are not read: pyarrow aborts the process if they are damaged.
    size = sum(int(metadata.row_group(index).total_byte_size) for index in range(metadata.num_row_groups))
    if size > MAX_BYTES:
        raise InputError(f"{path}: unpacks to {size:,} bytes, expected at most {MAX_BYTES:,}")
    if not metadata.num_rows:
        raise InputError(f"{path}: has no rows")


def _read(path: Path, file: Any, names: list[str]) -> Any:
    batches, rows, size = [], 0, 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
        batch.validate(full=True)  # indices of a damaged file may lie outside its dictionary
        batches.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if rows > MAX_ROWS or size > MAX_NAME_BYTES + 16 * rows:
            raise InputError(f"{path}: has more than {MAX_ROWS:,} rows or {MAX_NAME_BYTES:,} bytes of names")
    return pa.Table.from_batches(batches).unify_dictionaries()


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _column(path: Path, name: str, column: Any, *, once: bool) -> Any:
    """Return a column; *once*: keep each distinct text once, else as plain text (times and ratings)."""
    kind = column.type
    if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
        try:  # a file may declare any bytes as text
            column.dictionary.cast(pa.binary()).cast(pa.string()).validate(full=True)
        except pa.ArrowException:
            raise InputError(f"{path}: column {quote(name)} has bytes that are no text in UTF-8") from None
    if not pa.types.is_dictionary(kind) or (once and _is_text(kind.value_type)):
        return column
    if _is_text(kind.value_type):
        longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
        if longest * len(column) > MAX_NAME_BYTES:
            raise InputError(f"{path}: times or ratings of {longest:,} bytes are no times or ratings")
        return column.dictionary_decode().cast(pa.string())
    return column.dictionary_decode()
