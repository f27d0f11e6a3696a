"""Standard error whose write errors are ignored: a lost message must not end a run of hours."""

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _IgnoringErrors(io.FileIO):
    """Ignores errors of writing: a full disk, a closed terminal, a pipe without a reader."""

    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def ignore_write_errors() -> None:
    """Make writes to standard error never fail, if it is the standard error of the system."""
    given = sys.__stderr__
    if given is None or sys.stderr is not given:  # closed, or replaced by a test
        return
    raw = _IgnoringErrors(given.fileno(), "wb", closefd=False)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw), given.encoding, "backslashreplace", line_buffering=True
    )
