"""A memory process that moves between levels of memory pressure and stays at each for a while."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

from devices.memory.process import Changes
from devices.memory.sampling import (
    GIB,
    MIB,
    MINUTE,
    STEPS_AT_ONCE,
    Phase,
    Probability,
    Spacing,
    check_bounds,
    check_span,
    draw_waits,
)
from wire.units import Bytes, Duration

LEVELS: Final = ("normal", "moderate", "low", "critical")
"""Levels of memory pressure, from none to the worst."""
Dwell = Literal["exponential", "fixed", "lognormal"]


class PressureLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One level of memory pressure."""

    min: Bytes = Bytes(256 * MIB)
    """Least free memory at this level."""
    max: Bytes = Bytes(2 * GIB)
    """Most free memory at this level; it is uniform between the two."""
    dwell: Duration = Duration(5 * MINUTE)
    """Mean time at this level."""
    next: dict[str, Probability] = {}
    """The probability of each level that may follow, by its name; the sum is 1."""

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)
        check_span("dwell", self.dwell)
        other = next((name for name in self.next if name not in LEVELS), None)
        if other is not None:
            raise ValueError(f"next(={other!r}) must have keys of {', '.join(LEVELS)}")
        if abs(math.fsum(self.next.values()) - 1) > 1e-9:
            shown = ", ".join(f"{name}: {chance:g}" for name, chance in self.next.items())
            raise ValueError(f"next(={{{shown}}}) must sum to 1")

    @property
    def row(self) -> tuple[float, ...]:
        """The probability of each level that may follow, in the order of `LEVELS`."""
        return tuple(self.next.get(name, 0.0) for name in LEVELS)


class PressureStates(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="pressure_states",
    tag_field="type",
):
    """Levels of memory pressure, each with its sizes, its dwell time and its successors.

    A device starts as in the long run: at each level with the probability of its share of time, somewhere in
    a stay.
    """

    normal: PressureLevel = PressureLevel(
        min=Bytes(2 * GIB), max=Bytes(4 * GIB), dwell=Duration(30 * MINUTE), next={"moderate": 1.0}
    )
    """Enough memory for all applications."""
    moderate: PressureLevel = PressureLevel(
        min=Bytes(1 * GIB),
        max=Bytes(2 * GIB),
        dwell=Duration(10 * MINUTE),
        next={"normal": 0.7, "low": 0.3},
    )
    """Less than usual."""
    low: PressureLevel = PressureLevel(
        min=Bytes(512 * MIB),
        max=Bytes(1 * GIB),
        dwell=Duration(4 * MINUTE),
        next={"moderate": 0.7, "critical": 0.3},
    )
    """Background applications are being killed."""
    critical: PressureLevel = PressureLevel(
        min=Bytes(128 * MIB),
        max=Bytes(512 * MIB),
        dwell=Duration(1 * MINUTE),
        next={"normal": 0.2, "low": 0.8},
    )
    """Even applications in use may be killed."""
    distribution: Dwell = "exponential"
    """The distribution of the time at a level."""
    sigma: Annotated[float, msgspec.Meta(gt=0.0, le=5.0)] = 1.0
    """Spread of a lognormal time at a level: the standard deviation of its logarithm."""
    step_every: Duration | None = Duration(MINUTE)
    """Mean time between draws of a new size within a level; null for one size per stay."""
    spacing: Spacing = "exponential"
    """The distribution of the time between such draws."""
    phase: Phase = "random"
    """The point of its first stay at which a device starts: random, drawn for each device; or the beginning.

    Aligned devices whose stays are `fixed` change their level together, which makes storms of reports.
    """

    def __post_init__(self) -> None:
        for name in LEVELS:
            if name in self.level(name).next:
                raise ValueError(
                    f"{name}.next(={name!r}) must lead to other levels: to stay longer is `dwell`"
                )
        if self.step_every is not None:
            check_span("step_every", self.step_every)

    def level(self, name: str) -> PressureLevel:
        """Return the level called *name*."""
        level: PressureLevel = getattr(self, name)
        return level

    def shares(self) -> tuple[float, ...]:
        """Return the share of time that each level takes in the long run, in the order of `LEVELS`."""
        return _shares(self._rows(), self._dwells())

    def stays(self, rng: np.random.Generator) -> Iterator[tuple[str, int]]:
        """Yield (level, dwell_ns) without end."""
        return ((name, dwell) for name, dwell, _ in self._stays(rng))

    def _stays(self, rng: np.random.Generator) -> Iterator[tuple[str, int, int]]:
        """Yield (level, dwell_ns, passed_ns) without end; passed_ns is 0 except for the first stay."""
        start, *successors = _sums(self._rows(), self._dwells())
        dwells = self._dwells()
        at = _draw_index(start, rng.random())
        begun = None if self.phase == "aligned" else self._begun(rng)
        while True:
            chances = rng.random(STEPS_AT_ONCE).tolist()
            for factor, chance in zip(self._factors(rng), chances, strict=True):
                length, passed = begun or (factor, 0.0)
                begun = None
                dwell = max(int(dwells[at] * length), 1)
                yield LEVELS[at], dwell, min(int(dwells[at] * passed), dwell - 1)
                at = _draw_index(successors[at], chance)

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the mean time between draws within a level, and the mean stay at each level."""
        if self.step_every is not None:
            yield {"step_every": self.step_every}
        for name in LEVELS:
            yield {f"{name}.dwell": self.level(name).dwell}

    def limits(self) -> Mapping[str, int]:
        """Return no limit: a level above the memory of the device counts as all of it."""
        return {}

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end."""
        wait = 0
        draws = self._draws(rng)
        _, position = next(draws)
        for name, left, passed in self._stays(rng):
            left -= passed
            level = self.level(name)
            low, span = int(level.min), int(level.max) - int(level.min)
            yield wait, low + round(position * span)
            gap, position = next(draws)
            if passed and self.spacing == "fixed":
                gap -= passed % gap
            while gap < left:
                left -= gap
                yield gap, low + round(position * span)
                gap, position = next(draws)
            wait = left

    def _rows(self) -> tuple[tuple[float, ...], ...]:
        return tuple(self.level(name).row for name in LEVELS)

    def _dwells(self) -> tuple[int, ...]:
        return tuple(int(self.level(name).dwell) for name in LEVELS)

    def _begun(self, rng: np.random.Generator) -> tuple[float, float] | None:
        """Return the length of a device's first stay and the passed part of it, in units of the mean.

        The chance to start in a stay is in proportion to its length. None: the first stay is as any other,
        since the rest of an exponential stay is distributed as a whole one.
        """
        if self.distribution == "exponential":
            if not self._in_step:
                return None
            passed, left = rng.exponential(1.0, 2).tolist()
            return passed + left, passed
        length, share = 1.0, float(rng.random())
        if self.distribution == "lognormal":
            length = float(rng.lognormal(self.sigma**2 / 2, self.sigma))
        return length, length * share

    @property
    def _in_step(self) -> bool:
        """Sizes are drawn at fixed times since a stay began, so the passed part of the first stay matters."""
        return self.step_every is not None and self.spacing == "fixed"

    def _factors(self, rng: np.random.Generator) -> list[float]:
        """Return dwell times in units of their mean."""
        if self.distribution == "fixed":
            return [1.0] * STEPS_AT_ONCE
        drawn = (
            rng.exponential(1.0, STEPS_AT_ONCE)
            if self.distribution == "exponential"
            else rng.lognormal(-(self.sigma**2) / 2, self.sigma, STEPS_AT_ONCE)
        )
        factors: list[float] = drawn.tolist()
        return factors

    def _draws(self, rng: np.random.Generator) -> Iterator[tuple[int, float]]:
        """Yield (time to the next new size within a level, position of a size between its bounds, 0 to 1)."""
        while True:
            waits = [2**62] * STEPS_AT_ONCE
            if self.step_every is not None:
                waits = draw_waits(rng, self.step_every, self.spacing)
            yield from zip(waits, rng.random(STEPS_AT_ONCE).tolist(), strict=True)


@lru_cache(maxsize=256)
def _shares(rows: tuple[tuple[float, ...], ...], dwells: tuple[int, ...]) -> tuple[float, ...]:
    jumps = np.array(rows)
    # The lazy chain has the same stationary distribution and no period; 2^50 steps of it converge.
    chain = (jumps + np.eye(len(LEVELS))) / 2
    for _ in range(50):
        chain = chain @ chain
        chain /= chain.sum(axis=1, keepdims=True)
    settled = chain.mean(axis=0)
    times = settled * dwells
    return tuple((times / times.sum()).tolist())


@lru_cache(maxsize=256)
def _sums(rows: tuple[tuple[float, ...], ...], dwells: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """Return the cumulative probabilities of the first level, and of each level's successors."""
    return tuple(_cumulative(chances) for chances in (_shares(rows, dwells), *rows))


def _cumulative(chances: tuple[float, ...]) -> tuple[float, ...]:
    # The last possible level gets the rest that rounding leaves of the sum.
    return tuple(math.inf if total > 1 - 1e-9 else total for total in accumulate(chances))


def _draw_index(sums: tuple[float, ...], chance: float) -> int:
    return next(index for index, total in enumerate(sums) if chance < total)
