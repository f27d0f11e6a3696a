"""Memory processes: how the free memory of a device moves through simulated time.

A process yields ``(wait_ns, free_bytes)``: after so long, so much is free; the first wait is 0. It
draws from the device's own stream only, some steps at a time because one call for many numbers
costs little more than one call for one.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
import numpy as np

from devices.reporting import Publish
from wire.units import (
    BYTE_UNITS,
    TIME_UNITS,
    Bytes,
    Duration,
    Share,
    format_bytes,
    format_duration,
    format_share,
)

Changes = Iterator[tuple[int, int]]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

STEPS_AT_ONCE = 64
DAY = TIME_UNITS["d"]
MIB, GIB = BYTE_UNITS["MiB"], BYTE_UNITS["GiB"]


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
    """Where the walk starts; anywhere between the bounds, drawn per device, if left out."""
    max_step: Bytes = Bytes(512 * MIB)
    """The size of a step is uniform from 0 to this."""
    step_every: Duration = Duration(60 * TIME_UNITS["s"])
    """Mean time between steps."""
    spacing: Literal["exponential", "fixed"] = "exponential"
    """How the time between steps is distributed."""
    increase_probability: Probability = 0.5
    """How likely a step goes up."""

    def __post_init__(self) -> None:
        _check_bounds(self.min, self.max)
        _check_positive("max_step", self.max_step, format_bytes(self.max_step))
        _check_positive("step_every", self.step_every, format_duration(self.step_every))
        if self.initial is not None and not self.min <= self.initial <= self.max:
            raise ValueError(
                f"initial(={format_bytes(self.initial)}) must be from min(={format_bytes(self.min)}) "
                f"to max(={format_bytes(self.max)})"
            )

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end."""
        free = (
            int(rng.integers(self.min, self.max, endpoint=True))
            if self.initial is None
            else int(self.initial)
        )
        yield 0, free
        low, high = int(self.min), int(self.max)
        while True:
            up = rng.random(STEPS_AT_ONCE) < self.increase_probability
            sizes = rng.integers(0, self.max_step, STEPS_AT_ONCE, endpoint=True)
            waits = _waits(rng, self.step_every, self.spacing)
            for wait, step in zip(waits, np.where(up, sizes, -sizes).tolist(), strict=True):
                free += step
                if free < low:
                    free = low
                elif free > high:
                    free = high
                yield wait, free


class DailyCurve(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="daily", tag_field="type"
):
    """An Ornstein-Uhlenbeck process around a daily curve: busy evenings, idle nights."""

    mean: Bytes = Bytes(2 * GIB)
    """Free memory averaged over a day."""
    swing: Bytes = Bytes(1 * GIB)
    """How far the daily curve rises above the mean, and falls below it."""
    peak_at: Duration = Duration(4 * TIME_UNITS["h"])
    """Time of day at which most memory is free; the run starts at midnight."""
    deviation: Bytes = Bytes(512 * MIB)
    """Standard deviation around the curve."""
    reversion: Duration = Duration(30 * TIME_UNITS["min"])
    """Time in which a deviation falls to 1/e."""
    step_every: Duration = Duration(60 * TIME_UNITS["s"])
    """Mean time between steps."""
    spacing: Literal["exponential", "fixed"] = "exponential"
    """How the time between steps is distributed."""
    min: Bytes = Bytes(128 * MIB)
    """Free memory never falls below this."""
    max: Bytes = Bytes(6 * GIB)
    """Free memory never rises above this."""

    def __post_init__(self) -> None:
        _check_bounds(self.min, self.max)
        _check_positive("reversion", self.reversion, format_duration(self.reversion))
        _check_positive("step_every", self.step_every, format_duration(self.step_every))
        if self.swing > self.mean:
            raise ValueError(
                f"swing(={format_bytes(self.swing)}) must not exceed mean(={format_bytes(self.mean)})"
            )

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes) without end; exact discretisation of the process."""
        offset = self.deviation * float(rng.standard_normal())
        now = 0
        yield 0, self._free(now, offset)
        while True:
            waits = _waits(rng, self.step_every, self.spacing)
            for wait, shock in zip(waits, rng.standard_normal(STEPS_AT_ONCE).tolist(), strict=True):
                kept = math.exp(-wait / self.reversion)
                offset = offset * kept + self.deviation * math.sqrt(1 - kept * kept) * shock
                now += wait
                yield wait, self._free(now, offset)

    def _free(self, now: int, offset: float) -> int:
        curve = self.mean + self.swing * math.cos(2 * math.pi * ((now - self.peak_at) % DAY) / DAY)
        return min(max(int(curve + offset), self.min), self.max)


class SquareWave(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="square_wave", tag_field="type"
):
    """Two levels in turn: an application that comes to the foreground and goes."""

    low: Bytes = Bytes(256 * MIB)
    """Free memory while the other application runs."""
    high: Bytes = Bytes(2 * GIB)
    """Free memory otherwise."""
    low_for: Duration = Duration(2 * TIME_UNITS["min"])
    """How long it is low."""
    high_for: Duration = Duration(8 * TIME_UNITS["min"])
    """How long it is high."""
    phase: Literal["random", "aligned"] = "random"
    """Where in the wave a device starts: anywhere, drawn per device, or all at the start of high."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(
                f"low(={format_bytes(self.low)}) must not exceed high(={format_bytes(self.high)})"
            )
        _check_positive("low_for", self.low_for, format_duration(self.low_for))
        _check_positive("high_for", self.high_for, format_duration(self.high_for))

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


class Replay(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="trace", tag_field="type"
):
    """Replays a recorded trace; each device takes one of its series, drawn from the device's stream."""

    file: str
    """CSV or Parquet with the columns ``t_s`` (seconds from the start, rising), the one named below,
    and ``device_id`` where it holds several series."""
    column: str = "mem_available_bytes"
    """The column with the free memory in bytes."""
    on_end: Literal["wrap", "hold"] = "wrap"
    """At the end of a series: start it again, or keep its last value."""

    def __post_init__(self) -> None:
        if not self.file.endswith((".csv", ".parquet")):
            raise ValueError(f"file(={self.file!r}) must end in .csv or .parquet")


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a device derives its budget from its free memory."""

    share: Share = Share(0.0001)
    """The share of free memory that the recommender's item embeddings may use."""
    publish: Publish = Publish()
    """When a device tells of its budget."""

    def __post_init__(self) -> None:
        _check_positive("share", self.share, format_share(self.share))

    def of(self, free_bytes: int) -> int:
        """Return the budget in bytes."""
        return int(free_bytes * self.share)


Memory = BoundedWalk | DailyCurve | SquareWave | Replay


def _waits(rng: np.random.Generator, mean: int, spacing: str) -> list[int]:
    if spacing == "fixed":
        return [int(mean)] * STEPS_AT_ONCE
    drawn: list[int] = np.maximum(rng.exponential(mean, STEPS_AT_ONCE), 1).astype(np.int64).tolist()
    return drawn


def _check_bounds(low: int, high: int) -> None:
    if low > high:
        raise ValueError(f"min(={format_bytes(low)}) must not exceed max(={format_bytes(high)})")


def _check_positive(name: str, value: float, shown: str) -> None:
    if value <= 0:
        raise ValueError(f"{name}(={shown}) must be > 0")
