"""Every executor gives the same results in the same order, and the same errors."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from emulator.executors.executor import SharedValue
from emulator.executors.in_process import InProcessExecutor
from emulator.executors.map_tasks import map_tasks, run_tasks
from emulator.executors.open_executor import ExecutorName, open_executor, read_executor
from wire.errors import InputError

NAMES = ["in-process", "processes", pytest.param("ray", marks=pytest.mark.slow)]


def weigh(shared: SharedValue[dict[str, int]], word: str) -> int:
    return shared.get()[word]


def fail(word: str) -> str:
    if word == "c":
        raise InputError(f"{word}: is wrong")
    return word


@pytest.mark.parametrize("name", NAMES)
def test_results_are_in_the_order_of_the_tasks(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    if name == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    weights = {letter: number for number, letter in enumerate("abcdefgh")}
    done: list[int] = []
    with open_executor(read_executor(name), 2) as executor:
        shared = executor.share(weights)
        results = list(map_tasks(executor, weigh, weights, shared, on_done=done.append))
        with pytest.raises(InputError, match="c: is wrong"):
            list(map_tasks(executor, fail, "abc"))
    assert results == list(range(8))
    assert done == list(range(1, 9))
    assert capfd.readouterr() == ("", "")


class Slow(InProcessExecutor):
    """Ends its calls only when asked for, the last one first."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Future[Any]] = []
        self.most = 0

    def submit(self, call: Callable[..., Any], /, *arguments: object) -> Future[Any]:  # Any: a test's numbers
        future: Future[Any] = Future()
        self.open.append(future)
        self.most = max(self.most, len(self.open))
        assert isinstance(arguments[0], int)
        if len(self.open) == 3 or arguments[0] >= 7:
            threading.Timer(0.05, self._end, [arguments[0]]).start()
        return future

    def _end(self, number: int) -> None:
        for back, future in enumerate(reversed(self.open)):
            future.set_result(number - back)
        self.open = []


def test_few_tasks_are_in_flight_and_an_endless_list_is_read_as_far_as_needed() -> None:
    executor = Slow()
    started: list[int] = []
    tasks = run_tasks(executor, abs, itertools.count(), in_flight=3, on_start=started.append)
    assert sorted(index for index, _ in itertools.islice(tasks, 3)) == [0, 1, 2]
    assert (executor.most, started) == (3, [0, 1, 2])


def test_names_of_executors() -> None:
    assert [read_executor(text) for text in ("processes", "ray", "ray:auto", "ray:10.0.0.1:6379")] == [
        ExecutorName("processes"),
        ExecutorName("ray"),
        ExecutorName("ray", "auto"),
        ExecutorName("ray", "10.0.0.1:6379"),
    ]


@pytest.mark.parametrize(
    "text", ["", "rays", "ray:", "ray:somewhere", "ray://1.2.3.4:1", "processes:2", "ray:a:b"]
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not in-process, processes, ray"):
        read_executor(text)


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with (
        pytest.raises(InputError, match=r"^the executor ray: no cluster on 127.0.0.1:1: .*refused$"),
        open_executor(ExecutorName("ray", "127.0.0.1:1")),
    ):
        pass
