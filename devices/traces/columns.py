"""The trace format: one row per change, in a few typed columns, as CSV or Parquet.

``docs/traces.md`` is the contract. pyarrow is loaded when a trace is read or written: checking a
scenario needs none of it.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from devices.memory.pressure import LEVELS
from wire.errors import InputError

SUFFIXES: Final = (".csv", ".parquet")


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
    """Those asked for that it has, in the types of the format."""

    def __contains__(self, name: str) -> bool:
        """Tell whether *name* was asked for and is there."""
        return name in self.table.column_names


def read_columns(path: Path, wanted: Mapping[str, str]) -> Columns:
    """Read the columns *wanted* (name -> kind) of the trace at *path*, no others.

    Raises:
        InputError: the file cannot be read, or a value is not of its column's kind.
    """
    import pyarrow as pa

    try:
        names = _header(path)
        table = _read(path, [name for name in wanted if name in names])
    except FileNotFoundError:
        raise InputError(f"{path}: no such trace file") from None
    except (OSError, ValueError, pa.ArrowException, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a trace: {reason}") from None
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: column {twice!r} is there twice")
    typed = {
        name: _typed(path, name, wanted[name], table[name].combine_chunks()) for name in table.column_names
    }
    return Columns(path, names, pa.table(typed))


def refuse(path: Path, row: int, column: str, value: object, rule: str) -> NoReturn:
    """Say which value breaks a rule; rows count from 1, the header left out.

    Raises:
        InputError: always.
    """
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    raise InputError(f"{path}: row {row}: {column}(={shown[:60]}) must {rule}")


def _header(path: Path) -> tuple[str, ...]:
    import pyarrow.parquet

    if path.suffix == ".parquet":
        return tuple(pyarrow.parquet.read_schema(path).names)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return tuple(next(csv.reader(file), ()))


def _read(path: Path, names: Sequence[str]) -> Table:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if path.suffix == ".parquet":
        return pyarrow.parquet.ParquetFile(path).read(columns=list(names))
    if not names:
        return pa.table({})
    # As text: a column that is half numbers gets a message of ours, with its row.
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True,
        null_values=[""],
    )  # fmt: skip
    return pyarrow.csv.read_csv(path, convert_options=options)


def _typed(path: Path, name: str, kind: str, array: Any) -> Any:
    """Return the pyarrow array *array* in the type of *kind*."""
    import pyarrow as pa

    convert, holds, rule = _CONVERSIONS[kind]
    try:
        return convert(array)
    except (pa.ArrowException, ValueError):
        for row, value in enumerate(array.to_pylist(), start=1):
            if value is not None and not holds(value):
                refuse(path, row, name, value, rule)
        raise InputError(f"{path}: {name}: must hold values that {rule.removeprefix('be ')}") from None


def _text(array: Any) -> Any:
    import pyarrow as pa

    return array.cast(pa.string())


def _seconds(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    floats = array.cast(pa.float64())
    if not pc.all(pc.and_(pc.is_finite(floats), pc.greater_equal(floats, 0)), min_count=0).as_py():
        raise ValueError
    return floats


def _whole(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(array.type):
        raise ValueError
    try:
        whole = array.cast(pa.int64())
    except pa.ArrowException:  # text such as 3.0
        whole = array.cast(pa.float64()).cast(pa.int64())
    if not pc.all(pc.greater_equal(whole, 0), min_count=0).as_py():
        raise ValueError
    return whole


def _flag(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(array.type):
        return array
    if not pa.types.is_string(array.type) and array.null_count < len(array):
        raise ValueError
    words = pc.utf8_lower(array.cast(pa.string()))
    if not pc.all(pc.is_in(words, pa.array(["true", "false", None])), min_count=0).as_py():
        raise ValueError
    return pc.equal(words, "true")


def _level(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    words = array.cast(pa.string())
    if not pc.all(pc.is_in(words, pa.array([*LEVELS, None])), min_count=0).as_py():
        raise ValueError
    return words


def _is_seconds(value: object) -> bool:
    number = _number(value)
    return number is not None and 0 <= number < float("inf")


def _is_whole(value: object) -> bool:
    number = _number(value)
    return number is not None and 0 <= number < 2**63 and number == number // 1


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is, refusing it is the point
    except (TypeError, ValueError):
        return None


_CONVERSIONS: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[object], bool], str]]] = {
    "text": (_text, lambda value: isinstance(value, str | int), "be text"),
    "seconds": (_seconds, _is_seconds, "be a number of seconds, not negative"),
    "whole": (_whole, _is_whole, "be a whole number, not negative"),
    "flag": (_flag, lambda value: str(value).lower() in ("true", "false"), "be true or false"),
    "level": (_level, lambda value: value in LEVELS, f"be one of {', '.join(LEVELS)}"),
}
