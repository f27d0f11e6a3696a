"""Tables as text: one row a line, with fields divided by a given or detected separator.

A separator is detected only if it cannot be wrong: it leads to the wanted columns or, without a header, to
the same number of fields in every line.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cloud.data.readers.columns import ColumnNames, TableRows, find_columns, join_names, matching_columns
from cloud.data.readers.text import Text, quote, raise_unreadable, suffix_of
from cloud.data.sources import SEPARATORS
from wire.arrow_input import arrow_input
from wire.errors import InputError

_USUAL_SEPARATORS = {".csv": ",", ".psv": "|"}
_LINES_TRIED = 20
_STAND_IN = "\x1f"  # for separators of several characters
_BLOCK_BYTES = 16 * 2**20  # the longest row


@dataclass(frozen=True)
class DelimitedFormat:
    """The format of a table as text."""

    separator: str | None = None
    """None: detected."""
    header: bool = True
    columns: Sequence[str] = ()
    """The names of the columns if there is no header; if empty they are numbered from 1."""
    decimal: str = "."


def read_delimited(text: Text, form: DelimitedFormat, wanted: ColumnNames) -> TableRows:
    """Return the wanted columns as texts; every row must have as many fields as the header.

    Raises:
        InputError: a column is missing, or a row has too few or too many fields.
    """
    if not form.header:
        text = _without_comments(text)
    path, first = text.path, _first_line(text.raw)
    separator = form.separator or _detect_separator(text, form, wanted)
    raw, delimiter = _single_character(path, text.raw, separator)
    quoted = _has_quotes(first, separator)
    if quoted and re.search(re.escape(delimiter) + r"[ \t]", first):
        raw = re.sub(re.escape(delimiter.encode()) + rb'[ \t]+"', delimiter.encode() + b'"', raw)
    if quoted and raw.count(b'"') % 2:
        _check_closed(path, raw, delimiter)
    skip, header = _header(path, raw, delimiter, quoted, form)
    indices = find_columns(path, header, wanted, _hint(header, form, separator, _usual_separator(path)))
    table = _parse(path, raw, delimiter, header, indices, skip, quoted)
    if not len(table):
        raise InputError(f"{path}: has no line after the header")
    columns = {
        role: pc.utf8_trim_whitespace(table[str(index)].combine_chunks()) for role, index in indices.items()
    }

    def where(row: int) -> str:
        return f"{path}, line {_line(raw, delimiter, quoted, row + skip)}"

    names = {role: header[index] for role, index in indices.items()}
    return TableRows(path, columns, names, where, text.notes, decimal=form.decimal)


def separator_of(name: str | None) -> str | None:
    """Return the separator that a scenario names; None: to be detected."""
    return name if name is None else SEPARATORS.get(name, name)


def _without_comments(text: Text) -> Text:
    """Return the text with its first comment replaced by blank lines, so that line numbers stay."""
    comment = re.match(rb"(?:[ \t]*\n)*(?:[#%](?:[ \t].*)?\n(?:[ \t]*\n)*)+", text.raw)
    if comment is None:
        return text
    raw = b"\n" * comment[0].count(b"\n") + text.raw[comment.end() :]
    note = f"{text.path.name}: a comment before the first row is left out: {quote(comment[0].strip())}"
    return Text(text.path, raw, (*text.notes, note))


def _first_line(raw: bytes) -> str:
    """Return the first line that is not blank."""
    return _from_first_row(raw).partition(b"\n")[0].decode("utf-8", "replace")


def _from_first_row(raw: bytes) -> bytes:
    """Return the text without the blank lines at its beginning."""
    return re.sub(rb"\A(?:[ ]*\n)+", b"", raw)


def _has_quotes(first: str, separator: str) -> bool:
    """Tell whether quotes enclose fields; with tabs and blanks they may be part of a name."""
    return separator in (",", ";", "|") or first.lstrip().startswith('"')


def _single_character(path: Path, raw: bytes, separator: str) -> tuple[bytes, str]:
    """Return the text with a separator of one character, and that separator."""
    if separator == " ":
        return re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", re.sub(rb"[ \t]+", b"\t", raw)), "\t"
    if len(separator) == 1:
        return raw, separator
    if _STAND_IN.encode() in raw:
        raise InputError(f"{path}: found the character {_STAND_IN!r}, which no name can have here")
    return raw.replace(separator.encode(), _STAND_IN.encode()), _STAND_IN


# --- the separator and the header -----------------------------------------------------------------


def _detect_separator(text: Text, form: DelimitedFormat, wanted: ColumnNames) -> str:
    """Return the separator that leads to the wanted columns, else the one with the most fields."""
    usual = _usual_separator(text.path)
    candidates = [usual, *(separator for separator in SEPARATORS.values() if separator != usual)]
    lines = [line for line in _head(text.raw).split("\n") if line.strip()][:_LINES_TRIED]
    if not lines:
        return usual
    counts = {separator: [len(_fields(line, separator)) for line in lines] for separator in candidates}
    if form.header:
        needed = [column for role, column in wanted.roles().items() if role not in wanted.optional]
        for separator in candidates:
            names = _fields(lines[0], separator)
            if all(matching_columns(names, column, typed=wanted.typed) for column in needed):
                return separator
    even = [
        separator for separator in candidates if counts[separator][0] > 1 and len(set(counts[separator])) == 1
    ]
    even = [separator for separator in even if counts[separator][0] == len(form.columns)] or even
    if even and not form.header:
        return even[0]
    return max(even or candidates, key=lambda separator: counts[separator][0])


def _usual_separator(path: Path) -> str:
    return _USUAL_SEPARATORS.get(suffix_of(path), "\t")


def _head(raw: bytes) -> str:
    """Return the first lines, complete unless they are very long."""
    head = raw[: 2**16]
    return (head if len(head) == len(raw) else head[: head.rfind(b"\n") + 1] or head).decode(
        "utf-8", "replace"
    )


def _fields(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if len(separator) > 1:
        return [field.strip() for field in line.split(separator)]
    quote = csv.QUOTE_MINIMAL if _has_quotes(line, separator) else csv.QUOTE_NONE
    reader = _reader(line, separator, quote)
    return [field.strip() for field in next(reader, [])]


def _header(
    path: Path, raw: bytes, delimiter: str, quoted: bool, form: DelimitedFormat
) -> tuple[int, Sequence[str]]:
    """Return the number of records of the header, and the names of the columns."""
    first = next(_records(raw, delimiter, quoted), (0, []))[1]
    if not first:
        raise InputError(f"{path}: has no line with a name or a value")
    if form.header:
        return 1, [name.strip() for name in first]
    if form.columns and len(form.columns) != len(first):
        raise InputError(
            f"{path}: found {len(first)} columns, expected the {len(form.columns)} that data.columns names"
        )
    return 0, form.columns or [str(number) for number in range(1, len(first) + 1)]


def _hint(header: Sequence[str], form: DelimitedFormat, separator: str, usual: str) -> str:
    if len(header) == 1 and not header[0].startswith(("#", "%")):
        return f" (with the separator {separator!r}); is there another? Then set data.separator"
    if form.header and any(re.fullmatch(r"[\d.+-]+", name) for name in header):
        return "; where the file has no header, set data.header: false"
    if header[0].startswith(("#", "%")):
        return "; where the file begins with a comment and has no header, set data.header: false"
    return "" if separator == usual else f" (with the separator {separator!r})"


# --- rows -----------------------------------------------------------------------------------------


def _parse(
    path: Path,
    raw: bytes,
    delimiter: str,
    header: Sequence[str],
    indices: dict[str, int],
    skip: int,
    quoted: bool,
) -> Any:  # a pyarrow.Table
    wrong: list[Any] = []  # pyarrow.csv.InvalidRow

    def note(row: Any) -> str:
        if not row.text.strip():
            return "skip"
        wrong.append(row)
        return "error"

    columns = sorted(set(indices.values()))
    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter,
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
        invalid_row_handler=note,
    )
    read = pyarrow.csv.ReadOptions(
        use_threads=False,
        column_names=[str(index) for index in range(len(header))],
        skip_rows_after_names=skip,
        block_size=_BLOCK_BYTES,
    )
    convert = pyarrow.csv.ConvertOptions(
        column_types={str(index): pa.string() for index in columns},
        include_columns=[str(index) for index in columns],
        null_values=[],
    )
    try:  # without leading blank lines, which pyarrow would count as skipped
        return pyarrow.csv.read_csv(arrow_input(_from_first_row(raw)), read, parse, convert)
    except pa.ArrowInvalid as error:
        _refuse_fields(path, raw, delimiter, quoted, header)
        raise_unreadable(path, error)


def _refuse_fields(path: Path, raw: bytes, delimiter: str, quoted: bool, header: Sequence[str]) -> None:
    """Raise an error for the first row with another number of fields than the header.

    Raises:
        InputError: there is such a row.
    """
    for line, fields in _records(raw, delimiter, quoted):
        if len(fields) != len(header):
            raise InputError(
                f"{path}, line {line}: found {len(fields)} field{'s' * (len(fields) != 1)}, "
                f"expected {len(header)}: {join_names(header)}"
            )


def _line(raw: bytes, delimiter: str, quoted: bool, record: int) -> int:
    """Return the line in which a record begins: blank lines are no records, quotes may hold line breaks."""
    for index, (line, _) in enumerate(_records(raw, delimiter, quoted)):
        if index == record:
            return line
    return raw.count(b"\n")


def _check_closed(path: Path, raw: bytes, delimiter: str) -> None:
    """Check that no quoted field goes on to the end of the file, given an odd number of quotes."""
    lines = io.TextIOWrapper(io.BytesIO(raw), "utf-8", "replace", newline="\n")
    reader, line = csv.reader(lines, delimiter=delimiter, strict=True), 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        if "end of data" in str(error):
            raise InputError(
                f"{path}, line {line}: a quote begins in this row and does not end: the file seems cut off"
            ) from None


def _records(raw: bytes, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank, with the line in which it begins."""
    text = io.TextIOWrapper(io.BytesIO(raw), "utf-8", "replace", newline="\n")
    limit = csv.field_size_limit(2**31 - 1)  # it is global to Python
    try:
        reader, line = _reader(text, delimiter, csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE), 1
        for fields in reader:
            if any(field.strip() for field in fields) or len(fields) > 1:
                yield line, fields
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)


def _reader(text: str | io.TextIOBase, delimiter: str, quoting: Any) -> Any:
    lines = io.StringIO(text, newline="\n") if isinstance(text, str) else text
    return csv.reader(lines, delimiter=delimiter, quoting=quoting)
