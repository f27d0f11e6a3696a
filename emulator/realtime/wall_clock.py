"""How simulated time follows the wall clock, and how what comes from outside becomes an event in it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import simpy

from emulator.metrics.histogram import Histogram
from wire.units import NS_PER_S

FOLD_AT = 4096

Callback = Callable[[], None]


class WallClock:
    """Simulated time as a function of the wall clock.

    Args:
        speed: simulated seconds in a second.
        start_s: when simulated time was 0, by *clock*.
        clock: monotonic seconds.
    """

    def __init__(self, speed: float, start_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._start_s = start_s
        self._clock = clock

    def now_ns(self) -> int:
        """Return the simulated time; below 0 before the start."""
        return int((self._clock() - self._start_s) * self.speed * NS_PER_S)

    def wall_s(self, simulated_ns: float) -> float:
        """Return how long so much simulated time takes."""
        return simulated_ns / NS_PER_S / self.speed


@dataclass
class StreamingHistogram:
    """Values that are counted a few thousand at a time, so that hours of them take no memory."""

    _whole: Histogram = field(default_factory=lambda: Histogram({}, 0, None, None))
    _recent: list[int] = field(default_factory=list)

    def add(self, value: int) -> None:
        """Count a whole number >= 0."""
        self._recent.append(value)
        if len(self._recent) >= FOLD_AT:
            self.histogram()

    def histogram(self) -> Histogram:
        """Return how often which values came."""
        if self._recent:
            self._whole += Histogram.from_values(np.array(self._recent, dtype=np.int64))
            self._recent.clear()
        return self._whole


class ExternalEvents:
    """What comes from outside and is to happen in simulated time: now, in the order of its coming."""

    def __init__(self) -> None:
        self.stirred = asyncio.Event()
        self._acts: deque[Callback] = deque()

    def post(self, act: Callback) -> None:
        """Let *act* happen as soon as the driver has its turn."""
        self._acts.append(act)
        self.stirred.set()

    def drain(self, env: simpy.Environment, now_ns: int) -> None:
        """Schedule everything that was posted at *now_ns*."""
        self.stirred.clear()
        while self._acts:
            act = self._acts.popleft()
            # Late or not, time never goes back: what was due before has happened, or is first in the heap.
            env.timeout(max(0, now_ns - int(env.now)), act).callbacks.append(_call)


def _call(event: simpy.Event) -> None:
    act: Callback = event.value  # type: ignore[assignment]  # as `drain` gave it
    act()
