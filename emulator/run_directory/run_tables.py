"""Parquet tables of a run directory: how one is written, and checked when it is read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emulator.run_directory.column_types import column_types, has_type
from emulator.run_directory.manifest import MANIFEST, FileEntry, check_file, read_table_entry
from scenarios.catalogue.event_columns import unit_of
from wire.arrow_input import arrow_input
from wire.errors import InputError
from wire.input_files import open_regular
from wire.output_files import naming

Tables = Mapping[str, pa.Table]


def with_descriptions(table: pa.Table, meanings: Mapping[str, str]) -> pa.Table:
    """Return *table* with `description` and `unit` of each column in the metadata of its field."""
    return table.cast(described(table.schema, meanings))


def described(schema: pa.Schema, meanings: Mapping[str, str]) -> pa.Schema:
    """Return *schema* with `description` and `unit` of each column in the metadata of its field."""
    return pa.schema(
        field.with_metadata({"description": meanings[field.name], "unit": unit_of(field.name)})
        if field.name in meanings
        else field
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
    return TableFile(path, entry).read()


class TableFile:
    """A Parquet table of a run directory, of which some rows are read at a time.

    Its bytes are in memory as they are in the file: few, since they are compressed.

    Args:
        path: of the file.
        entry: of the file in the manifest; None: it is not checked.

    Raises:
        InputError: it is missing, was changed, or is damaged; reading damaged rows raises the same.
    """

    def __init__(self, path: Path, entry: FileEntry | None) -> None:
        self.path = path
        if entry is not None:
            check_file(path, entry)
        with _naming_damage(path):
            with open_regular(path, "a table of a run") as file:
                self._file = pq.ParquetFile(arrow_input(file))
            footer = self._file.metadata
            sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
            self.columns: Sequence[str] = self._file.schema_arrow.names
        self._bounds: list[int] = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return self._bounds[-1]

    def read(self, first: int = 0, stop: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return rows from the row groups that have them.

        Args:
            first: index of the first row.
            stop: index after the last row; None: all rows.
            columns: names of the columns; None: all columns.
        """
        stop = len(self) if stop is None else stop
        pairs = list(pairwise(self._bounds))
        groups = [group for group, (begin, end) in enumerate(pairs) if begin < stop and first < end]
        with _naming_damage(self.path):
            table = self._file.read_row_groups(groups, columns=columns)
            table.validate(full=True)  # finds invalid text, among other damage
        if groups:
            table = table.slice(first - self._bounds[groups[0]], stop - first)
        if len(table) != stop - first:
            raise damaged(self.path, f"has {len(table):,} of {stop - first:,} rows")
        return table


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Turn an error of reading the file at *path* into one that names it."""
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise damaged(path, text.splitlines()[0]) from None


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
