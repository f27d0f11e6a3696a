"""The trace format: one row per change, in a few typed columns, as CSV or Parquet.

``docs/traces.md`` is the contract. pyarrow is loaded when a trace is read or written: checking a
scenario needs none of it.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from devices.traces.cells import RULES, RefusedCellError, convert
from wire.errors import InputError
from wire.input_files import open_regular
from wire.text import printable

SUFFIXES: Final = (".csv", ".parquet")
MAX_ROWS: Final = 2**25
"""The most rows of a trace: it is read into memory, at some hundred bytes a row."""
MAX_BYTES: Final = 2**31
"""The most bytes of the file, and of its decoded columns: a Parquet file of 3 MB can hold 30 GB."""

_RAGGED = re.compile(r"Row #([0-9]+): Expected ([0-9]+) columns, got ([0-9]+)")


@dataclass(frozen=True)
class Column:
    """A column of the format."""

    name: str
    kind: str
    """text, seconds, whole, flag or level."""
    meaning: str


COLUMNS: Final = (
    Column("device_id", "text", "whose row it is; without this column the file is one series"),
    Column("t_s", "seconds", "seconds from the start of the trace; never falls within a device"),
    Column("budget_bytes", "whole", "what the recommender may use"),
    Column("mem_available_bytes", "whole", "memory that is free, or can be freed without swapping"),
    Column("mem_total_bytes", "whole", "memory of the device"),
    Column("pressure", "level", "level of memory pressure: normal, moderate, low or critical"),
    Column("online", "flag", "whether the device can be reached: true or false"),
    Column("network", "text", "kind of network, such as wifi, 4g or none"),
    Column("down_bps", "whole", "bits a second toward the device"),
    Column("up_bps", "whole", "bits a second from the device"),
    Column("foreground", "flag", "whether the device is in use, its screen on: true or false"),
)
"""The columns of the format, in order; all but t_s may be missing, and hold null where unknown."""
KINDS: Final[Mapping[str, str]] = {column.name: column.kind for column in COLUMNS}

Table = Any  # a pyarrow.Table: pyarrow carries no types


@dataclass(frozen=True)
class Columns:
    """Some columns of a trace file, typed and checked."""

    path: Path
    names: tuple[str, ...]
    """All columns that the file has."""
    table: Table
    """The requested columns that it has, in the types of the format."""

    def __contains__(self, name: str) -> bool:
        """Return whether the column *name* was requested and the file has it."""
        return name in self.table.column_names


def read_columns(path: Path, requested: Mapping[str, str]) -> Columns:
    """Read the columns *requested* (name -> kind) of the trace at *path*, and no others.

    Raises:
        InputError: the file cannot be read, is too large, or a value is not of its column's kind.
    """
    import pyarrow as pa

    try:
        with open_regular(path, "a trace") as file:
            names = _header(path, file)
            file.seek(0)
            table = _read(path, file, [name for name in requested if name in names])
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: no such trace file") from None
    except UnicodeDecodeError:
        raise InputError(f"{printable(path)}: cannot be read as a trace: it is not UTF-8 text") from None
    except (OSError, ValueError, pa.ArrowException, csv.Error) as error:
        reason = printable(" ".join(str(error).split()), 200)
        raise InputError(f"{printable(path)}: cannot be read as a trace: {reason}") from None
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{printable(path)}: column {twice!r} occurs twice")
    typed = {
        name: _convert_column(path, name, requested[name], table[name].combine_chunks())
        for name in table.column_names
    }
    return Columns(path, names, pa.table(typed))


def missing_column(columns: Columns, name: str) -> InputError:
    """Return the error that the column *name* is missing."""
    names = printable(", ".join(columns.names), 200)
    return InputError(
        f"{printable(columns.path)}: column {name!r} is missing; the file has {names}; "
        "`peelfleet trace import columns` takes tables with other names and units"
    )


def refuse(path: Path, row: int, column: str, value: object, rule: str) -> NoReturn:
    """Raise the error that a value breaks a rule; rows count from 1, without the header.

    Raises:
        InputError: always.
    """
    shown = printable(f"{value:g}" if isinstance(value, float) else value, 60)
    raise InputError(f"{printable(path)}: row {row}: {column}(={shown}) must {rule}")


def _header(path: Path, file: IO[bytes]) -> tuple[str, ...]:
    import pyarrow.parquet

    if path.suffix == ".parquet":
        return tuple(pyarrow.parquet.read_schema(file).names)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        return tuple(next((fields for fields in csv.reader(text) if fields), ()))
    finally:
        text.detach()


def _read(path: Path, file: IO[bytes], names: Sequence[str]) -> Table:
    import pyarrow as pa

    if path.suffix == ".parquet":
        return _read_parquet(path, file, names)
    _check_bytes(path, file.seek(0, io.SEEK_END))
    file.seek(0)
    return _read_csv(path, file, names) if names else pa.table({})


def _read_csv(path: Path, file: IO[bytes], names: Sequence[str]) -> Table:
    import pyarrow as pa
    import pyarrow.csv

    from wire.arrow_input import arrow_input

    # As text: a column that is only partly numbers then gets our error message, with the row.
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True,
        null_values=[""],
    )  # fmt: skip
    try:
        return pyarrow.csv.read_csv(
            arrow_input(file),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # or it cannot number its rows
            convert_options=options,
        )
    except pa.ArrowException as error:
        ragged = _RAGGED.search(str(error))
        if ragged is None:
            raise
        row, fields, actual = (int(number) for number in ragged.groups())
        raise InputError(
            f"{printable(path)}: cannot be read as a trace: row {row - 1}: must have {fields} fields as the "
            f"header, not {actual}"
        ) from None


def _read_parquet(path: Path, file: IO[bytes], names: Sequence[str]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet

    from wire.arrow_input import arrow_input

    stored = pyarrow.parquet.ParquetFile(arrow_input(file))
    _check_rows(path, stored.metadata.num_rows)
    _check_bytes(path, _declared_bytes(stored.metadata))
    schema = pa.schema([stored.schema_arrow.field(name) for name in names])
    batches, rows, size = [], 0, 0
    for batch in stored.iter_batches(batch_size=2**14, columns=list(names)):
        rows, size = rows + batch.num_rows, size + sum(map(decoded_bytes, batch.columns))
        _check_rows(path, rows)
        _check_bytes(path, size)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema if not batches else batches[0].schema)


def _check_rows(path: Path, rows: int) -> None:
    if rows > MAX_ROWS:
        raise InputError(f"{printable(path)}: holds {rows} rows; a trace has at most {MAX_ROWS}")


def _check_bytes(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(f"{printable(path)}: holds more than {MAX_BYTES} bytes; a trace is read whole")


def _declared_bytes(metadata: Any) -> int:
    """Return the size of the pages of all columns that the file declares.

    The sizes of single columns are not read: pyarrow ends the process if they are damaged.
    """
    return sum(int(metadata.row_group(at).total_byte_size) for at in range(metadata.num_row_groups))


def decoded_bytes(array: Any) -> int:
    """Return the most bytes that *array* has after its dictionary codes are replaced by values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    try:
        longest = pc.max(pc.binary_length(array.dictionary)).as_py() or 0
    except pa.ArrowException:  # numbers
        longest = 8
    return int(array.nbytes) + len(array) * int(longest)


def _convert_column(path: Path, name: str, kind: str, array: Any) -> Any:
    """Return the pyarrow array *array* in the type of *kind*, or raise the error for a refused cell."""
    try:
        return convert(array, kind)
    except RefusedCellError as refusal:
        refuse(path, refusal.row, name, refusal.value, RULES[kind])
