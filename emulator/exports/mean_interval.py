"""Means with their intervals of 95 %."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy.stats takes .7 s to import

from wire.ranking_metrics import FloatArray

LEVEL: Final = 0.95


@dataclass(frozen=True)
class MeanInterval:
    """A mean of *count* values, with the half-width of its interval of 95 %, by Student's t."""

    mean: float
    half_width: float | None
    """None if there are fewer than two values."""
    deviation: float | None
    """The standard deviation of the values; None if there are fewer than two."""
    count: int


def mean_interval(values: FloatArray | Sequence[float]) -> MeanInterval:
    """Return the mean of independent *values* and its interval; there must be one."""
    numbers = np.asarray(values, dtype=np.float64)
    mean, count = float(numbers.mean()), len(numbers)
    if count < 2:
        return MeanInterval(mean, None, None, count)
    deviation = float(numbers.std(ddof=1))
    factor = float(stdtrit(count - 1, (1 + LEVEL) / 2))
    return MeanInterval(mean, factor * deviation / count**0.5, deviation, count)
