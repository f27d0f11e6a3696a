"""Reading files of unknown origin: bytes are counted while they are read, sizes are not trusted."""

import os
import stat
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from wire.errors import InputError
from wire.text import printable

_STEP_BYTES: Final = 2**20
_T = TypeVar("_T")


def open_regular(path: Path, what: str = "a file to read", *, pipes: bool = False) -> IO[bytes]:
    """Open the file at *path*; devices such as ``/dev/zero``, which have no end, are refused.

    Args:
        path: the file.
        what: the kind of file, for the error.
        pipes: True to accept a pipe.

    Raises:
        OSError: it cannot be opened.
        InputError: it is a folder, a device or a socket.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(f"{printable(path)}: is {kind}, and cannot be {what}")
    return path.open("rb")


def read_at_most(path: Path, most_bytes: int, what: str = "a file to read", *, pipes: bool = False) -> bytes:
    """Return the bytes of the file at *path*, at most *most_bytes*.

    The size in the file system is not used: it is 0 for files of the kernel, and too small for a growing
    file.

    Raises:
        OSError: it cannot be read.
        InputError: it is not a regular file, or is larger.
    """
    with open_regular(path, what, pipes=pipes) as file:
        parts, size = [], 0
        while part := file.read(min(_STEP_BYTES, most_bytes + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise InputError(
                    f"{printable(path)}: has more than {most_bytes} bytes, which is too much for {what}"
                )
        return b"".join(parts)


def decode_json(content: bytes, kind: type[_T]) -> _T:
    """Return the JSON *content*, which must be of type *kind*.

    Raises:
        ValueError: it is not JSON of that type; the text is one line.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def read_tail(file: IO[bytes], max_bytes: int) -> str:
    """Return the end of a log that another process writes through the same file position."""
    size = os.fstat(file.fileno()).st_size
    tail = os.pread(file.fileno(), max_bytes, max(0, size - max_bytes))
    return tail.decode("utf-8", errors="replace").strip()
