"""Worker processes that end with the process that started them, whatever ends it.

They are spawned, not forked: they inherit no socket, no thread and no event loop. Only the parent handles
signals of the terminal: when it ends, it interrupts the workers, and they have time to write their data and
to stop their own processes. SIGTERM ends a worker at once: the pool sends it to the others when one dies.

A worker runs functions of modules, so it does not import the main module of its parent, as spawned processes
do: a script without a guard would run again in each worker, and a program that was read from standard input
cannot be found.
"""

import _thread
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, context, process, spawn
from types import FrameType
from typing import Any, Final

from emulator.processes.interrupts import SIGNALS

EXIT_STATUS = 130
GRACE_S = 60.0
"""Seconds that an interrupted worker may take: a run in lockstep has to stop a broker and a cloud."""
_LOOK_EVERY_S = 0.1
_MAIN_KEYS: Final = ("init_main_from_name", "init_main_from_path")
"""Keys that tell a spawned process the main module of its parent."""


class _StartingThread(threading.local):
    """Tells if this thread starts a worker just now."""

    active = False


_STARTING = _StartingThread()
_preparation_data = spawn.get_preparation_data


def _data_without_main(name: str) -> dict[str, Any]:  # Any: as in `multiprocessing`
    """Return the data that a process gets at its start; a worker of ours gets nothing of the main module."""
    data = _preparation_data(name)
    return {key: value for key, value in data.items() if not (_STARTING.active and key in _MAIN_KEYS)}


# There is no other way to say it. Processes that somebody else starts are told what they always were.
spawn.get_preparation_data = _data_without_main


class WorkerProcess(context.SpawnProcess):
    """A spawned process that does not import the main module of its parent."""

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Any:  # noqa: N802
        _STARTING.active = True
        try:
            return context.SpawnProcess._Popen(process_obj)
        finally:
            _STARTING.active = False


class WorkerContext(context.SpawnContext):
    """The context of workers."""

    Process = WorkerProcess


@contextmanager
def worker_pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of *size* processes; they end when the block fails or is interrupted."""
    workers = WorkerContext()
    read_end, write_end = workers.Pipe(duplex=False)
    try:
        with ProcessPoolExecutor(size, workers, initializer=_init_worker, initargs=(read_end,)) as pool:
            try:
                yield pool
            except BaseException:
                write_end.close()  # interrupts the workers
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        write_end.close()
        read_end.close()


@dataclass
class _Worker:
    """State of this worker, for its signal handler."""

    busy: bool = False
    pool_ended: bool = False
    interrupted: bool = False


_WORKER = _Worker()


@contextmanager
def interruptible() -> Iterator[None]:
    """Allow the end of the pool to interrupt the block, in a worker; then `GRACE_S` is left to clean up."""
    _WORKER.busy = True
    try:
        if _WORKER.pool_ended:
            raise KeyboardInterrupt
        yield
    finally:
        _WORKER.busy = False


def _init_worker(end: connection.Connection) -> None:
    """Make this worker end with its parent, and not before."""
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: connection.Connection) -> None:
    """Wait until the pool or its process has ended; then interrupt the task of this worker, and exit."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([end, parent.sentinel])
    _WORKER.pool_ended = True
    _interrupt_main()
    until_s = time.monotonic() + GRACE_S
    # A live parent ends its workers itself: if one exited earlier, the pool would terminate the others.
    while (parent.is_alive() or _WORKER.busy) and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
    os._exit(EXIT_STATUS)


def _interrupt_main() -> None:
    """Send SIGINT to the main thread; where the system allows it, this interrupts a blocking call."""
    if hasattr(signal, "pthread_kill"):
        ident = threading.main_thread().ident
        assert ident is not None
        signal.pthread_kill(ident, signal.SIGINT)
    else:
        _thread.interrupt_main(signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt the task of this worker, once: its clean-up must not be interrupted."""
    if _WORKER.busy and _WORKER.pool_ended and not _WORKER.interrupted:
        _WORKER.interrupted = True
        raise KeyboardInterrupt
