"""The cells of a trace: conversion of the values in a file to the types of the format.

Each kind has one rule, `read_cell`. A column is converted at once if pyarrow follows the same rule. If it
refuses, or may follow another one, it is converted cell by cell, so that an error names the right row.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from devices.memory.pressure import LEVELS
from wire.text import MISSING_VALUE

MOST_WHOLE: Final = 2**63 - 1
MOST_SECONDS: Final = 2**53
LONGEST: Final = 400
"""Longer text is refused as a number, because Python takes a long time to convert it."""

RULES: Final[Mapping[str, str]] = {
    "text": "be a name: text or a whole number",
    "seconds": "be a number of seconds, not negative",
    "whole": "be a whole number, not negative, below 2^63",
    "flag": "be true or false",
    "level": f"be one of {', '.join(LEVELS)}",
}
"""The rule for values of each kind, as errors say it."""

_NO_NUMBER = re.compile(MISSING_VALUE, re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class RefusedCellError(ValueError):
    """A cell breaks the rule of its kind.

    Args:
        row: the number of the row, from 1.
        value: the value of the cell.
    """

    def __init__(self, row: int, value: object) -> None:
        super().__init__(row, value)
        self.row, self.value = row, value


def convert(array: Any, kind: str) -> Any:
    """Return the pyarrow array *array* in the type of *kind*.

    Raises:
        RefusedCellError: a cell breaks the rule.
    """
    import pyarrow as pa

    if pa.types.is_null(array.type):
        return array.cast(_type(kind))
    try:
        array = _plain(array)
        fast = _FAST[kind](array)
    except RefusedCellError:
        raise
    except (pa.ArrowException, ValueError):
        fast = None
    return _cell_by_cell(array, kind) if fast is None else fast


def read_cell(value: object, kind: str) -> Any:
    """Return the value of one cell, which is not empty.

    Raises:
        ValueError: it breaks the rule of its kind.
    """
    return _CELLS[kind](value)


def check_names(names: list[Any]) -> object | None:
    """Return a name such as NaN, infinity or NULL if all others are numbers; None without one."""
    odd = next((name for name in names if _NO_NUMBER.fullmatch(name.strip())), None)
    if odd is None:
        return None
    others = [name for name in names if not _NO_NUMBER.fullmatch(name.strip())]
    return odd if all(_NUMBER.fullmatch(name.strip()) for name in others) else None


def _cell_by_cell(array: Any, kind: str) -> Any:
    import pyarrow as pa

    cells = []
    for row, value in enumerate(array.to_pylist(), start=1):
        try:
            cells.append(None if value is None else read_cell(value, kind))
        except (ValueError, ArithmeticError):
            raise RefusedCellError(row, value) from None
    return pa.array(cells, _type(kind))


def _plain(array: Any) -> Any:
    """Return text columns as plain text: files may have dictionary codes or long offsets."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if pa.types.is_string(array.type):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:  # a Parquet file may call any bytes text
            return array.cast(pa.binary())
    return array


def _type(kind: str) -> Any:
    import pyarrow as pa

    types = {"seconds": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()}
    return types.get(kind, pa.string())


def _text(value: object) -> str:
    """Return a name; a float must be whole: tables with empty cells store whole numbers as floats."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError
        value = int(value) if abs(value) < MOST_SECONDS else value
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError
    return str(value)


def read_number(value: object) -> int | float | Decimal:
    """Return a number with all digits that are written."""
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, int | float | Decimal):
        return value
    text = value.strip() if isinstance(value, str) and len(value) <= LONGEST else ""
    if not _NUMBER.fullmatch(text):
        raise ValueError
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError from None


def _seconds(value: object) -> float:
    seconds = float(read_number(value))
    if not 0 <= seconds < MOST_SECONDS:  # NaN is not, either
        raise ValueError
    return seconds


def _whole(value: object) -> int:
    number = read_number(value)
    if not 0 <= number <= MOST_WHOLE or number != int(number):
        raise ValueError
    return int(number)


def _flag(value: object) -> bool:
    word = str(value).strip().lower() if isinstance(value, str | bool) else ""
    if word not in ("true", "false"):
        raise ValueError
    return word == "true"


def _level(value: object) -> str:
    if value not in LEVELS:
        raise ValueError
    return str(value)


_CELLS: Final[Mapping[str, Callable[[object], Any]]] = {
    "text": _text,
    "seconds": _seconds,
    "whole": _whole,
    "flag": _flag,
    "level": _level,
}


def _fast_text(array: Any) -> Any:
    import pyarrow as pa

    if not (pa.types.is_string(array.type) or pa.types.is_integer(array.type)):
        return None
    texts = array.cast(pa.string())
    odd = check_names(texts.unique().drop_null().to_pylist()) if pa.types.is_string(array.type) else None
    if odd is not None:
        raise RefusedCellError(texts.index(odd).as_py() + 1, odd)
    return texts


def _fast_seconds(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(array.type):
        return None
    floats = array.cast(pa.float64())
    fits = pc.and_(pc.greater_equal(floats, 0), pc.less(floats, float(MOST_SECONDS)))
    return floats if pc.all(fits, min_count=0).as_py() else None


def _fast_whole(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(array.type):
        return None
    if pa.types.is_string(array.type) and not pc.all(pc.utf8_is_digit(array), min_count=0).as_py():
        return None  # signs, points and what else pyarrow would take: one such is 0x1F
    integers = array.cast(pa.int64())
    return integers if pc.all(pc.greater_equal(integers, 0), min_count=0).as_py() else None


def _fast_flag(array: Any) -> Any:
    import pyarrow as pa

    return array if pa.types.is_boolean(array.type) else _fast_words(array, ("true", "false"))


def _fast_words(array: Any, words: tuple[str, ...]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(array.type) or not pc.all(pc.is_in(array, pa.array([*words, None]))).as_py():
        return None
    return pc.equal(array, "true") if words == ("true", "false") else array


_FAST: Final[Mapping[str, Callable[[Any], Any]]] = {
    "text": _fast_text,
    "seconds": _fast_seconds,
    "whole": _fast_whole,
    "flag": _fast_flag,
    "level": lambda array: _fast_words(array, LEVELS),
}
"""Convert a column at once; after None or an error it is converted cell by cell."""
