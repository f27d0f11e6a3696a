"""The clock of simulated devices: SimPy's environment with whole nanoseconds and typed callbacks."""

from collections.abc import Callable
from heapq import heappush
from typing import Any, TypeVar

import simpy
from simpy.events import NORMAL

Value = TypeVar("Value")


class Clock(simpy.Environment):
    """A SimPy environment whose time is in whole nanoseconds.

    Args:
        initial_ns: the time at which it begins.
    """

    _now: int  # SimPy keeps integers as they are

    def __init__(self, initial_ns: int = 0) -> None:
        super().__init__(initial_ns)

    @property
    def now_ns(self) -> int:
        """The time, in nanoseconds."""
        return self._now

    def after(self, delay_ns: int, value: Value, callback: Callable[[Value], object]) -> None:
        """Call *callback* with *value* in *delay_ns*, which must not be negative."""
        # As `simpy.Environment.schedule`: events are made a hundred thousand times a second.
        heappush(self._queue, (self._now + delay_ns, NORMAL, next(self._eid), _Call(value, callback)))


class _Call(simpy.Event):
    """An event that calls a function with a value."""

    _ok = True

    def __init__(self, value: object, callback: Callable[..., object]) -> None:
        self.callbacks = _RUN
        self.value_ = value
        self.callback = callback


def _run(event: Any) -> None:  # Any: a `_Call`
    event.callback(event.value_)


_RUN: Any = (_run,)  # Any: SimPy takes a list, and only iterates over it
