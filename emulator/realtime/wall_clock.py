"""Simulated time that follows the wall clock, and events from the network in simulated time."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from devices.simulated.clock import Clock
from emulator.metrics.histogram import Histogram
from wire.units import NS_PER_S

FOLD_AT = 4096
"""Values that are kept before they are added to the histogram."""

Callback = Callable[[], None]


class WallClock:
    """Simulated time as a function of the wall clock; its speed may change.

    Args:
        speed: simulated seconds per second.
        start_s: reading of *clock* when simulated time was 0.
        clock: returns seconds, monotonic or since 1970.
    """

    def __init__(self, speed: float, start_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        """The speed at last, pauses left out."""
        self._pieces = [(start_s, 0, speed)]  # from when on, the simulated time then, the speed
        self._clock = clock

    def now_ns(self) -> int:
        """Return the simulated time; it is negative before the start."""
        return self.time_at(self._clock())

    def time_at(self, wall_s: float) -> int:
        """Return the simulated time at a reading of the clock."""
        for since_s, since_ns, speed in reversed(self._pieces):
            if wall_s >= since_s:
                return since_ns + int((wall_s - since_s) * speed * NS_PER_S)
        since_s, since_ns, speed = self._pieces[0]
        return since_ns + int((wall_s - since_s) * speed * NS_PER_S)

    def change(self, at_s: float, speed: float) -> None:
        """Let time pass at another speed from *at_s* on, which is after earlier changes; 0: let it stop."""
        self._pieces.append((at_s, self.time_at(at_s), speed))
        self.speed = speed or self.speed

    def wall_s(self, simulated_ns: float) -> float:
        """Return the wall-clock seconds of a span of simulated time; infinity in a pause."""
        speed = self._pieces[-1][2]
        return simulated_ns / NS_PER_S / speed if speed else math.inf


@dataclass
class StreamingHistogram:
    """Histogram of values that are added one by one, in bounded memory."""

    _histogram: Histogram = field(default_factory=lambda: Histogram({}, 0, None, None))
    _recent: list[int] = field(default_factory=list)

    def add(self, value: int) -> None:
        """Add an integer >= 0."""
        self._recent.append(value)
        if len(self._recent) >= FOLD_AT:
            self.histogram()

    def histogram(self) -> Histogram:
        """Return the histogram of all values."""
        if self._recent:
            self._histogram += Histogram.from_values(np.array(self._recent, dtype=np.int64))
            self._recent.clear()
        return self._histogram


class ExternalEvents:
    """Callbacks from the network, to run in simulated time: now, in the order of arrival."""

    def __init__(self) -> None:
        self.posted = asyncio.Event()
        self._callbacks: deque[Callback] = deque()

    def post(self, callback: Callback) -> None:
        """Run *callback* in the next turn of the driver."""
        self._callbacks.append(callback)
        self.posted.set()

    def drain(self, clock: Clock, now_ns: int) -> None:
        """Schedule all posted callbacks at *now_ns*."""
        self.posted.clear()
        while self._callbacks:
            callback = self._callbacks.popleft()
            # Time never goes back: earlier events have run, or are first in the heap.
            clock.after(max(0, now_ns - clock.now_ns), callback, _call)


def _call(callback: Callback) -> None:
    callback()
