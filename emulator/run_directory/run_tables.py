"""Parquet tables of a run directory: how one is written, and checked when it is read."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emulator.run_directory.column_types import column_types, has_type
from emulator.run_directory.manifest import MANIFEST, FileEntry, check_file, read_table_entry
from wire.arrow_input import arrow_input
from wire.errors import InputError
from wire.input_files import open_regular
from wire.output_files import naming

Tables = Mapping[str, pa.Table]


def with_descriptions(table: pa.Table, meanings: Mapping[str, str]) -> pa.Table:
    """Return *table* with the meaning of each column in the metadata of its field, as `description`."""
    return table.cast(described(table.schema, meanings))


def described(schema: pa.Schema, meanings: Mapping[str, str]) -> pa.Schema:
    """Return *schema* with the meaning of each column in the metadata of its field, as `description`."""
    return pa.schema(
        field.with_metadata({"description": meanings[field.name]}) if field.name in meanings else field
        for field in schema
    )


def write_table(table: pa.Table, path: Path, compression: str = "snappy") -> None:
    """Write *table* as Parquet to *path*, whose folder may have any name."""
    with naming(path), path.open("wb") as file:
        pq.write_table(table, file, compression=compression)


def read_table(path: Path, columns: Iterable[str]) -> pa.Table:
    """Return the Parquet table at *path* in a run directory, which must have at least *columns*.

    Raises:
        InputError: it is missing, was changed, or is damaged.
    """
    table = read_checked(path, read_table_entry(path.parent / MANIFEST, path.name))
    check_columns(path, table, columns, column_types(path.name))
    return table


def read_checked(path: Path, entry: FileEntry | None) -> pa.Table:
    """Return the Parquet table at *path*, which must be what its *entry* in the manifest says.

    Raises:
        InputError: it is missing, was changed, or is damaged.
    """
    if entry is not None:
        check_file(path, entry)
    try:
        with open_regular(path, "a table of a run") as file:
            table = pq.ParquetFile(arrow_input(file)).read()
        table.validate(full=True)  # finds invalid text, among other damage
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise damaged(path, text.splitlines()[0]) from None
    return table


def check_columns(path: Path, table: pa.Table, columns: Iterable[str], types: Mapping[str, str]) -> None:
    """Check that *table* has at least *columns*, and that those it has are of the given *types*.

    Raises:
        InputError: it lacks one, or one is of another type.
    """
    missing = set(columns) - set(table.column_names)
    if missing:
        raise damaged(path, f"no column {', '.join(sorted(missing))}")
    for column, kind in types.items():
        if column in table.column_names and not has_type(table[column], kind):
            raise damaged(path, f"{column} must be {kind}")


def damaged(path: Path, what: str) -> InputError:
    """Return the error for a damaged file of a run directory."""
    return InputError(f"{path}: the run directory is damaged: {what}")
