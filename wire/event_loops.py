"""Event loops for MQTT clients, and the signals that stop them, on every operating system."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop that can watch sockets, as the MQTT client needs it.

    The usual loop of Windows cannot do that, but it can start processes, which this one cannot there.
    """
    return asyncio.SelectorEventLoop() if sys.platform == "win32" else asyncio.new_event_loop()


def run_event_loop(main: Coroutine[Any, Any, Result]) -> Result:  # Any: as in `Coroutine`
    """Run *main* in a new event loop to its end."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def call_on_signals(numbers: Iterable[int], callback: Callable[[], None]) -> None:
    """Call *callback* in the running event loop when one of the signals arrives."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # loops of Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
