"""A pool of worker processes that end with the process that started them, whatever ends it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection

from emulator.interrupts import SIGNALS

ENDED = 130


@contextmanager
def worker_pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of *size* processes; where the block fails or is interrupted they are ended at once.

    They are spawned, not forked: they inherit no socket, no thread and no event loop.
    """
    context = multiprocessing.get_context("spawn")
    end, ours = context.Pipe(duplex=False)
    try:
        with ProcessPoolExecutor(size, context, initializer=_attach, initargs=(end,)) as pool:
            try:
                yield pool
            except BaseException:
                ours.close()  # ends the workers, for which leaving the pool waits
                raise
    finally:
        ours.close()
        end.close()


def _attach(end: connection.Connection) -> None:
    """Let this worker end when its parent does, and not before: a signal to the terminal is the parent's."""
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: connection.Connection) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([end, parent.sentinel])
    os._exit(ENDED)
