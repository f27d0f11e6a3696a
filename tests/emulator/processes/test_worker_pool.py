"""Worker pools: a dead worker fails its own task only, an interrupted one cleans up, and all end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from emulator.processes.worker_pool import run_all, worker_pool

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0

SLOW = """
import sys
from pathlib import Path
from emulator.processes import interrupts
from emulator.processes.worker_pool import run_all
from tests.emulator.processes.test_worker_pool import wind_up

if __name__ == "__main__":
    interrupts.install_handlers()
    tasks = [f"{sys.argv[1]}/{number}" for number in range(4)]
    try:
        run_all(wind_up, tasks, 2, lambda task: None, lambda task, wrong: print(task, wrong, flush=True))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def wind_up(path: str) -> str | None:
    """Begin something that takes for ever, in a wait of the system; write down that it was wound up."""
    Path(f"{path}.begun").touch()
    try:
        while True:
            time.sleep(600)
    finally:
        time.sleep(0.5 if path.endswith("1") else 0.0)  # the other worker is through with it by then
        Path(f"{path}.wound-up").touch()


def act(task: str) -> str | None:
    """Do what *task* says."""
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "end":
        os.kill(os.getpid(), signal.SIGTERM)
    if task == "signals":
        os.kill(os.getpid(), signal.SIGINT)  # of a terminal: the parent's to hear
        os.kill(os.getpid(), signal.SIGHUP)
    return "went wrong" if task == "fail" else None


def test_a_worker_that_dies_takes_no_other_task_with_it() -> None:
    tasks = ["fine", "die", "fail", "signals", "end", "fine too"]
    errors: dict[str, str | None] = {}
    most, flying = 0, set[str]()

    def started(task: str) -> None:
        nonlocal most
        flying.add(task)
        most = max(most, len(flying))

    def ended(task: str, wrong: str | None) -> None:
        flying.discard(task)
        assert task not in errors
        errors[task] = wrong

    run_all(act, tasks, 2, started, ended)
    died = "its process died: killed for want of memory?"
    assert errors == {
        "fine": None, "die": died, "fail": "went wrong", "signals": None, "end": died, "fine too": None,
    }  # fmt: skip
    assert most <= 4  # two at a time, besides those that were under way when a process died


def test_the_workers_end_with_a_block_that_fails() -> None:
    def fail() -> None:
        with worker_pool(2) as pool:
            pids.extend(pool.map(pid_of, range(8)))
            raise ValueError("of the block")

    pids: list[int] = []
    with pytest.raises(ValueError, match="of the block"):
        fail()
    assert not [pid for pid in set(pids) if psutil.pid_exists(pid)]


def pid_of(_: int) -> int:
    return os.getpid()


def ends(send: Callable[[psutil.Process], object], tmp_path: Path) -> tuple[int, list[str], list[str]]:
    """Return how the parent of two busy workers ends after *send*: status, words, what its workers wrote."""
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as parent:
        deadline = time.monotonic() + PATIENCE_S
        while len(list(tmp_path.glob("*.begun"))) < 2:
            assert parent.poll() is None, parent.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(parent.pid).children(recursive=True)
        send(psutil.Process(parent.pid))
        out, err = parent.communicate(timeout=PATIENCE_S)
    _, left = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    assert "Traceback" not in err
    return parent.returncode, out.splitlines(), sorted(path.name for path in tmp_path.glob("*.wound-up"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_where_the_parent_is_interrupted_its_workers_wind_up(number: signal.Signals, tmp_path: Path) -> None:
    """The slower of the two as well: nothing ends it because the other is through."""
    assert ends(lambda parent: parent.send_signal(number), tmp_path) == (
        0, ["interrupted"], ["0.wound-up", "1.wound-up"],
    )  # fmt: skip


def test_where_the_parent_is_killed_its_workers_wind_up(tmp_path: Path) -> None:
    assert ends(lambda parent: parent.kill(), tmp_path) == (
        -signal.SIGKILL, [], ["0.wound-up", "1.wound-up"],
    )  # fmt: skip


def test_a_signal_to_all_processes_of_a_terminal_is_the_parents(tmp_path: Path) -> None:
    def to_all(parent: psutil.Process) -> None:
        for process in [*parent.children(recursive=True), parent]:
            process.send_signal(signal.SIGINT)

    assert ends(to_all, tmp_path) == (0, ["interrupted"], ["0.wound-up", "1.wound-up"])
