"""Processes that carry out the tasks of a sweep: one that dies takes its own task with it, no other.

Workers are spawned, not forked: they inherit no socket, no thread and no event loop. They end with the
process that started them, even where that was killed, and clean up after an interrupted run.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection

from emulator.interrupts import SIGNALS
from emulator.sweep.runs import Task, carry_out

INTERRUPTED = 130
_LOOK_EVERY_S = 0.2

Told = Callable[[Task, str | None], None]
"""Told a task that ended, and what went wrong."""


def work_off(tasks: Sequence[Task], jobs: int, started: Callable[[Task], None], ended: Told) -> None:
    """Carry out *tasks* in *jobs* processes.

    Args:
        tasks: in the order in which they start.
        jobs: how many at a time.
        started: told each task that is handed to a process.
        ended: told each task that is done, in whatever order.
    """
    waiting, suspects = deque(tasks), list[Task]()
    while waiting:
        suspects += _in_pool(waiting, jobs, started, ended)
    for task in suspects:  # one of these kills its process: alone it harms no other
        if _in_pool(deque([task]), 1, started, ended):
            ended(task, "its process died: killed for want of memory?")


def _in_pool(waiting: deque[Task], jobs: int, started: Callable[[Task], None], ended: Told) -> Sequence[Task]:
    """Carry out *waiting*; return what was under way when a process died, if one did."""
    context = multiprocessing.get_context("spawn")
    end, ours = context.Pipe(duplex=False)
    flying: dict[Future[str | None], Task] = {}
    size = min(jobs, len(waiting))
    with ProcessPoolExecutor(size, context, initializer=_attach, initargs=(end,)) as pool:
        try:
            while waiting or flying:
                while waiting and len(flying) < size:
                    flying[pool.submit(_carry_out, waiting[0])] = waiting[0]
                    started(waiting.popleft())
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    ended(flying[future], future.result())
                    del flying[future]
        except BrokenProcessPool:
            return list(flying.values())
        finally:
            ours.close()  # interrupts whatever still runs
            end.close()
    return []


@dataclass
class _Worker:
    """What the handler of a signal sees of this process."""

    busy: bool = False
    interrupted: bool = False


_WORKER = _Worker()


def _carry_out(task: Task) -> str | None:
    _WORKER.busy = True
    try:
        return carry_out(task)
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        _WORKER.busy = False


def _attach(end: connection.Connection) -> None:
    """Let this worker end when the sweep does."""
    for number in SIGNALS:
        # SIGTERM ends a worker at once: the pool sends it to the others where one of them has died.
        if number != signal.SIGTERM:
            signal.signal(number, _interrupt)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _interrupt(*_: object) -> None:
    """Interrupt a run, once: a second signal must not cut short what cleans up after it."""
    if _WORKER.busy and not _WORKER.interrupted:
        _WORKER.interrupted = True
        raise KeyboardInterrupt


def _watch(end: connection.Connection) -> None:
    """Wait until the sweep is over or its process is gone; then interrupt the run, and end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([end, parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)
    while parent.is_alive() or _WORKER.busy:  # a living parent ends us itself
        time.sleep(_LOOK_EVERY_S)
    os._exit(INTERRUPTED)
