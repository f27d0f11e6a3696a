"""Files of other projects: compressed or not, alone or in an archive, in any encoding.

The first bytes decide the form of a file, not its name. Unpacked bytes are counted: they may be very many.
"""

import bz2
import codecs
import csv
import gzip
import io
import itertools
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from wire.errors import InputError
from wire.input_files import open_regular
from wire.text import printable

MAX_SOURCE_BYTES: Final = 2**36
"""The most bytes of a source that is read as a stream, unpacked."""
MAX_WHOLE_BYTES: Final = 2**30
"""The most bytes of a source that is read into memory, unpacked."""
MAX_LINE: Final = 2**24
"""The most bytes of a line."""
MAX_DIGITS: Final = 400
LAYERS: Final = 3
"""The most layers of packing: an archive in a compressed file has two."""
SEPARATORS: Final = (",", ";", "\t", "|")
Record = Mapping[str, Any]

_DAMAGED = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,
    ValueError,
)


class _Counted(io.RawIOBase):
    """A stream that fails when it yields more than the limit."""

    def __init__(self, stream: Any, path: Path) -> None:
        super().__init__()
        self._stream, self._path, self._left = stream, path, MAX_SOURCE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._stream.read(len(buffer))
        self._left -= len(part)
        if self._left < 0:
            raise InputError(f"{printable(self._path)}: holds more than {MAX_SOURCE_BYTES} bytes")
        buffer[: len(part)] = part
        return len(part)


@contextmanager
def open_source(path: Path) -> Iterator[io.BufferedReader]:
    """Open the source *path*, unpacked.

    Raises:
        InputError: it cannot be read, is damaged, or is an archive of several files.
    """
    checks: list[Callable[[], None]] = []
    try:
        with open_regular(path, "a source", pipes=True) as file:
            stream: Any = file
            for _ in range(LAYERS):
                unpack = _packing(stream.peek(512)[:512])
                if unpack is None:
                    break
                stream = io.BufferedReader(_Counted(unpack(path, stream, checks), path), 2**16)
            yield stream
            for check in checks:
                check()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror or printable(error)}") from None
    except (InputError, UnicodeError, csv.Error):
        raise
    except _DAMAGED as error:
        raise InputError(f"{printable(path)}: is damaged: {printable(error, 100)}") from None


def read_source(path: Path) -> bytes:
    """Return the bytes of the source *path*, unpacked.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    with open_source(path) as stream:
        return _read_all(path, stream)


def read_text(path: Path, encoding: str | None = None) -> str:
    """Return the text of the source *path*, unpacked.

    Raises:
        InputError: it cannot be read, is too large, or is not text.
    """
    with open_source(path) as stream:
        charset = _encoding(stream.peek(64)[:64], encoding)
        try:
            return _read_all(path, stream).decode(charset)
        except UnicodeError:
            raise _not_text(path, charset) from None


def read_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of the text file *path*, unpacked.

    Args:
        path: the source.
        encoding: of its text; None: found from its first bytes, or UTF-8.

    Raises:
        InputError: it cannot be read, or is not text.
    """
    with open_source(path) as stream:
        head = stream.peek(4096)[:4096]
        charset = _encoding(head, encoding)
        if _one_byte(charset) and (b"\n" in head or b"\r" not in head):
            yield from _decode_lines(path, stream, charset)
            return
        text = io.TextIOWrapper(stream, encoding=charset)
        try:
            for number in itertools.count(1):
                line = text.readline(MAX_LINE)
                if not line:
                    return
                _check_line(path, number, len(line))
                yield number, line.rstrip("\r\n")
        except UnicodeError:
            raise _not_text(path, charset) from None


def read_records(path: Path, encoding: str | None = None) -> Iterator[tuple[int, Record]]:
    """Yield (row from 1, values by name) of a table: CSV with a header, JSON, Parquet.

    JSON is one object per line, or an array of objects. Blank lines are skipped.

    Raises:
        InputError: it is none of these, or damaged; names the row.
    """
    with open_source(path) as stream:
        head = stream.peek(4096)[:4096]
    if head.startswith(b"PAR1"):
        yield from _parquet(path)
        return
    first = head.decode(_encoding(head, encoding), "ignore").lstrip("\ufeff \t\r\n")[:1]
    if first == "[":
        yield from _array(path, encoding)
    elif first == "{":
        yield from _json_lines(path, encoding)
    else:
        yield from _csv(path, encoding)


def csv_rows(
    path: Path, lines: Iterable[str], separator: str = ",", first: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """Yield (row, fields) of CSV *lines*, without blank ones.

    Raises:
        InputError: a row is not CSV.
    """
    row = first - 1
    try:
        for fields in csv.reader(lines, delimiter=separator, skipinitialspace=True):
            if any(field.strip() for field in fields):
                row += 1
                yield row, fields
    except csv.Error as error:
        raise InputError(f"{printable(path)}: row {row + 1}: is no CSV: {printable(error, 100)}") from None


def _csv(path: Path, encoding: str | None) -> Iterator[tuple[int, Record]]:
    lines = (line for _, line in read_lines(path, encoding))
    header = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    separator = max(SEPARATORS, key=lambda mark: len(next(csv_rows(path, [header], mark), (0, [""]))[1]))
    if separator not in header and len(header.split()) > 1:  # blanks, as many as look good
        header, separator = "\t".join(header.split()), "\t"
        lines = ("\t".join(line.split()) for line in lines)
    names = [name.strip() for _, fields in csv_rows(path, [header], separator) for name in fields]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{printable(path)}: column {twice!r} occurs twice")
    for row, fields in csv_rows(path, lines, separator):
        if len(fields) != len(names):
            raise InputError(
                f"{printable(path)}: row {row}: must have {len(names)} fields, not {len(fields)}"
            )
        yield row, dict(zip(names, fields, strict=True))


def _json_lines(path: Path, encoding: str | None) -> Iterator[tuple[int, Record]]:
    row = 0
    for _, line in read_lines(path, encoding):
        if line.strip("\ufeff \t"):
            row += 1
            yield row, _record(path, row, _json(f"{printable(path)}: row {row}", line))


def _array(path: Path, encoding: str | None) -> Iterator[tuple[int, Record]]:
    for row, value in enumerate(_json(printable(path), read_text(path, encoding)), start=1):
        yield row, _record(path, row, value)


def _record(path: Path, row: int, value: Any) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{printable(path)}: row {row}: must be a JSON object")
    return value


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text.lstrip("\ufeff"), parse_constant=_refuse_constant, parse_int=_int)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else printable(error, 100)
        raise InputError(f"{where}: is no JSON: {reason}") from None


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _parquet(path: Path) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet

    from devices.traces.columns import MAX_BYTES, decoded_bytes
    from wire.arrow_input import arrow_input

    row = 0
    try:
        with open_regular(path) as file:
            for batch in pyarrow.parquet.ParquetFile(arrow_input(file)).iter_batches(batch_size=2**12):
                if sum(map(decoded_bytes, batch.columns)) > MAX_BYTES // 8:
                    raise InputError(f"{printable(path)}: row {row + 1}: a row is too large")
                for record in _plain_times(batch).to_pylist():
                    row += 1
                    yield row, record
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = printable(" ".join(str(error).split()), 200)
        raise InputError(f"{printable(path)}: cannot be read as a table: {reason}") from None


def _plain_times(batch: Any) -> Any:
    """Return *batch* with its times in microseconds: nanoseconds need another library."""
    import pyarrow as pa

    columns = [
        column.cast(pa.timestamp("us", column.type.tz), safe=False)
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _packing(head: bytes) -> Callable[[Path, Any, list[Callable[[], None]]], Any] | None:
    """Return the function that unpacks a stream that begins with *head*; None if it is not packed."""
    for magic, unpack in _MAGIC.items():
        if head.startswith(magic):
            return unpack
    return _untar if head[257:262] == b"ustar" else None


def _unzstd(path: Path, stream: Any, checks: object) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


def _untar(path: Path, stream: Any, checks: list[Callable[[], None]]) -> IO[bytes]:
    archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115 - ends with the stream
    files = (member for member in archive if member.isfile() and _is_data(member.name))
    member = next(files, None)
    content = None if member is None else archive.extractfile(member)
    if member is None or content is None:
        raise InputError(f"{printable(path)}: is an archive without a file")

    def check() -> None:
        other = next(files, None)
        if other is not None:
            raise _several(path, [member.name, other.name])

    checks.append(check)
    return content


def _unzip(path: Path, stream: Any, checks: object) -> IO[bytes]:
    if not stream.seekable():
        raise InputError(f"{printable(path)}: is a zip archive in a stream: unpack it first")
    archive = zipfile.ZipFile(stream)
    names = [name for name in archive.namelist() if not name.endswith("/") and _is_data(name)]
    if len(names) != 1:
        raise (
            _several(path, names) if names else InputError(f"{printable(path)}: is an archive without a file")
        )
    return archive.open(names[0])


def _is_data(name: str) -> bool:
    """Return whether a file of an archive is data, and not added by macOS."""
    return not name.startswith("__MACOSX/") and not name.rsplit("/", 1)[-1].startswith("._")


def _several(path: Path, names: list[str]) -> InputError:
    shown = printable(", ".join(names[:3]), 200)
    return InputError(
        f"{printable(path)}: is an archive of several files ({shown}): unpack the one to import"
    )


_MAGIC: Final[Mapping[bytes, Callable[[Path, Any, list[Callable[[], None]]], Any]]] = {
    b"\x1f\x8b": lambda path, stream, checks: gzip.open(stream),  # noqa: SIM115 - ends with the stream
    b"BZh": lambda path, stream, checks: bz2.open(stream),  # noqa: SIM115 - ends with the stream
    b"\xfd7zXZ\0": lambda path, stream, checks: lzma.open(stream),  # noqa: SIM115 - ends with the stream
    b"\x28\xb5\x2f\xfd": _unzstd,
    b"PK\x03\x04": _unzip,
}


def _read_all(path: Path, stream: IO[bytes]) -> bytes:
    parts, size = [], 0
    while part := stream.read(2**20):
        parts.append(part)
        size += len(part)
        if size > MAX_WHOLE_BYTES:
            raise InputError(f"{printable(path)}: holds more than {MAX_WHOLE_BYTES} bytes; it is read whole")
    return b"".join(parts)


def _encoding(head: bytes, named: str | None) -> str:
    """Return the encoding of a text that begins with *head*."""
    if named is not None:
        try:
            codecs.lookup(named)
            "".encode(named)
        except (LookupError, ValueError):
            raise InputError(f"--encoding(={named!r}) must be an encoding, such as latin-1") from None
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    return named or "utf-8"


def _one_byte(encoding: str) -> bool:
    """Return whether in *encoding* the ASCII byte of a line break is a line break, and nothing else is."""
    return encoding == "utf-8-sig" or (
        "\n\r".encode(encoding) == b"\n\r" and "a\n".encode(encoding) == b"a\n"
    )


def _decode_lines(path: Path, stream: IO[bytes], encoding: str) -> Iterator[tuple[int, str]]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        _check_line(path, number, len(line))
        try:
            yield (
                number,
                line.decode(encoding if number == 1 or encoding != "utf-8-sig" else "utf-8").rstrip("\r\n"),
            )
        except UnicodeError:
            raise _not_text(path, encoding, number) from None


def _check_line(path: Path, number: int, size: int) -> None:
    if size > MAX_LINE - 1:
        raise InputError(f"{printable(path)}: line {number}: is longer than {MAX_LINE} bytes")


def _not_text(path: Path, encoding: str, line: int | None = None) -> InputError:
    name = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8"}.get(encoding, encoding)
    where = printable(path) if line is None else f"{printable(path)}: line {line}"
    return InputError(f"{where}: is not {name} text; --encoding names another, such as latin-1")
