"""Tables in memory: columns of users, items, ratings and times, and the conversion of their values.

Letters: L rows.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cloud.data.readers.text import quote, shorten
from wire.errors import InputError
from wire.ranking_metrics import IntArray
from wire.text import MISSING_VALUE

Column = Any  # pyarrow has no types
RowLocation = Callable[[int], str]  # from the index of a row to text such as "u.data, line 7"
Numbers = NDArray[np.int64] | NDArray[np.float64]

MAX_NAMES = 12
"""Largest number of column names in a message."""
_USUAL_NAMES = {
    "user": "user userid uid username customer customerid reviewerid visitorid sessionid viewer person",
    "item": "item itemid iid movieid isbn asin productid product bookid artistid songid trackid article",
    "rating": "rating score stars bookrating weight overall preference",
    "time": "time timestamp date datetime unixreviewtime timestampms createdat",
}
"""Usual names of columns in published data, without case and punctuation: for hints only."""


@dataclass(frozen=True)
class ColumnNames:
    """The columns to read, each by its name or its number from 1; None: no such column.

    Columns of the *optional* roles are read if the file has them.
    """

    user: str | int
    item: str | int
    rating: str | int | None
    time: str | int | None
    optional: frozenset[str] = frozenset()
    typed: bool = False
    """True if the name of a column may be followed by a colon and a type, which may be left out."""

    def roles(self) -> dict[str, str | int]:
        """Return the columns by role."""
        columns = {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}
        return {role: column for role, column in columns.items() if column is not None}


@dataclass(frozen=True, eq=False)
class TableRows:
    """A table in memory: columns by role, their names, and the location of each row in its file."""

    path: Path
    columns: Mapping[str, Column]
    names: Mapping[str, str]
    where: RowLocation
    notes: tuple[str, ...] = ()
    parts: IntArray | None = None
    """The part of each row if the source is already split: 0 training, 1 validation, 2 test."""
    decimal: str = "."

    def __len__(self) -> int:
        return len(self.columns["user"])


def find_columns(path: Path, header: Sequence[str], names: ColumnNames, hint: str = "") -> dict[str, int]:
    """Return the index of each of the named columns that exist, by role.

    Raises:
        InputError: a column is missing, or its name occurs more than once.
    """
    matches = {
        role: matching_columns(header, column, typed=names.typed) for role, column in names.roles().items()
    }
    for role, indices in matches.items():
        if len(indices) == 1 or (not indices and role in names.optional):
            continue
        column = names.roles()[role]
        shown = column if isinstance(column, int) else quote(column)
        count = f"{len(indices)} columns" if indices else "no column"
        extra = "" if indices else f"{_suggestion(header, role, column)}{hint}"
        raise InputError(
            f"{path}: found {count} {shown}, expected one; the columns are {join_names(header)}{extra}"
        )
    return {role: indices[0] for role, indices in matches.items() if indices}


def matching_columns(header: Sequence[str], column: str | int, *, typed: bool) -> list[int]:
    """Return the indices in *header* of the column with the name or number *column*."""
    if isinstance(column, int):
        return [column - 1] if column <= len(header) else []
    exact = [index for index, name in enumerate(header) if name == column]
    if exact or not typed:
        return exact
    return [index for index, name in enumerate(header) if name.split(":")[0] == column]


def join_names(header: Sequence[str]) -> str:
    """Return the names of columns as text, up to `MAX_NAMES`."""
    names = ", ".join(shorten(name) for name in header[:MAX_NAMES])
    return names if len(header) <= MAX_NAMES else f"{names} and {len(header) - MAX_NAMES:,} more"


def _suggestion(header: Sequence[str], role: str, column: str | int) -> str:
    """Return a hint with the column that the user may mean."""
    if isinstance(column, int):
        return ""
    plain = {re.sub(r"\W|_", "", name.split(":")[0].lower()): name for name in reversed(header)}
    known = [name for name in _USUAL_NAMES[role].split() if name in plain]
    close = known or difflib.get_close_matches(re.sub(r"\W|_", "", column.lower()), list(plain), n=1)
    return f"; did you mean {role}: {quote(plain[close[0]])}?" if close else ""


# --- ids ------------------------------------------------------------------------------------------


def encode_ids(rows: TableRows, role: str) -> tuple[IntArray, list[str]]:
    """Return a number for each row, shape (L,), and the texts that the numbers stand for.

    Numbers are given in the order of first appearance.

    Raises:
        InputError: a row has no name in this column.
    """
    column, name = rows.columns[role], rows.names[role]
    if pa.types.is_floating(column.type):
        column = _to_whole_numbers(rows, role)
    elif pa.types.is_decimal(column.type) and _casts(column.drop_null(), pa.int64()):
        column = column.cast(pa.int64())
    try:
        texts = column if pa.types.is_dictionary(column.type) else column.cast(pa.string())
        encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        known = encoded.dictionary.cast(pa.string())
    except pa.ArrowException:
        raise InputError(
            f"{rows.path}: column {quote(name)} has values of type {shorten(str(column.type))}, "
            "expected names"
        ) from None
    _check_no_empty(
        rows, name, encoded, pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(known)), 0), True)
    )
    _check_no_missing(rows, name, encoded, known)
    return _number_by_appearance(encoded.indices.to_numpy(zero_copy_only=False), known.to_pylist())


def _number_by_appearance(indices: NDArray[Any], names: list[str]) -> tuple[IntArray, list[str]]:
    """Return indices and names so that each name occurs once, in the order of its first row."""
    number_of: dict[str, int] = {}
    same = np.array([number_of.setdefault(name, len(number_of)) for name in names], dtype=np.int64)
    parse_numbers = same[indices]
    present, first = np.unique(parse_numbers, return_index=True)
    order = present[np.argsort(first)]
    new = np.full(len(number_of), -1, dtype=np.int64)
    new[order] = np.arange(len(order))
    distinct = list(number_of)
    return new[parse_numbers], [distinct[number] for number in order]


def _check_no_empty(rows: TableRows, name: str, encoded: Column, wrong: Column) -> None:
    """Check that no row is null or has a *wrong* text, a mask over the dictionary."""
    bad = np.flatnonzero(wrong.to_numpy(zero_copy_only=False))
    indices = encoded.indices
    if not indices.null_count and not len(bad):
        return
    empty = pc.fill_null(pc.is_in(indices, pa.array(bad, indices.type)), True)
    row = pc.index(pc.or_(empty, pc.is_null(indices)), True).as_py()
    if row >= 0:
        raise InputError(f"{rows.where(row)}: found nothing in column {quote(name)}, expected a name")


def _check_no_missing(rows: TableRows, name: str, encoded: Column, known: Column) -> None:
    """Check that a column of numbers has no NaN, infinity or word for a missing value; text may have them."""
    bad = pc.match_substring_regex(pc.utf8_trim_whitespace(known), f"^{MISSING_VALUE}$", ignore_case=True)
    if not pc.any(bad).as_py() or not _casts(known.filter(pc.invert(bad)), pa.float64()):
        return
    indices = pa.array(np.flatnonzero(bad.to_numpy(zero_copy_only=False)), encoded.indices.type)
    row = pc.index(pc.is_in(encoded.indices, indices), True).as_py()
    if row >= 0:
        value = quote(encoded[row].as_py())
        raise InputError(f"{rows.where(row)}: found {value} in column {quote(name)}, expected a name")


def _to_whole_numbers(rows: TableRows, role: str) -> Column:
    """Return a column of floating-point ids as integers, if all of them are integers."""
    column, name = rows.columns[role], rows.names[role]
    row = pc.index(pc.fill_null(pc.is_finite(column), True), False).as_py()
    if row >= 0:
        raise InputError(
            f"{rows.where(row)}: found {column[row].as_py()} in column {quote(name)}, expected a name"
        )
    wide = column.cast(pa.float64())
    return wide.cast(pa.int64()) if _casts(wide.drop_null(), pa.int64()) else wide


# --- numbers and times ----------------------------------------------------------------------------


def parse_numbers(rows: TableRows, role: str) -> Numbers:
    """Return a column as integers or, if it has others, as floating-point numbers, (L,).

    Raises:
        InputError: a row has no finite number in this column.
    """
    column, name = _decimal_points(rows, rows.columns[role]), rows.names[role]
    for kind in (pa.int64(), pa.float64()):
        if _casts(column, kind):
            values: NDArray[Any] = column.cast(kind).to_numpy(zero_copy_only=False)
            wrong = np.flatnonzero(~np.isfinite(values))
            if len(wrong):
                row = int(wrong[0])
                raise InputError(
                    f"{rows.where(row)}: found {values[row]} in column {quote(name)}, "
                    "expected a finite number"
                )
            return values
    row = _first_not_castable(column, pa.float64())
    value = rows.columns[role][row].as_py()
    shown = "nothing" if value is None else quote(value)
    raise InputError(
        f"{rows.where(row)}: found {shown} in column {quote(name)}, expected a number"
        f"{_comma_hint(value, rows.decimal)}"
    )


def parse_optional_numbers(rows: TableRows, role: str) -> NDArray[np.float64]:
    """Return a column as numbers, NaN for a value that is not a number, (L,)."""
    column = _decimal_points(rows, rows.columns[role])
    if not _is_text(column.type):
        try:
            return np.asarray(
                column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
            )
        except pa.ArrowException:
            return np.full(len(column), np.nan)
    encoded = column.dictionary_encode()
    values = np.array([_number(text) for text in encoded.dictionary.to_pylist()] + [np.nan])
    numbers: NDArray[np.float64] = values[pc.fill_null(encoded.indices, len(values) - 1).to_numpy()]
    return numbers


def parse_times(rows: TableRows, role: str = "time") -> Numbers:
    """Return a column of times as numbers that grow with time, (L,): unchanged, or microseconds.

    Raises:
        InputError: a row has neither a finite number nor an ISO date and time.
    """
    column, name = rows.columns[role], rows.names[role]
    if _is_text(column.type):
        if _casts(column.slice(0, 1), pa.float64()) or not len(column):
            return parse_numbers(rows, role)
        stamps = _parse_iso(column)
        if stamps is not None:
            return stamps
        row = _first_not_time(column)
        raise InputError(
            f"{rows.where(row)}: found {quote(column[row].as_py())} in column {quote(name)}, expected a "
            "number, or a date and time such as 2020-01-31 10:00:00 (all with a zone such as +01:00, or none)"
        )
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_temporal(column.type):
        column = column.cast(pa.int64())
    return parse_numbers(
        TableRows(rows.path, {role: column}, rows.names, rows.where, decimal=rows.decimal), role
    )


def mixes_time_units(times: Numbers) -> bool:
    """Tell whether times seem to be seconds in some rows and milliseconds in others.

    Seconds of the years 1990 to 2100 have 9 or 10 digits, milliseconds 12 or 13.
    """
    seconds = (times > 6.3e8) & (times < 4.2e9)
    milliseconds = (times > 6.3e11) & (times < 4.2e12)
    return bool(seconds.any() and milliseconds.any() and (seconds | milliseconds).all())


_ZONED = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")


def _parse_iso(column: Column) -> NDArray[np.int64] | None:
    """Return ISO dates and times as microseconds; None if one is invalid, or zones are mixed."""
    if column.null_count:
        return None
    texts = pc.replace_substring_regex(column, r"\s*(?:UTC|GMT)$", "Z")
    texts = pc.replace_substring_regex(texts, r"\s+([+-]\d\d(?::?\d\d)?)$", r"\1")
    texts = pc.replace_substring_regex(texts, r"z$", "Z")
    for digits in ("us", "ns"):
        for kind in (pa.timestamp(digits), pa.timestamp(digits, "UTC")):
            if _casts(texts, kind):
                stamps: NDArray[np.int64] = texts.cast(kind).cast(pa.int64()).to_numpy(zero_copy_only=False)
                return stamps
    return None


def _first_not_time(column: Column) -> int:
    """Return the first row that is not an ISO time, or has a zone unlike those before."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        if _parse_iso(column.slice(0, middle)) is not None:
            low = middle
        else:
            high = middle
    return low


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _decimal_points(rows: TableRows, column: Column) -> Column:
    if rows.decimal == "." or not _is_text(column.type):
        return column
    pointed = pc.replace_substring(column, pattern=rows.decimal, replacement=".")
    # A point is no decimal comma: 1.234,5 must not become a number by chance.
    return pc.if_else(pc.match_substring(column, "."), column, pointed)


def _comma_hint(value: object, decimal: str) -> str:
    if not isinstance(value, str):
        return ""
    thousands = re.fullmatch(r"[+-]?\d{1,3}([., '\u00a0\u202f]\d{3})+([.,]\d+)?", value)
    comma = decimal == "." and re.fullmatch(r"[+-]?\d+,\d+", value)
    hint = " without marks between thousands" if thousands else ""
    return hint + ('; where the comma is the decimal mark, set data.decimal: ","' if comma else "")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _casts(column: Column, kind: Any) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowException:
        return False
    return not column.null_count


def _first_not_castable(column: Column, kind: Any) -> int:
    """Return the first row that cannot be cast to *kind*, by bisection; there must be one."""
    low, high = 0, len(column)  # rows before low can be cast, one before high cannot
    while high - low > 1:
        middle = (low + high) // 2
        if _casts(column.slice(low, middle - low), kind):
            low = middle
        else:
            high = middle
    return low
