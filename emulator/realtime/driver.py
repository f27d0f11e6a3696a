"""The loop that runs due events and waits for the next one."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from devices.simulated.clock import Clock
from emulator.realtime.real_cloud import RealCloud, RealNetwork
from emulator.realtime.wall_clock import Callback, ExternalEvents, StreamingHistogram, WallClock
from wire.errors import RunError
from wire.units import NS_PER_S, Duration, format_duration

STEPS_AT_ONCE = 200
"""Events to run before the network gets its turn."""
LEAST_SLEEP_S = 0.001
"""Events closer than this run together: to wake up for each would cost more than the events."""
CHECK_EVERY_S = 0.5


@dataclass
class Driver:
    """Runs one environment against the wall clock.

    Args:
        env: the environment.
        clock: maps the wall clock to simulated time.
        events: events from the network.
        cloud: the real cloud.
        network: the connections to the broker.
        max_lag: maximum delay of an event.
    """

    env: Clock
    clock: WallClock
    events: ExternalEvents
    cloud: RealCloud
    network: RealNetwork
    max_lag: Duration
    fail_if_late: bool = True
    """True if a longer delay fails the run; else it is counted."""
    lag: StreamingHistogram = field(default_factory=StreamingHistogram)
    """Delays of events, in nanoseconds of the wall clock; one value per turn."""
    late_turns: int = 0
    """Number of turns with a delay above `max_lag`."""

    def __post_init__(self) -> None:
        self.cloud.clock_ns = self.clock.now_ns

    async def run(self, after_turn: Callable[[int, int], None], check: Callback) -> None:
        """Run until no event is left.

        Args:
            after_turn: called after each turn with the simulated time and the delay, both in nanoseconds.
            check: called now and then; raises if a process of the run has died.

        Raises:
            RunError: a delay is above `max_lag`, with `fail_if_late`.
        """
        checked_s = 0.0
        while True:
            now_ns = self.clock.now_ns()
            lag_ns, steps = self._advance(now_ns)
            self.cloud.expire(now_ns)
            self.events.drain(self.env, now_ns)
            after_turn(max(now_ns, 0), lag_ns)
            if time.monotonic() - checked_s > CHECK_EVERY_S:
                checked_s = time.monotonic()
                check()
                self.network.check()
            if steps == STEPS_AT_ONCE:
                await asyncio.sleep(0)
            elif self.env.peek() == math.inf and not self.cloud.in_flight:
                return
            else:
                await self._sleep()

    def _advance(self, now_ns: int) -> tuple[int, int]:
        """Run due events, at most one turn; return the delay and the number of events."""
        env, steps = self.env, 0
        if env.peek() > now_ns:
            return 0, 0
        lag_ns = self._lag_ns(int(env.peek()), now_ns)
        while steps < STEPS_AT_ONCE and env.peek() <= now_ns:
            env.step()
            steps += 1
        # The last event was also delayed by those before it.
        lag_ns = max(lag_ns, self._lag_ns(env.now_ns, self.clock.now_ns()))
        self.lag.add(lag_ns)
        self.late_turns += lag_ns > self.max_lag
        return lag_ns, steps

    def _lag_ns(self, due_ns: int, now_ns: int) -> int:
        """Return the delay of an event, in nanoseconds of the wall clock.

        Raises:
            RunError: the delay is above `max_lag`, with `fail_if_late`.
        """
        lag_ns = int((now_ns - due_ns) / self.clock.speed)
        if lag_ns > self.max_lag and self.fail_if_late:
            raise RunError(
                f"the schedule is {lag_ns / NS_PER_S:.2f} s late at {due_ns / NS_PER_S:.3f} s, more than "
                f"realtime.max_lag(={format_duration(self.max_lag)}): this machine cannot keep up; use "
                "more shards, fewer devices or a lower speed, or --live, which goes on and counts how often"
            )
        return lag_ns

    async def _sleep(self) -> None:
        """Wait until the next event is due, or the network posts one."""
        next_ns = min(self.env.peek(), self.cloud.next_deadline_ns())
        wait_s = self.clock.wall_s(next_ns - self.clock.now_ns()) if next_ns < math.inf else CHECK_EVERY_S
        await asyncio.sleep(LEAST_SLEEP_S)
        try:
            async with asyncio.timeout(min(max(wait_s - LEAST_SLEEP_S, 0.0), CHECK_EVERY_S)):
                await self.events.posted.wait()
        except TimeoutError:
            return
