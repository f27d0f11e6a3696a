"""Standard error that ends nothing: what cannot be said there is not worth a run of hours."""

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _IgnoringErrors(io.FileIO):
    """Takes whatever is written: a full disk, a closed terminal or a reader that has left lose the words."""

    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def ignore_write_errors() -> None:
    """Let writing to standard error never fail, where it is the system's."""
    given = sys.__stderr__
    if given is None or sys.stderr is not given:  # closed, or a test's
        return
    raw = _IgnoringErrors(given.fileno(), "wb", closefd=False)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw), given.encoding, "backslashreplace", line_buffering=True
    )
