"""The clock of simulated devices: SimPy's environment with whole nanoseconds and typed callbacks."""

from collections.abc import Callable
from typing import TypeVar

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
        """Call *callback* with *value* in *delay_ns*."""
        if delay_ns < 0:
            raise ValueError(f"delay_ns(={delay_ns}) must be >= 0")
        self.schedule(_Call(self, value, callback), NORMAL, delay_ns)


class _Call(simpy.Event):
    """An event that calls a function with a value."""

    def __init__(self, clock: Clock, value: object, callback: Callable[..., object]) -> None:
        # As in `simpy.Timeout`, without its base class: events are made a hundred thousand times a second.
        self.env = clock
        self.callbacks = [self._run]
        self._value = value
        self._ok = True
        self._callback = callback

    def _run(self, event: simpy.Event) -> None:
        self._callback(self._value)
