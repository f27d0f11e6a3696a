"""Data files as text: decompressed, decoded, with limits on size.

Every problem becomes an `InputError` of one line.
"""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from wire.errors import InputError
from wire.input_files import read_at_most
from wire.text import printable

MAX_BYTES = 8 * 2**30
"""Largest size of a data file, uncompressed; the largest public one of this field has about 3 GB."""
MAX_GROWTH = 200
"""Largest ratio of uncompressed to compressed size, beyond `FREE_BYTES`; a table shrinks to about a tenth."""
FREE_BYTES = 64 * 2**20
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""Endings of compressed files; their first bytes decide."""

_CHUNK_BYTES = 2**20
SHOWN_CHARACTERS = 40
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHER_FORMATS = (  # files named by mistake: the first bytes, and the format
    (b"PK\x03\x04", "a zip archive or a spreadsheet; unpack it, or save it as .csv"),
    (b"PAR1", "a Parquet file; its name must end in .parquet"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"ARROW1", "an Arrow file"),
    (b"\x93NUMPY", "a numpy array"),
)


@dataclass(frozen=True, eq=False)
class Text:
    """The text of a file: UTF-8, every line ends with a line feed, no blank lines at the end."""

    path: Path
    raw: bytes
    notes: tuple[str, ...] = ()
    """Remarks for the user."""


def read_text(path: Path, encoding: str = "utf-8") -> Text:
    """Return the text of *path*.

    Args:
        path: a file, compressed or not.
        encoding: its encoding, unless a byte order mark says otherwise.

    Raises:
        InputError: it is missing, cannot be decompressed or decoded, or is empty.
    """
    raw = _unpack(path, read_file(path))
    for start, kind in _OTHER_FORMATS:
        if raw.startswith(start):
            raise InputError(f"{path}: is {kind}")
    if raw[257:262] == b"ustar":
        raise InputError(f"{path}: is a tar archive; unpack it")
    text = _to_utf8(path, raw, encoding)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    complete = text.endswith(b"\n")
    text = text.rstrip(b"\n\x1a") + b"\n"  # \x1a ends DOS files
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    last = f"{path.name}: the last line has no line break; if fields of it are missing, the file is cut off"
    return Text(path, text, () if complete else (last,))


def check_file(path: Path) -> None:
    """Check that *path* is a file and not empty.

    Raises:
        InputError: it is not.
    """
    try:
        if path.is_dir():
            names = ", ".join(sorted(shorten(file.name) for file in path.iterdir())[:5]) or "nothing"
            raise InputError(f"{path}: is a folder, expected a file; it holds {names}")
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if not path.is_file():
            raise InputError(f"{path}: is no regular file")
        if not path.stat().st_size:
            raise InputError(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        raise_unreadable(path, error)


def read_file(path: Path) -> bytes:
    """Return the bytes of *path*.

    Raises:
        InputError: it cannot be read, is empty or too large.
    """
    check_file(path)
    try:
        return read_at_most(path, MAX_BYTES, "a data file")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def suffix_of(path: Path) -> str:
    """Return the ending of *path* in lower case, without that of a compressed file."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in SUFFIXES:
        endings.pop()
    return endings[-1] if endings else ""


def raise_unreadable(path: Path, error: Exception) -> NoReturn:
    """Raise an error of one line: *path* cannot be read.

    Raises:
        InputError: always.
    """
    reason = re.sub(r"Row #(\d+)", r"line \1", " ".join(str(error).split()))
    raise InputError(f"{path}: cannot be read: {printable(reason, 300)}") from None


def quote(value: object, most: int = SHOWN_CHARACTERS) -> str:
    """Return *value* between quotes, with escapes for unprintable characters, cut to a readable length."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return repr(text[:most] + ("..." if len(text) > most else ""))


def shorten(text: str) -> str:
    """Return *text* safe for a terminal, cut to a readable length."""
    return printable(text, SHOWN_CHARACTERS)


# --- unpacking ------------------------------------------------------------------------------------


def _zstd(raw: io.BytesIO) -> Any:
    return pa.CompressedInputStream(pa.BufferReader(raw.getbuffer()), "zstd")


_OPENERS: tuple[tuple[bytes, Callable[[io.BytesIO], Any]], ...] = (  # Any: readers of bytes
    (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", _zstd),
)


def _unpack(path: Path, raw: bytes) -> bytes:
    opener = next((opener for start, opener in _OPENERS if raw.startswith(start)), None)
    if opener is None:
        if path.suffix.lower() in SUFFIXES:
            raise InputError(f"{path}: ends in {path.suffix}, but is not packed so")
        return raw
    most = min(MAX_BYTES, max(FREE_BYTES, MAX_GROWTH * len(raw)))
    parts, left = list[bytes](), most
    try:
        with opener(io.BytesIO(raw)) as file:
            while part := file.read(_CHUNK_BYTES):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    raise InputError(f"{path}: unpacks to more than {most:,} bytes")
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be unpacked, it seems cut off or damaged: {reason}") from None
    return b"".join(parts)


# --- encodings ------------------------------------------------------------------------------------


def _to_utf8(path: Path, raw: bytes, encoding: str) -> bytes:
    """Return *raw* in UTF-8, without a byte order mark."""
    marked = next((name for bom, name in _BOMS if raw.startswith(bom)), None)
    name = marked or encoding
    try:
        text = raw.decode(name)
    except (UnicodeDecodeError, UnicodeError) as error:
        start, end = (error.start, error.end) if isinstance(error, UnicodeDecodeError) else (0, 1)
        line = raw.count(b"\n", 0, start) + 1
        hint = "; where it has another, set data.encoding, such as latin-1" if name == "utf-8" else ""
        raise InputError(
            f"{path}, line {line}: found {quote(raw[start:end])}, expected text in "
            f"{'UTF-8' if name in ('utf-8', 'utf-8-sig') else name}{hint}"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}, line {line}: found a NUL, expected text; "
            "where it is UTF-16 without a byte order mark, set data.encoding to utf-16-le"
        )
    return raw if name == "utf-8" else text.removeprefix("\ufeff").encode()
