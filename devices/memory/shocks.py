"""Shocks: events that take memory from many devices of a group at once, in addition to their memory process.

The times of a shock are drawn from a stream of the group, so they are the same for all its devices. Whether a
shock hits a device is drawn from a stream of the device. A shock multiplies free memory; several multiply.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Final

import msgspec
import numpy as np

from devices.memory.process import Changes
from devices.memory.sampling import MINUTE, STEPS_AT_ONCE, Spacing, check_span
from wire.random_streams import stream
from wire.units import Duration, Share, format_duration, format_share

Factors = Iterator[tuple[int, float | None]]
"""(time_ns, factor): from that time of the run on, free memory is multiplied by the factor. None: the factor
stays the same; such an entry ends a search for the next change that would otherwise go on without end."""

RAMP_STEPS: Final = 8
NEVER: Final = 2**63


class Shock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An event that takes memory from many devices of a group at the same time: an update, an evening."""

    every: Duration = Duration(60 * MINUTE)
    """Mean time from the start of a shock to the start of the next; the first comes after such a time."""
    spacing: Spacing = "exponential"
    """The distribution of that time, except for the duration of the shock itself."""
    lasting: Duration = Duration(5 * MINUTE)
    """The time for which memory is low."""
    over: Duration = Duration(0)
    """The time in which memory falls before that, and rises after it, in 8 equal steps; 0 is at once."""
    keeps: Share = Share(0.25)
    """The share of its free memory that a device keeps."""
    share: Share = Share(1.0)
    """The share of the group's devices that a shock hits, drawn for each device and each shock."""

    def __post_init__(self) -> None:
        check_span("lasting", self.lasting)
        if self.duration > self.every:
            raise ValueError(
                f"every(={format_duration(self.every)}) must be at least lasting + 2 * over"
                f"(={format_duration(self.duration)}), or it never ends"
            )
        if self.share <= 0:
            raise ValueError(f"share(={format_share(self.share)}) must be > 0")

    @property
    def duration(self) -> int:
        """Nanoseconds from its start until all memory is back."""
        return int(self.lasting) + 2 * int(self.over)

    def profile(self) -> tuple[tuple[int, float], ...]:
        """Return (nanoseconds since its start, factor from then on) of one shock; the last factor is 1."""
        if not self.over:
            return (0, float(self.keeps)), (int(self.lasting), 1.0)
        over, lost = int(self.over), 1.0 - float(self.keeps)
        ramp = [(step * over // RAMP_STEPS, step / RAMP_STEPS) for step in range(1, RAMP_STEPS + 1)]
        fall = [(at, 1.0 - lost * share) for at, share in ramp]
        rise = [(over + int(self.lasting) + at, 1.0 - lost * (1.0 - share)) for at, share in ramp]
        return (*fall, *rise)


class ShockTimes:
    """The times at which a group's shock begins, without end, drawn once for all its devices.

    Args:
        shock: the shock.
        rng: the group's stream for it.
    """

    def __init__(self, shock: Shock, rng: np.random.Generator) -> None:
        self._shock = shock
        self._rng = rng
        self._times: list[int] = []

    def __getitem__(self, number: int) -> int:
        """Return the time of the run at which shock *number*, from 0, begins."""
        while number >= len(self._times):
            self._extend()
        return self._times[number]

    def _extend(self) -> None:
        shock = self._shock
        gaps = np.full(STEPS_AT_ONCE, int(shock.every), dtype=np.int64)
        if shock.spacing == "exponential":
            calm = self._rng.exponential(int(shock.every) - shock.duration, STEPS_AT_ONCE)
            gaps = shock.duration + calm.astype(np.int64)
        # As Python integers: a sum of spans of years does not overflow.
        last = self._times[-1] if self._times else 0
        for gap in gaps.tolist():
            last += gap
            self._times.append(last)


def apply_shocks(
    base: Changes, shocks: Sequence[Shock], *, seed: int, group: str, device: str, start_ns: int
) -> Changes:
    """Return *base* with the *shocks* of the device's group on top.

    Args:
        base: the changes of the device's own memory process, from its start on.
        shocks: the shocks of its group.
        seed: of the run.
        group: the group's name.
        device: the device's name.
        start_ns: the time of the run at which the device starts.
    """
    if not shocks:
        return base
    return merge(
        base,
        [
            _factors(shock, shock_times(seed, group, index, shock), seed, group, index, device)
            for index, shock in enumerate(shocks)
        ],
        start_ns,
    )


@lru_cache(maxsize=4096)
def shock_times(seed: int, group: str, index: int, shock: Shock) -> ShockTimes:
    """Return the start times of shock number *index* of the group, one object for all its devices."""
    return ShockTimes(shock, stream(seed, "shock", group, index))


def merge(base: Changes, factors: Sequence[Factors], start_ns: int) -> Changes:
    """Yield *base* times the product of the *factors*, in the order of time.

    Args:
        base: changes from `start_ns` on; when it ends, its last value holds.
        factors: in the time of the run, each rising.
        start_ns: when the base begins.
    """
    current = [1.0] * len(factors)
    ahead: list[tuple[int, float | None]] = [next(upcoming, (NEVER, 1.0)) for upcoming in factors]
    soonest = min((at for at, _ in ahead), default=NEVER)
    wait, value = next(base)
    last, at_base, free, product = start_ns, start_ns + wait, value, 1.0
    while True:
        now = at_base if at_base < soonest else max(soonest, start_ns)
        if now >= NEVER:
            return
        changes = at_base <= now
        if soonest <= now:
            for index, upcoming in enumerate(factors):
                while ahead[index][0] <= now:
                    factor = ahead[index][1]
                    if factor is not None:
                        current[index], changes = factor, True
                    ahead[index] = next(upcoming, (NEVER, 1.0))
            soonest, product = min(at for at, _ in ahead), math.prod(current)
        if at_base <= now:
            free = value
            wait, value = next(base, (NEVER, value))
            at_base += wait
        if changes:
            yield now - last, int(free * product)
            last = now


def _factors(shock: Shock, starts: ShockTimes, seed: int, group: str, index: int, device: str) -> Factors:
    """Yield the factors of one device: those of the shocks that hit it.

    Between hits that are far apart, yield None at times: the next hit may come after the end of the run.
    """
    profile = shock.profile()
    hits = _hits(shock, seed, group, index, device)
    for number in count():
        if next(hits):
            start = starts[number]
            for at, factor in profile:
                yield start + at, factor
        elif number % STEPS_AT_ONCE == 0:
            yield starts[number], None


def _hits(shock: Shock, seed: int, group: str, index: int, device: str) -> Iterator[bool]:
    """Yield for each shock whether it hits the device."""
    if shock.share >= 1:
        while True:
            yield True
    rng = stream(seed, "shock", group, index, device)
    while True:
        yield from (rng.random(STEPS_AT_ONCE) < shock.share).tolist()
