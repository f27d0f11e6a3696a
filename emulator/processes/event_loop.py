"""Run an asyncio program so that Ctrl-C, SIGTERM and SIGHUP cancel it in order.

A notebook's cells run inside the event loop of its kernel. A loop cannot run inside another one, so there the
program gets a thread with a loop of its own.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any, Final, TypeVar

from emulator.processes.interrupts import SIGNALS
from wire.event_loops import new_event_loop

Result = TypeVar("Result")

_LOOK_EVERY_S: Final = 0.2
"""Time after which a waiting thread looks for signals, where they do not end its wait."""


def run_interruptibly(
    main: Coroutine[Any, Any, Result],  # Any: as in `Coroutine`
    new_loop: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> Result:
    """Run *main* to its end; an interruption cancels it, and KeyboardInterrupt is raised when it has ended.

    Signal handlers that raise, such as Python's own and that of a sweep's workers, would raise in the middle
    of the event loop. That leaves sockets half registered and tasks that wait for ever.

    Args:
        main: the program.
        new_loop: makes its event loop.
    """
    if _is_in_loop():
        return _run_in_thread(main, new_loop)
    if threading.current_thread() is not threading.main_thread():
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interrupted = False
    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)

        def interrupt(number: int, frame: FrameType | None) -> None:
            nonlocal interrupted
            try:
                if callable(handler := before[number]):
                    handler(number, frame)
            except KeyboardInterrupt:
                interrupted = True
                loop.call_soon_threadsafe(task.cancel)

        for number, handler in before.items():
            if callable(handler):  # ignored signals stay ignored
                signal.signal(number, interrupt)
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            for number, handler in before.items():
                if callable(handler):
                    signal.signal(number, handler)


def _is_in_loop() -> bool:
    """Tell if an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_in_thread(
    main: Coroutine[Any, Any, Result],  # Any: as in `Coroutine`
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> Result:
    """Run *main* in a thread of its own, and wait for it; an interruption of the wait cancels it."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Result]]] = Future()
    may_begin: Future[bool] = Future()

    def run() -> Result:
        if not may_begin.result():
            main.close()
            raise asyncio.CancelledError
        with asyncio.Runner(loop_factory=new_loop) as runner:
            loop = runner.get_loop()
            task = loop.create_task(main)
            started.set_result((loop, task))
            return loop.run_until_complete(task)

    with ThreadPoolExecutor(1, "peelfleet-loop") as pool, _raising_handler():
        try:
            running = pool.submit(run)
            may_begin.set_result(True)  # from here on an interruption is one of the wait
            return _wait(running)
        except KeyboardInterrupt:
            if not may_begin.done():
                may_begin.set_result(False)
                raise
            loop, task = started.result()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                _wait(running)
            raise


@contextlib.contextmanager
def _raising_handler() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in the block where it would only cancel the task around it.

    `asyncio.run` has such a handler. The task does not run as long as it waits here.
    """
    handler = signal.getsignal(signal.SIGINT)
    of_runner = isinstance(getattr(getattr(handler, "func", None), "__self__", None), asyncio.Runner)
    if not of_runner or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _wait(running: Future[Result]) -> Result:
    """Return the result of *running*. A signal's handler runs meanwhile, and may raise."""
    while not running.done():
        with contextlib.suppress(TimeoutError):
            running.exception(_LOOK_EVERY_S)
    return running.result()
