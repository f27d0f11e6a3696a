"""The draft of a recording: rows lie on the disk as they come, so that no ending of the process loses them.

``OUT.partial``, beside the trace that it becomes, has a JSON object a line: first the sidecar, then a row
each, and a line with only a time now and then, which says how long the last row held. A line that was cut
off is left out. A lock beside it goes with its process: a draft without one is what a process left behind.
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
"""So often the time is written and all is pushed to the disk: what a loss of power can cost."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of a draft, or only a time."""

    d: str
    t: float
    available: int | None = None
    total: int | None = None
    pressure: str | None = None


def draft_path(out: Path) -> Path:
    """Return where the draft of the recording *out* is."""
    return out.with_name(out.name + SUFFIX)


class TraceDraft:
    """A recording on its way.

    Args:
        out: the trace that it becomes.
        file: the draft, open and locked.
    """

    def __init__(self, out: Path, file: IO[bytes]) -> None:
        self.rows = 0
        self._path = draft_path(out)
        self._file = file
        self._safe_s = 0.0

    def begin(self, sidecar: Sidecar) -> None:
        """Write what will be said of the recording."""
        self._write(msgspec.json.encode(sidecar))

    def add(self, row: Row) -> None:
        """Write a row; it is on its way to the disk when this returns."""
        self.rows += 1
        line = _Line(row.device_id, row.t_s, row.mem_available_bytes, row.mem_total_bytes, row.pressure)
        self._write(msgspec.json.encode(line))
        self.tell(row.device_id, row.t_s)

    def tell(self, device: str, t_s: float) -> None:
        """Say that the last row still holds at *t_s*; written every ten seconds."""
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
    """Give the draft of the recording *out*; it goes away at the end if it holds no row.

    Raises:
        InputError: *out* cannot be written, or another process records there.
    """
    check_output(out)
    path = draft_path(out)
    with _locked(path):
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
                    file.close()  # Windows removes no open file
                    path.unlink(missing_ok=True)


def finish_draft(out: Path) -> Sidecar:
    """Make the trace *out* of its draft, which goes away.

    Raises:
        InputError: there is no draft, it holds no row, or the trace cannot be written; the draft stays.
    """
    sidecar, rows = read_draft(draft_path(out))
    written = write_trace(out, rows, sidecar)
    draft_path(out).unlink()
    return written


def set_aside(out: Path) -> Path | None:
    """Make a trace of what a process left behind that recorded *out*, beside it under the first free name.

    Returns:
        The trace; None if nothing was left.

    Raises:
        InputError: the draft is still being written, is none of ours, or the trace cannot be written.
    """
    path = draft_path(out)
    if not path.exists():
        return None
    with _locked(path):
        sidecar, rows = read_draft(path)
        if not rows:
            path.unlink()
            return None
        names = (out.with_name(f"{out.stem}-{number}{out.suffix}") for number in itertools.count(1))
        free = next(each for each in names if not each.exists())
        write_trace(free, rows, sidecar)
        path.unlink()
    return free


def recover(out: Path) -> Sidecar:
    """Make the trace *out* of the draft that a process left behind.

    Raises:
        InputError: as from `finish`, or it is still being written.
    """
    with _locked(draft_path(out)):
        return finish_draft(out)


def read_draft(path: Path) -> tuple[Sidecar, list[Row]]:
    """Return what the draft at *path* holds, up to the line that was cut off.

    Raises:
        InputError: it is no draft, or cannot be read.
    """
    try:
        lines = read_at_most(path, MAX_BYTES, "a draft").split(b"\n")[:-1]
        sidecar = decode_json(lines[0] if lines else b"", Sidecar)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{printable(path)}: is no draft of a recording") from None
    return sidecar, list(_rows(lines[1:]))


def _rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows, times alone only where the last of them is later than the last row."""
    last: Row | None = None
    for line in lines:
        try:
            said = decode_json(line, _Line)
        except ValueError:
            break
        row = Row(said.d, said.t, mem_available_bytes=said.available, mem_total_bytes=said.total,
                  pressure=said.pressure)  # fmt: skip
        if said.available is not None:
            yield row
            last = None
        else:
            last = row
    if last is not None:
        yield last


def _locked(path: Path) -> Lock:
    """Return the lock of the draft at *path*, which nobody else writes or reads as long."""
    try:
        return acquire_lock(path.with_name(f".{path.name}.lock"))
    except BlockingIOError:
        raise InputError(f"{printable(path)}: another process records there") from None
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be locked: {os_error_text(error)}") from None
