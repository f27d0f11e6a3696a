"""What Arrow reads lies in memory of Arrow's own: its threads can let go of it while the process ends."""

import io
import subprocess
import sys

import pyarrow as pa

from wire.arrow_input import arrow_input


def test_what_is_read_is_what_was_there_and_belongs_to_arrow() -> None:
    before = pa.total_allocated_bytes()
    kept = [arrow_input(b"PAR1" * 100), arrow_input(io.BytesIO(b"PAR1" * 100)), arrow_input(b"")]
    assert [file.read() for file in kept] == [b"PAR1" * 100, b"PAR1" * 100, b""]
    assert pa.total_allocated_bytes() - before >= 800


def test_a_process_that_ends_on_an_error_ends_in_order() -> None:
    program = (
        "import io, sys, pyarrow as pa, pyarrow.parquet as pq\n"
        "from wire.arrow_input import arrow_input\n"
        "file = io.BytesIO(); pq.write_table(pa.table({str(n): range(2000) for n in range(40)}), file)\n"
        "for _ in range(3): pq.read_table(arrow_input(file.getvalue()))\n"
        "sys.exit(2)"
    )
    assert {subprocess.run([sys.executable, "-c", program], check=False).returncode for _ in range(3)} == {2}
