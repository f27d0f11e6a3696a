"""Input for Arrow in memory of its own.

Arrow's threads may still let go of their input when the process is already ending, on an error say. Memory
that Python owns can then not be given back, and the process aborts; Arrow's own memory can.
"""

from typing import IO

import pyarrow as pa


def arrow_input(source: IO[bytes] | bytes) -> pa.BufferReader:
    """Return the rest of an open file, or bytes, as a file of Arrow's.

    Raises:
        OSError: the file cannot be read.
    """
    data = source if isinstance(source, bytes) else source.read()
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)
