"""The clock of simulated devices: SimPy's environment with whole nanoseconds, calls at a time, and waits.

SimPy's events are made for general use: they can fail, others wait for them, processes yield them. A device
only needs calls at a time, a hundred thousand a second. So this module, and no other, puts such calls on
SimPy's heap and takes them from it. All else on the heap is left to SimPy.

An entry of the heap is ``(time, priority, number, event)``. The number counts all entries that were made, so
the order of events is SimPy's, whoever processes them.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import simpy
from simpy.events import NORMAL, URGENT, EventPriority

Value = TypeVar("Value")


class _Call(msgspec.Struct):
    """A call on the heap."""

    callback: Callable[[Any], object]  # Any: the value is of the type that it takes
    value: object


_event = cast("Callable[[Callable[[Any], object], object], simpy.Event]", _Call)
"""Makes a call that the heap, typed by SimPy, takes."""


class Clock(simpy.Environment):
    """A SimPy environment whose time is in whole nanoseconds.

    Args:
        initial_ns: the time at which it begins.
    """

    _now: int  # SimPy keeps integers as they are

    def __init__(self, initial_ns: int = 0) -> None:
        super().__init__(initial_ns)

    if TYPE_CHECKING:

        @property
        def now_ns(self) -> int:
            """The time, in nanoseconds."""

    else:  # the same without a call in Python: it is read a dozen times for a change of memory
        now_ns = property(attrgetter("_now"), doc="The time, in nanoseconds.")

    def after(self, delay_ns: int, value: Value, callback: Callable[[Value], object]) -> None:
        """Call *callback* with *value* in *delay_ns*, which must not be negative."""
        heappush(self._queue, (self._now + delay_ns, NORMAL, next(self._eid), _event(callback, value)))

    def follow(self, waits: Iterator[int], priority: EventPriority) -> None:
        """Run a generator of waits in nanoseconds, as a SimPy process runs one of events.

        Args:
            waits: runs from one wait to the next; begins before all else that happens now.
            priority: of what it does after each wait, among events of equal time.
        """
        queue, numbers = self._queue, self._eid

        def resume(_: None) -> None:
            for wait_ns in waits:
                heappush(queue, (self._now + wait_ns, priority, next(numbers), again))
                return

        again = _event(resume, None)
        heappush(queue, (self._now, URGENT, next(numbers), again))

    def step(self) -> None:
        """Process the next event, as in SimPy."""
        queue: Any = self._queue  # Any: to SimPy's types a time is a float
        if queue and queue[0][3].__class__ is _Call:
            self._now, _, _, call = heappop(queue)
            call.callback(call.value)
        else:
            super().step()

    def advance(self, most: int) -> bool:
        """Process the next *most* events, as so many calls of `step` do; return False if none is left."""
        queue: Any = self._queue  # Any: to SimPy's types a time is a float
        step = super().step
        for _ in range(most):
            if not queue:
                return False
            call = queue[0][3]
            if call.__class__ is _Call:
                self._now = heappop(queue)[0]
                call.callback(call.value)
            else:
                step()
        return True
