"""Memory processes that repeat: a square wave, a sawtooth, and an oscillation around a block boundary."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec
import numpy as np

from devices.memory.budget import Budget
from devices.memory.process import Changes
from devices.memory.sampling import (
    GIB,
    MIB,
    MINUTE,
    SECOND,
    STEPS_AT_ONCE,
    Phase,
    Spacing,
    check_bounds,
    check_size,
    check_span,
    draw_waits,
    time_passed,
)
from wire.errors import InputError
from wire.layers import Layers
from wire.units import Bytes, Duration, Share, format_bytes, format_share

MOST_BYTES = 2**62
"""More memory than any device has; fits a signed 64-bit integer."""


class SquareWave(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="square_wave", tag_field="type"
):
    """Two levels in turn: an application that comes to the foreground and leaves it."""

    low: Bytes = Bytes(256 * MIB)
    """Free memory while the other application runs."""
    high: Bytes = Bytes(2 * GIB)
    """Free memory otherwise."""
    low_for: Duration = Duration(2 * MINUTE)
    """The time at the lower level."""
    high_for: Duration = Duration(8 * MINUTE)
    """The time at the upper level."""
    phase: Phase = "random"
    """The point of the wave at which a device starts: random, drawn for each device; or the start of high."""

    def __post_init__(self) -> None:
        check_bounds(self.low, self.high, ("low", "high"))
        check_span("low_for", self.low_for)
        check_span("high_for", self.high_for)

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the time from one drop to the next."""
        yield {"low_for": self.low_for, "high_for": self.high_for}

    def limits(self) -> Mapping[str, int]:
        """Return the upper level."""
        return {"high": self.high}

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end."""
        period = self.high_for + self.low_for
        passed = int(rng.integers(period)) if self.phase == "random" else 0
        high = passed < self.high_for
        yield 0, int(self.high if high else self.low)
        wait = (self.high_for if high else period) - passed
        while True:
            high = not high
            yield wait, int(self.high if high else self.low)
            wait = int(self.high_for if high else self.low_for)


class Sawtooth(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="sawtooth", tag_field="type"
):
    """A leak: free memory falls step by step to a floor, then the leaking application is killed.

    The step after the one that reaches the floor is the kill: all memory is free again.
    """

    low: Bytes = Bytes(256 * MIB)
    """The floor, at which the application is killed."""
    high: Bytes = Bytes(2 * GIB)
    """Free memory after the kill."""
    leak: Bytes = Bytes(32 * MIB)
    """Mean size of a step down."""
    jitter: Share = Share(0.5)
    """A step is uniform around `leak`, by up to this share of it."""
    step_every: Duration = Duration(10 * SECOND)
    """Mean time between steps."""
    spacing: Spacing = "exponential"
    """The distribution of the time between steps."""
    phase: Phase = "random"
    """The start of a device: random between the levels and within a `fixed` step, drawn for each device; or
    aligned, at `high`, and with fixed steps at the same times."""

    def __post_init__(self) -> None:
        check_bounds(self.low, self.high, ("low", "high"))
        check_size("leak", self.leak)
        check_span("step_every", self.step_every)

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the mean time between steps."""
        yield {"step_every": self.step_every}

    def limits(self) -> Mapping[str, int]:
        """Return the upper bound."""
        return {"high": self.high}

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end."""
        low, high = int(self.low), int(self.high)
        free = int(rng.integers(low, high, endpoint=True)) if self.phase == "random" else high
        yield 0, free
        passed = time_passed(rng, self.step_every, self.spacing, self.phase)
        least = max(int(self.leak * (1.0 - self.jitter)), 1)
        most = max(int(self.leak * (1.0 + self.jitter)), least)
        while True:
            waits = draw_waits(rng, self.step_every, self.spacing)
            waits[0], passed = waits[0] - passed, 0
            steps = rng.integers(least, most, STEPS_AT_ONCE, endpoint=True).tolist()
            for wait, step in zip(waits, steps, strict=True):
                free = high if free <= low else max(free - step, low)
                yield wait, free


class Boundary(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="boundary", tag_field="type"
):
    """The worst case: the budget moves back and forth across the size of one PEE, so each change counts."""

    at: Share = Share(0.5)
    """The boundary: the size of a PEE that is nearest to this share of the whole table's bytes."""
    depth: Share = Share(0.02)
    """The distance of the budget to either side, as a share of the boundary; below, at least one byte."""
    low_for: Duration = Duration(30 * SECOND)
    """The time for which the budget is below the boundary."""
    high_for: Duration = Duration(30 * SECOND)
    """The time for which it is at the boundary, or above."""
    phase: Phase = "random"
    """The point of the wave at which a device starts: random, drawn for each device; or the start of high."""

    def __post_init__(self) -> None:
        if self.depth >= 1:
            raise ValueError(f"depth(={format_share(self.depth)}) must be < 100 %")
        check_span("low_for", self.low_for)
        check_span("high_for", self.high_for)

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the time from one drop to the next."""
        yield {"low_for": self.low_for, "high_for": self.high_for}

    def limits(self) -> Mapping[str, int]:
        """Return no limit: the levels follow from the budget."""
        return {}

    def changes_around(self, layers: Layers, budget: Budget, rng: np.random.Generator) -> Changes:
        """Return (wait_ns, free_bytes) without end, for a device with this table and this budget rule.

        Raises:
            InputError: no amount of free memory gives such a budget.
        """
        low, high = self._levels(layers, budget)
        wave = SquareWave(
            low=Bytes(low), high=Bytes(high), low_for=self.low_for, high_for=self.high_for, phase=self.phase
        )
        return wave.changes(rng)

    def _levels(self, layers: Layers, budget: Budget) -> tuple[int, int]:
        """Return the free memory below and above the boundary."""
        return _free_around(layers, budget, float(self.at), float(self.depth))


@lru_cache(maxsize=1024)
def _free_around(layers: Layers, budget: Budget, at: float, depth: float) -> tuple[int, int]:
    boundary = min(layers.bytes[1:] or (0,), key=lambda size: abs(size - at * layers.bytes[-1]))
    below = boundary - max(1, int(depth * boundary))
    return _free_for(max(below, 0), budget), _free_for(boundary + int(depth * boundary), budget)


def _free_for(budget_bytes: int, budget: Budget) -> int:
    """Return the least free memory that gives a budget of *budget_bytes*."""
    free = bisect_left(range(MOST_BYTES), budget_bytes, key=budget.of)
    if budget.of(free) != budget_bytes:
        raise InputError(
            f"memory of type boundary: a budget of {format_bytes(budget_bytes)} is needed, and no free "
            "memory gives it: see budget.min, budget.max and budget.share"
        )
    return free
