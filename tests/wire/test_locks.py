"""One process at a time holds a lock; the lock ends with the process, also if it is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wire.locks import acquire_lock

HOLD = """
import sys
from pathlib import Path
from wire.locks import acquire_lock
with acquire_lock(Path(sys.argv[1])):
    print("mine", flush=True)
    input()
"""
TURNS = """
import sys
from pathlib import Path
from wire.locks import acquire_lock
for _ in range(30):
    with acquire_lock(Path(sys.argv[1]), lambda: None):
        count = Path(sys.argv[2])
        count.write_text(str(int(count.read_text()) + 1))
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def test_who_does_not_wait_is_refused_until_the_other_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        with pytest.raises(BlockingIOError):
            acquire_lock(path)
        process.kill()
        process.wait()
        assert path.exists()
        with acquire_lock(path):
            assert path.exists()
    assert not path.exists()


def test_who_waits_has_it_when_the_other_process_is_gone(tmp_path: Path) -> None:
    heard: list[str] = []
    with holder(tmp_path / "lock") as process:

        def waiting() -> None:
            heard.append("waiting")
            process.kill()

        with acquire_lock(tmp_path / "lock", waiting, keep_file=True):
            assert heard == ["waiting"]
    assert (tmp_path / "lock").exists()


def test_one_after_the_other_has_it_though_its_file_comes_and_goes(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", TURNS, str(tmp_path / "lock"), str(count)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert count.read_text() == "90"


def test_where_no_file_can_be_there_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        acquire_lock(tmp_path / "file" / "lock", lambda: None)
