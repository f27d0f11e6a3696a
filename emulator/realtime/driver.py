"""The loop that lets happen what is due, and waits for the rest."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import simpy

from emulator.realtime.real_cloud import RealCloud, RealNetwork
from emulator.realtime.wall_clock import Callback, ExternalEvents, StreamingHistogram, WallClock
from wire.errors import RunError
from wire.units import NS_PER_S, Duration, format_duration

STEPS_AT_ONCE = 200
"""Events before the network gets its turn."""
LEAST_SLEEP_S = 0.001
"""Events closer than this happen together: waking up for each would cost more than they do."""
LOOK_EVERY_S = 0.5


@dataclass
class Driver:
    """Runs one environment against the wall clock.

    Args:
        env: the environment.
        pace: how simulated time passes.
        inlet: what comes from outside.
        trips: the reports that are under way.
        network: what carries them.
        max_lag: how late an event may be.
    """

    env: simpy.Environment
    pace: WallClock
    inlet: ExternalEvents
    trips: RealCloud
    network: RealNetwork
    max_lag: Duration
    ends: bool = True
    """Whether an event that is later ends the run; else it is counted."""
    lag: StreamingHistogram = field(default_factory=StreamingHistogram)
    """How late events were, in nanoseconds of the wall clock; one value a turn."""
    late_turns: int = 0
    """Turns with an event later than `max_lag`."""

    def __post_init__(self) -> None:
        self.trips.clock_ns = self.pace.now_ns

    async def run(self, after_turn: Callable[[int, int], None], check: Callback) -> None:
        """Run until nothing is left to happen.

        Args:
            after_turn: told the simulated time and the lag, both in nanoseconds, after each turn.
            check: raises when something that the run needs has died.

        Raises:
            RunError: an event is later than `max_lag`, and that ends the run.
        """
        looked_s = 0.0
        while True:
            now_ns = self.pace.now_ns()
            lag_ns, steps = self._advance(now_ns)
            self.trips.expire(now_ns)
            self.inlet.drain(self.env, now_ns)
            after_turn(max(now_ns, 0), lag_ns)
            if time.monotonic() - looked_s > LOOK_EVERY_S:
                looked_s = time.monotonic()
                check()
                self.network.check()
            if steps == STEPS_AT_ONCE:
                await asyncio.sleep(0)
            elif self.env.peek() == math.inf and not self.trips.flying:
                return
            else:
                await self._sleep()

    def _advance(self, now_ns: int) -> tuple[int, int]:
        """Let happen what is due, at most a turn; return the lag and the number of events."""
        env, steps = self.env, 0
        if env.peek() > now_ns:
            return 0, 0
        lag_ns = self._lag_ns(int(env.peek()), now_ns)
        while steps < STEPS_AT_ONCE and env.peek() <= now_ns:
            env.step()
            steps += 1
        # The last of them was late by what those before it took, too.
        lag_ns = max(lag_ns, self._lag_ns(int(env.now), self.pace.now_ns()))
        self.lag.add(lag_ns)
        self.late_turns += lag_ns > self.max_lag
        return lag_ns, steps

    def _lag_ns(self, due_ns: int, now_ns: int) -> int:
        """Return how late an event is, in nanoseconds of the wall clock.

        Raises:
            RunError: it is later than `max_lag`.
        """
        lag_ns = int((now_ns - due_ns) / self.pace.speed)
        if lag_ns > self.max_lag and self.ends:
            raise RunError(
                f"the schedule is {lag_ns / NS_PER_S:.2f} s late at {due_ns / NS_PER_S:.3f} s, more than "
                f"realtime.max_lag(={format_duration(self.max_lag)}): this machine cannot keep up; use "
                "more shards, fewer devices or a lower speed, or --live, which goes on and counts how often"
            )
        return lag_ns

    async def _sleep(self) -> None:
        """Wait until the next event is due, or something comes from outside."""
        next_ns = min(self.env.peek(), self.trips.next_deadline_ns())
        wait_s = self.pace.wall_s(next_ns - self.pace.now_ns()) if next_ns < math.inf else LOOK_EVERY_S
        await asyncio.sleep(LEAST_SLEEP_S)
        try:
            async with asyncio.timeout(min(max(wait_s - LEAST_SLEEP_S, 0.0), LOOK_EVERY_S)):
                await self.inlet.stirred.wait()
        except TimeoutError:
            return
