"""Random waits and checks that several memory processes share."""

from typing import Annotated, Literal

import msgspec
import numpy as np

from wire.units import BYTE_UNITS, TIME_UNITS, format_bytes, format_duration

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Spacing = Literal["exponential", "fixed"]
Phase = Literal["random", "aligned"]
"""The point of its process at which a device starts: random, drawn for each; or aligned, one for all."""

STEPS_AT_ONCE = 64
"""The count of numbers that a process draws with one call, which costs little more than to draw one."""
MIB, GIB = BYTE_UNITS["MiB"], BYTE_UNITS["GiB"]
SECOND, MINUTE, DAY = TIME_UNITS["s"], TIME_UNITS["min"], TIME_UNITS["d"]


def draw_waits(rng: np.random.Generator, mean: int, spacing: str) -> list[int]:
    """Return the next `STEPS_AT_ONCE` waits in nanoseconds, none of them 0."""
    if spacing == "fixed":
        return [int(mean)] * STEPS_AT_ONCE
    drawn: list[int] = np.maximum(rng.exponential(mean, STEPS_AT_ONCE), 1).astype(np.int64).tolist()
    return drawn


def time_passed(rng: np.random.Generator, mean: int, spacing: str, phase: str) -> int:
    """Return how much of the first wait has passed when a device starts, in nanoseconds.

    With random phase a device starts anywhere in a fixed wait. The rest of an exponential wait is distributed
    as a whole one, so none of it needs to have passed.
    """
    return int(rng.integers(mean)) if spacing == "fixed" and phase == "random" else 0


def check_bounds(low: int, high: int, names: tuple[str, str] = ("min", "max")) -> None:
    """Check that *low* does not exceed *high*.

    Raises:
        ValueError: it does.
    """
    if low > high:
        raise ValueError(
            f"{names[0]}(={format_bytes(low)}) must not exceed {names[1]}(={format_bytes(high)})"
        )


def check_size(name: str, size: int) -> None:
    """Check that *size* is more than 0 bytes.

    Raises:
        ValueError: it is not.
    """
    if size <= 0:
        raise ValueError(f"{name}(={format_bytes(size)}) must be > 0")


def check_span(name: str, span: int) -> None:
    """Check that *span* is more than 0 nanoseconds.

    Raises:
        ValueError: it is not.
    """
    if span <= 0:
        raise ValueError(f"{name}(={format_duration(span)}) must be > 0")
