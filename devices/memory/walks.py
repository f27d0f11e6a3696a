"""Memory processes that drift: a bounded random walk, an Ornstein-Uhlenbeck process around a daily curve."""

import math
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.memory.process import Changes
from devices.memory.sampling import (
    DAY,
    GIB,
    MIB,
    MINUTE,
    STEPS_AT_ONCE,
    Phase,
    Probability,
    Spacing,
    check_bounds,
    check_size,
    check_span,
    draw_waits,
    time_passed,
)
from wire.units import TIME_UNITS, Bytes, Duration, format_bytes


class BoundedWalk(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="bounded_walk",
    tag_field="type",
):
    """A random walk between two bounds: memory that drifts as applications come and go."""

    min: Bytes = Bytes(256 * MIB)
    """Free memory never falls below this."""
    max: Bytes = Bytes(4 * GIB)
    """Free memory never rises above this."""
    initial: Bytes | None = None
    """The start of the walk; drawn for each device between the bounds if left out."""
    max_step: Bytes = Bytes(512 * MIB)
    """The size of a step is uniform from 0 to this."""
    step_every: Duration = Duration(MINUTE)
    """Mean time between steps."""
    spacing: Spacing = "exponential"
    """The distribution of the time between steps."""
    phase: Phase = "random"
    """The time of the first of `fixed` steps: random within `step_every`, drawn for each device; or aligned.

    Aligned devices that start together step together, which makes storms of reports.
    """
    increase_probability: Probability = 0.5
    """The probability that a step goes up."""
    retain_probability: Probability = 0.0
    """The probability that a step changes nothing."""
    reset_probability: Probability = 0.0
    """The probability that a step leads back to `initial`, or to a draw between the bounds without it."""

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)
        check_size("max_step", self.max_step)
        check_span("step_every", self.step_every)
        if self.initial is not None and not self.min <= self.initial <= self.max:
            raise ValueError(
                f"initial(={format_bytes(self.initial)}) must be from min(={format_bytes(self.min)}) "
                f"to max(={format_bytes(self.max)})"
            )
        if self.retain_probability + self.reset_probability > 1 + 1e-9:
            raise ValueError(
                f"retain_probability(={self.retain_probability}) + "
                f"reset_probability(={self.reset_probability}) must be <= 1"
            )

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the mean time between steps."""
        yield {"step_every": self.step_every}

    def limits(self) -> Mapping[str, int]:
        """Return the upper bound."""
        return {"max": self.max}

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end."""
        free = (
            int(rng.integers(self.min, self.max, endpoint=True))
            if self.initial is None
            else int(self.initial)
        )
        yield 0, free
        low, high = int(self.min), int(self.max)
        passed = time_passed(rng, self.step_every, self.spacing, self.phase)
        while True:
            up = rng.random(STEPS_AT_ONCE) < self.increase_probability
            sizes = rng.integers(0, self.max_step, STEPS_AT_ONCE, endpoint=True)
            waits = draw_waits(rng, self.step_every, self.spacing)
            waits[0], passed = waits[0] - passed, 0
            steps = np.where(up, sizes, -sizes)
            resets = self._resets(rng, steps)
            for wait, step, reset in zip(waits, steps.tolist(), resets, strict=True):
                free = free + step if reset is None else reset
                if free < low:
                    free = low
                elif free > high:
                    free = high
                yield wait, free

    def _resets(self, rng: np.random.Generator, steps: NDArray[np.int64]) -> list[int | None]:
        """Set retained *steps* to 0; return the free memory after each reset, None for other steps."""
        no_resets: list[int | None] = [None] * STEPS_AT_ONCE
        if not (self.retain_probability or self.reset_probability):
            return no_resets  # and nothing is drawn
        chances = rng.random(STEPS_AT_ONCE)
        steps[chances < self.retain_probability] = 0
        if not self.reset_probability:
            return no_resets
        targets = (
            rng.integers(self.min, self.max, STEPS_AT_ONCE, endpoint=True).tolist()
            if self.initial is None
            else [int(self.initial)] * STEPS_AT_ONCE
        )
        # From the other end, so that a chance of 1 - reset_probability or more is a reset.
        reset = chances >= 1.0 - self.reset_probability
        return [target if hit else None for target, hit in zip(targets, reset.tolist(), strict=True)]


class DailyCurve(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="daily", tag_field="type"
):
    """An Ornstein-Uhlenbeck process around a daily curve: busy evenings, idle nights."""

    mean: Bytes = Bytes(2 * GIB)
    """Free memory averaged over a day."""
    swing: Bytes = Bytes(1 * GIB)
    """The height of the daily curve above the mean, and its depth below."""
    peak_at: Duration = Duration(4 * TIME_UNITS["h"])
    """Time of day at which most memory is free; the run starts at midnight."""
    deviation: Bytes = Bytes(512 * MIB)
    """Standard deviation around the curve."""
    reversion: Duration = Duration(30 * MINUTE)
    """Time in which a deviation falls to 1/e."""
    step_every: Duration = Duration(MINUTE)
    """Mean time between steps."""
    spacing: Spacing = "exponential"
    """The distribution of the time between steps."""
    phase: Phase = "random"
    """The time of the first of `fixed` steps: random within `step_every`, drawn for each device; or aligned.

    Aligned devices that start together step together, which makes storms of reports.
    """
    min: Bytes = Bytes(128 * MIB)
    """Free memory never falls below this."""
    max: Bytes = Bytes(6 * GIB)
    """Free memory never rises above this."""

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)
        check_span("reversion", self.reversion)
        check_span("step_every", self.step_every)
        if self.swing > self.mean:
            raise ValueError(
                f"swing(={format_bytes(self.swing)}) must not exceed mean(={format_bytes(self.mean)})"
            )

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the mean time between steps."""
        yield {"step_every": self.step_every}

    def limits(self) -> Mapping[str, int]:
        """Return the upper bound."""
        return {"max": self.max}

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end; exact discretisation of the process."""
        offset = self.deviation * float(rng.standard_normal())
        now = 0
        yield 0, self._free(now, offset)
        passed = time_passed(rng, self.step_every, self.spacing, self.phase)
        while True:
            waits = draw_waits(rng, self.step_every, self.spacing)
            waits[0], passed = waits[0] - passed, 0
            shocks: list[float] = rng.standard_normal(STEPS_AT_ONCE).tolist()
            for wait, shock in zip(waits, shocks, strict=True):
                kept = math.exp(-wait / self.reversion)
                offset = offset * kept + self.deviation * math.sqrt(1 - kept * kept) * shock
                now += wait
                yield wait, self._free(now, offset)

    def _free(self, now: int, offset: float) -> int:
        curve = self.mean + self.swing * math.cos(2 * math.pi * ((now - self.peak_at) % DAY) / DAY)
        return min(max(int(curve + offset), self.min), self.max)
