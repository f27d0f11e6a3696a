"""Types of the columns of a run's tables, from the lists of columns."""

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from devices.event_log import COLUMNS, Column
from emulator.run_directory.layout import DEVICES, METRICS
from scenarios.catalogue.event_columns import DEVICE_COLUMNS, METRIC_COLUMNS, SAMPLE_COLUMNS, part_column

_WHOLE, _NUMBERS, _TRUTH, _TEXT = "whole numbers", "numbers", "true or false", "text"
_OR_NULL: Final = "numbers or null"
_WHOLE_OR_NULL: Final = "whole numbers or null"
_LABELS: Final = "labels"
_LIST_OF: Final = "lists of "
_DECLARED: Final[Mapping[str, str]] = {
    "int64": _WHOLE,
    "double": _NUMBERS,
    "string": _TEXT,
    "list<int64>": _LIST_OF + _WHOLE,
    "list<double>": _LIST_OF + _NUMBERS,
    "list<string>": _LIST_OF + _TEXT,
    "map<string, string>": _LABELS,
}
_FITS: Final[Mapping[str, Callable[[pa.DataType], bool]]] = {
    _WHOLE: pa.types.is_integer,
    _NUMBERS: pa.types.is_floating,
    _OR_NULL: pa.types.is_floating,
    _WHOLE_OR_NULL: pa.types.is_integer,
    _TRUTH: pa.types.is_boolean,
    _TEXT: pa.types.is_string,
    _LABELS: lambda kind: pa.types.is_map(kind) and kind.key_type == kind.item_type == pa.string(),
}


def column_types(name: str) -> Mapping[str, str]:
    """Return the type of each column of a run's table, given the table's path inside the run directory."""
    if name == METRICS:
        return _declared(METRIC_COLUMNS) | {"number": _OR_NULL}
    return _declared({**DEVICE_COLUMNS, **SAMPLE_COLUMNS}) if name == DEVICES else {}


def part_types(table: str) -> Mapping[str, str]:
    """Return the type of each column of the parts of an event table."""
    columns = {column: part_column(table, column) for column in COLUMNS[table]}
    return {
        columns[column]: _of_log(kind) if columns[column] == column else _WHOLE_OR_NULL
        for column, kind in COLUMNS[table].items()
    }


def _declared(columns: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {name: _DECLARED[kind] for name, (kind, _) in columns.items()}


def _of_log(kind: Column) -> str:
    return {"i": _WHOLE, "f": _NUMBERS, "?": _TRUTH}[kind[0]] if isinstance(kind, str) else _TEXT


def has_type(column: pa.ChunkedArray, kind: str) -> bool:
    """Return True if every value of *column* has the type *kind*."""
    if kind.startswith(_LIST_OF):
        is_list = pa.types.is_list(column.type) and column.null_count == 0
        return is_list and has_type(pc.list_flatten(column), kind.removeprefix(_LIST_OF))
    given = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _FITS[kind](given):
        return False
    if kind == _WHOLE_OR_NULL:
        return True
    if kind == _OR_NULL:
        return bool(pc.all(pc.is_finite(column), min_count=0).as_py())
    return bool(column.null_count == 0)
