"""Worker processes that end with the process that started them, whatever ends it.

They are spawned, not forked: they inherit no socket, no thread and no event loop. A signal to the terminal is
the parent's: where it ends for it, it interrupts them, and they have time to write what they hold and to end
what they started. SIGTERM ends a worker at once: the pool sends it to the others where one of them has died.
"""

import _thread
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from types import FrameType
from typing import TypeVar

from emulator.processes.interrupts import SIGNALS

Task = TypeVar("Task")

ENDED = 130
GRACE_S = 60.0
"""How long a worker that is interrupted may take: a run in lockstep has a broker and a cloud to end."""
_LOOK_EVERY_S = 0.1


@contextmanager
def worker_pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of *size* processes; where the block fails or is interrupted they end, too."""
    context = multiprocessing.get_context("spawn")
    end, ours = context.Pipe(duplex=False)
    try:
        with ProcessPoolExecutor(size, context, initializer=_attach, initargs=(end,)) as pool:
            try:
                yield pool
            except BaseException:
                ours.close()  # interrupts the workers
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        ours.close()
        end.close()


def run_all(
    act: Callable[[Task], str | None],
    tasks: Sequence[Task],
    jobs: int,
    started: Callable[[Task], None],
    ended: Callable[[Task, str | None], None],
) -> None:
    """Carry out *tasks* in *jobs* processes: one that dies takes its own task with it, no other.

    Args:
        act: carries out a task in a process of the pool, and returns what went wrong, if anything did.
        tasks: in the order in which they start.
        jobs: how many at a time.
        started: called with each task that is handed to a process.
        ended: called with each task that is done, in whatever order, and what went wrong.
    """
    waiting, suspects = deque(tasks), list[Task]()
    while waiting:
        suspects += _in_pool(act, waiting, jobs, started, ended)
    for task in suspects:  # one of these kills its process: alone it ends no other
        if _in_pool(act, deque([task]), 1, started, ended):
            ended(task, "its process died: killed for want of memory?")


def _in_pool(
    act: Callable[[Task], str | None],
    waiting: deque[Task],
    jobs: int,
    started: Callable[[Task], None],
    ended: Callable[[Task, str | None], None],
) -> Sequence[Task]:
    """Carry out *waiting*; return what was under way when a process died, if one did."""
    flying: dict[Future[str | None], Task] = {}
    size = min(jobs, len(waiting))
    try:
        with worker_pool(size) as pool:
            while waiting or flying:
                while waiting and len(flying) < size:
                    flying[pool.submit(_carry_out, act, waiting[0])] = waiting[0]
                    started(waiting.popleft())
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    ended(flying[future], future.result())
                    del flying[future]
    except BrokenProcessPool:
        return list(flying.values())
    return []


def _carry_out(act: Callable[[Task], str | None], task: Task) -> str | None:
    with interruptible():
        return act(task)


@dataclass
class _Worker:
    """The state of this worker, for the handler of its signals."""

    busy: bool = False
    pool_ends: bool = False
    interrupted: bool = False


_WORKER = _Worker()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the end of the pool interrupt the block, in a worker: it has `GRACE_S` to wind up."""
    _WORKER.busy = True
    try:
        if _WORKER.pool_ends:
            raise KeyboardInterrupt
        yield
    finally:
        _WORKER.busy = False


def _attach(end: connection.Connection) -> None:
    """Let this worker end when its parent does, and not before."""
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: connection.Connection) -> None:
    """Wait until the pool ends or its process is gone; then interrupt what this worker does, and end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([end, parent.sentinel])
    _WORKER.pool_ends = True
    _interrupt_main()
    until_s = time.monotonic() + GRACE_S
    # A living parent ends us itself: for the first that left unasked, the pool would terminate the others.
    while (parent.is_alive() or _WORKER.busy) and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
    os._exit(ENDED)


def _interrupt_main() -> None:
    """Send SIGINT to the main thread, out of what it waits for where the system can do that."""
    if hasattr(signal, "pthread_kill"):
        ident = threading.main_thread().ident
        assert ident is not None
        signal.pthread_kill(ident, signal.SIGINT)
    else:
        _thread.interrupt_main(signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt what this worker does, once: what winds it up must not be cut short."""
    if _WORKER.busy and _WORKER.pool_ends and not _WORKER.interrupted:
        _WORKER.interrupted = True
        raise KeyboardInterrupt
