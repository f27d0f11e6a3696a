"""A pool of worker processes that end with the process that started them, whatever ends it."""

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
from multiprocessing import connection
from types import FrameType

from emulator.interrupts import SIGNALS

ENDED = 130
GRACE_S = 5.0
"""What a worker that is interrupted has time to write."""


@dataclass
class _Work:
    """What this worker does."""

    in_hand: bool = False
    ends: bool = False


_WORK = _Work()


@contextmanager
def worker_pool(size: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of *size* processes; where the block fails or is interrupted they end, too.

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


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the end of the pool interrupt the block, in a worker: it has `GRACE_S` to write what it holds."""
    _WORK.in_hand = True
    try:
        yield
    except KeyboardInterrupt:
        os._exit(ENDED)
    finally:
        _WORK.in_hand = False


def _attach(end: connection.Connection) -> None:
    """Let this worker end when its parent does, and not before: a signal to the terminal is the parent's."""
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: connection.Connection) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([end, parent.sentinel])
    if _WORK.in_hand:
        _WORK.ends = True
        _thread.interrupt_main(signal.SIGINT)
        time.sleep(GRACE_S)
    os._exit(ENDED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _WORK.ends:
        _WORK.ends = False  # once: what it interrupts is to write in peace
        raise KeyboardInterrupt
