"""The start of a shard's simulated time, and the commands of the run that has started the shard."""

import asyncio
import math
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import msgspec

from emulator.live.deeds import Deed
from emulator.processes.shard_processes import READY
from emulator.realtime.steered_fleet import DeedFeed
from emulator.realtime.wall_clock import WallClock
from emulator.simulation.simulation import Incarnation

JOIN_AFTER_S = 1.0
"""A late shard joins this time after it is ready."""


class StartTime:
    """The start of simulated time: an option gives it, or the parent process on standard input, or it is now.

    Args:
        start_at: seconds since 1970; None: the parent process says, or it is now.
        first_seq: the first number of reports; None: from the clock.
        speed: simulated seconds per second.
        feed: takes the deeds that the parent process sends.
        supervised: whether there is a parent process.
    """

    def __init__(
        self,
        start_at: float | None,
        first_seq: int | None,
        speed: float,
        feed: DeedFeed | None,
        *,
        supervised: bool,
    ) -> None:
        self._start_at = start_at
        self._first_seq = first_seq
        self._speed = speed
        self._feed = feed
        self._supervised = supervised
        self._loop = asyncio.get_running_loop()
        self._commanded_start: asyncio.Future[float] = self._loop.create_future()
        self._joins_at = start_at
        self.began_at = math.nan
        """The seconds since 1970 at which simulated time was 0, once it has begun."""

    def life(self) -> Incarnation:
        """Return the incarnation of the devices: the first, unless simulated time has begun already."""
        since_ns, now_s = 0, time.time()
        if self._start_at is not None and now_s > self._start_at:
            clock = WallClock(self._speed, self._start_at, time.time)
            for deed in () if self._feed is None else self._feed.earlier:
                speed = deed.new_speed(clock.speed)
                if speed is not None:
                    clock.change(deed.at_s, speed)
            self._joins_at = now_s + JOIN_AFTER_S
            since_ns = clock.time_at(self._joins_at)
        first = self._first_seq
        # A number from the clock is above those of earlier incarnations.
        return Incarnation(since_ns, int(time.time() * 1000) if first is None or since_ns else first)

    def due_s(self) -> float:
        """Return the start of that life on the monotonic clock; infinity if it is not known yet."""
        return math.inf if self._joins_at is None else time.monotonic() + self._joins_at - time.time()

    async def begin(self) -> float:
        """Wait for the start of simulated time; return it on the monotonic clock."""
        at = self._start_at
        if self._supervised:
            sys.stdout.buffer.write(READY)
            sys.stdout.buffer.flush()
        if at is None:
            at = await self._commanded_start if self._supervised else time.time()
        self.began_at = at
        return time.monotonic() + at - time.time()

    def read_commands(self, shard: "asyncio.Task[Any]") -> None:
        """Read standard input in a thread: the start time, then deeds; cancel *shard* when the input ends."""
        threading.Thread(target=self._read, args=(shard,), daemon=True).start()

    def _read(self, shard: "asyncio.Task[Any]") -> None:
        for line in iter(sys.stdin.readline, ""):
            if not line.startswith("{"):
                self._loop.call_soon_threadsafe(self._commanded_start.set_result, float(line))
            elif self._feed is not None:
                self._feed.send(msgspec.json.decode(line, type=Deed))
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(shard.cancel)
