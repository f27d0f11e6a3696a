"""Tasks over an executor, a bounded number at a time, with progress and results in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import TypeVar

from emulator.executors.executor import Executor

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_WORKER = 2
"""Tasks in flight for each worker: the next one is there when one ends."""


def run_tasks(
    executor: Executor,
    run_task: Callable[..., Result],
    tasks: Iterable[Task],
    *shared: object,
    in_flight: int | None = None,
    on_start: Callable[[Task], None] = lambda _: None,
) -> Iterator[tuple[int, Future[Result]]]:
    """Yield the index of each task with its future when it is done, in any order.

    Args:
        executor: runs the tasks.
        run_task: is called with the arguments *shared* and a task.
        tasks: in the order in which they start.
        shared: first arguments of each call.
        in_flight: most tasks that are started and not done; None: `TASKS_PER_WORKER` for each worker.
        on_start: is called with each task that starts.
    """
    queued, running = enumerate(tasks), dict[Future[Result], int]()
    most = in_flight or TASKS_PER_WORKER * executor.workers
    try:
        while True:
            for index, task in islice(queued, most - len(running)):
                on_start(task)
                running[executor.submit(run_task, *shared, task)] = index
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future
    finally:
        for future in running:
            future.cancel()


def map_tasks(
    executor: Executor,
    run_task: Callable[..., Result],
    tasks: Iterable[Task],
    *shared: object,
    in_flight: int | None = None,
    on_done: Callable[[int], None] = lambda _: None,
) -> Iterator[Result]:
    """Yield the results of *tasks* in their order.

    Args:
        executor: runs the tasks.
        run_task: is called with the arguments *shared* and a task.
        tasks: the tasks.
        shared: first arguments of each call.
        in_flight: as for `run_tasks`.
        on_done: receives the number of tasks that are done.

    Raises:
        WorkerDiedError: a task kills its worker. An error of a task is raised as it is.
    """
    results: dict[int, Result] = {}
    next_index = 0
    ended = run_tasks(executor, run_task, tasks, *shared, in_flight=in_flight)
    for done, (index, future) in enumerate(ended, start=1):
        results[index] = future.result()
        on_done(done)
        while next_index in results:
            yield results.pop(next_index)
            next_index += 1
