"""Processes: a task that kills its worker fails alone, an interrupted worker cleans up, and all end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from devices.simulated.roster import DeviceRange
from emulator.executors.executor import death_text
from emulator.executors.in_process import InProcessExecutor
from emulator.executors.map_tasks import map_tasks, run_tasks
from emulator.executors.open_executor import open_executor
from emulator.runner.ranges import simulate_range

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0

SLOW = """
import sys
from pathlib import Path
from emulator.processes import interrupts
from emulator.executors.map_tasks import map_tasks
from emulator.executors.open_executor import read_executor, open_executor
from tests.emulator.executors.test_processes import wind_up

if __name__ == "__main__":
    interrupts.install_handlers()
    tasks = [f"{sys.argv[1]}/{number}" for number in range(4)]
    try:
        with open_executor(read_executor(sys.argv[2]), 2) as executor:
            print(*map_tasks(executor, wind_up, tasks), flush=True)
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


def act(task: str, folder: str) -> str:
    """Do what *task* says."""
    if task in ("die", "end", "die once") and not Path(folder, task).exists():
        if task == "die once":
            Path(folder, task).touch()
        os.kill(os.getpid(), signal.SIGTERM if task == "end" else signal.SIGKILL)
    if task == "fail":
        raise ValueError("went wrong")
    if task == "signals":
        os.kill(os.getpid(), signal.SIGINT)  # of a terminal: the parent's to hear
        os.kill(os.getpid(), signal.SIGHUP)
    return f"{task}: done"


@pytest.mark.slow
def test_a_worker_that_dies_takes_no_other_task_with_it(tmp_path: Path) -> None:
    tasks = ["fine", "die", "fail", "die once", "signals", "end", "fine too"]
    results: dict[str, str] = {}
    with open_executor(workers=2) as executor:
        for index, future in run_tasks(executor, partial(act, folder=str(tmp_path)), tasks):
            error = future.exception()
            results[tasks[index]] = future.result() if error is None else f"{type(error).__name__}: {error}"
    assert results == {
        "fine": "fine: done",
        "die": "WorkerDiedError: act(die): its process died 3 times: killed for want of memory?",
        "fail": "ValueError: went wrong",
        "die once": "die once: done",
        "signals": "signals: done",
        "end": "WorkerDiedError: act(end): its process died 3 times: killed for want of memory?",
        "fine too": "fine too: done",
    }


def test_the_workers_end_with_a_block_that_fails() -> None:
    def fail() -> None:
        with open_executor(workers=2) as executor:
            pids.extend(map_tasks(executor, pid_of, range(8)))
            raise ValueError("of the block")

    pids: list[int] = []
    with pytest.raises(ValueError, match="of the block"):
        fail()
    assert not [pid for pid in set(pids) if psutil.pid_exists(pid)]


def pid_of(_: int) -> int:
    return os.getpid()


def ends(send: Callable[[psutil.Process], object], tmp_path: Path) -> tuple[int, list[str], list[str]]:
    """Return how the parent of two busy workers ends after *send*: status, words, what its workers wrote."""
    command = [sys.executable, "-c", SLOW, str(tmp_path), "processes"]
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


def test_a_dead_call_is_named_by_its_own_arguments() -> None:
    """What calls share is nothing that a user has named."""
    executor = InProcessExecutor()
    arguments = (executor.share(["much"]), DeviceRange(2048, 4096))
    assert death_text(simulate_range, arguments) == (
        "simulate_range(devices 2048 to 4095): its process died 3 times: killed for want of memory?"
    )
