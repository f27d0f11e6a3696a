"""Worker processes do not run the program again that started them."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.executors.open_executor import open_executor

PROGRAM = """
import posixpath
from emulator.executors.open_executor import open_executor

print("the program begins")
with open_executor(workers=2) as executor:
    print(sorted(executor.submit(posixpath.join, "a", name).result() for name in "cb"))
"""


@pytest.mark.parametrize("form", ["a script without a guard", "standard input"])
def test_a_program_without_a_guard_starts_workers(form: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PROGRAM)
    script = form != "standard input"
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py") if script else "-"],
        input=None if script else PROGRAM, capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["the program begins", "['a/b', 'a/c']"]
    assert ended.stderr == ""


def _process_of_a_call(_: int) -> tuple[int, int]:
    with open_executor(workers=2) as executor:
        return executor.submit(os.getpid).result(), os.getpid()


def test_a_worker_of_a_pool_of_the_user_makes_the_calls_itself() -> None:
    """It may start no process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (of_call, of_worker) = pool.map(_process_of_a_call, [0])[0]
    assert of_call == of_worker != os.getpid()
