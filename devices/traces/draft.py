"""The draft of a recording: each row is written to disk at once, so that a crash loses none.

``OUT.partial``, in the folder of the trace, has one JSON object per line: the sidecar, then the rows. Now and
then a line has only a time, until which the last row is still valid. An incomplete last line is ignored. A
lock file is held while the recording runs: a draft without it comes from a process that ended.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from devices.traces.columns import MAX_BYTES
from devices.traces.writer import Row, Sidecar, check_output, write_trace
from wire.errors import InputError, RunError
from wire.input_files import decode_json, read_at_most
from wire.locks import Lock, acquire_lock
from wire.output_files import os_error_text
from wire.text import printable

SUFFIX: Final = ".partial"
SAFE_EVERY_S: Final = 10.0
"""The interval at which the time is written and the file synced: the most that a power failure can lose."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of a draft, or only a time."""

    d: str
    t: float
    available: int | None = None
    total: int | None = None
    pressure: str | None = None


def draft_path(out: Path) -> Path:
    """Return the path of the draft of the recording *out*."""
    return out.with_name(out.name + SUFFIX)


class TraceDraft:
    """A recording in progress.

    Args:
        out: the path of the trace.
        file: the draft, open and locked.
    """

    def __init__(self, out: Path, file: IO[bytes]) -> None:
        self.rows = 0
        self._path = draft_path(out)
        self._file = file
        self._safe_s = 0.0

    def begin(self, sidecar: Sidecar) -> None:
        """Write the sidecar of the recording."""
        self._write(msgspec.json.encode(sidecar))

    def add(self, row: Row) -> None:
        """Write a row; it has left the process when this returns."""
        self.rows += 1
        line = _Line(row.device_id, row.t_s, row.mem_available_bytes, row.mem_total_bytes, row.pressure)
        self._write(msgspec.json.encode(line))
        self.extend(row.device_id, row.t_s)

    def extend(self, device: str, t_s: float) -> None:
        """Record that the last row is still valid at *t_s*; written every ten seconds."""
        if t_s >= self._safe_s + SAFE_EVERY_S:
            self._safe_s = t_s
            self._write(msgspec.json.encode(_Line(device, t_s)))
            os.fsync(self._file.fileno())

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"{printable(self._path)}: cannot be written: {error.strerror}; `peelfleet trace recover` "
                "makes a trace of what it holds"
            ) from None


@contextmanager
def open_draft(out: Path) -> Iterator[TraceDraft]:
    """Yield the draft of the recording *out*; it is removed at the end if it has no row.

    Raises:
        InputError: *out* cannot be written, or another process records there.
    """
    check_output(out)
    path = draft_path(out)
    with _lock(path):
        try:
            file = path.open("xb")
        except FileExistsError:
            raise InputError(f"{printable(path)}: another process records there") from None
        except OSError as error:
            raise InputError(f"{printable(out)}: cannot be written: {error.strerror}") from None
        with file:
            draft = TraceDraft(out, file)
            try:
                yield draft
            finally:
                if not draft.rows:
                    file.close()  # Windows cannot remove an open file
                    path.unlink(missing_ok=True)


def finish_draft(out: Path) -> Sidecar:
    """Write the trace *out* from its draft, and remove the draft.

    Raises:
        InputError: the draft is missing or empty, or the trace cannot be written; the draft stays.
    """
    sidecar, rows = read_draft(draft_path(out))
    written = write_trace(out, rows, sidecar)
    draft_path(out).unlink()
    return written


def set_aside(out: Path) -> Path | None:
    """Write the draft that an ended process left of *out* as a trace with the first free name beside it.

    Returns:
        The path of the trace; None if there is no draft.

    Raises:
        InputError: the draft is still being written or not valid, or the trace cannot be written.
    """
    path = draft_path(out)
    if not path.exists():
        return None
    with _lock(path):
        sidecar, rows = read_draft(path)
        if not rows:
            path.unlink()
            return None
        names = (out.with_name(f"{out.stem}-{number}{out.suffix}") for number in itertools.count(1))
        free = next(name for name in names if not name.exists())
        write_trace(free, rows, sidecar)
        path.unlink()
    return free


def recover(out: Path) -> Sidecar:
    """Write the trace *out* from the draft that an ended process left.

    Raises:
        InputError: as from `finish_draft`, or the draft is still being written.
    """
    with _lock(draft_path(out)):
        return finish_draft(out)


def read_draft(path: Path) -> tuple[Sidecar, list[Row]]:
    """Return the sidecar and the rows of the draft at *path*, without an incomplete last line.

    Raises:
        InputError: it is not a draft, or cannot be read.
    """
    try:
        lines = read_at_most(path, MAX_BYTES, "a draft").split(b"\n")[:-1]
        sidecar = decode_json(lines[0] if lines else b"", Sidecar)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{printable(path)}: is not a draft of a recording") from None
    return sidecar, list(_rows(lines[1:]))


def _rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows; of the lines with only a time, the last one if it follows the last row."""
    last: Row | None = None
    for line in lines:
        try:
            entry = decode_json(line, _Line)
        except ValueError:
            break
        row = Row(entry.d, entry.t, mem_available_bytes=entry.available, mem_total_bytes=entry.total,
                  pressure=entry.pressure)  # fmt: skip
        if entry.available is not None:
            yield row
            last = None
        else:
            last = row
    if last is not None:
        yield last


def _lock(path: Path) -> Lock:
    """Return the lock of the draft at *path*, which keeps other processes from reading or writing it."""
    try:
        return acquire_lock(path.with_name(f".{path.name}.lock"))
    except BlockingIOError:
        raise InputError(f"{printable(path)}: another process records there") from None
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be locked: {os_error_text(error)}") from None
