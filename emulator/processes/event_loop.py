"""Run an asyncio program so that Ctrl-C, SIGTERM and SIGHUP cancel it in order."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from emulator.processes.interrupts import SIGNALS
from wire.event_loops import new_event_loop

Result = TypeVar("Result")


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
