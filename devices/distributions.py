"""Distributions that are cut off at 0 and have the stated mean and deviation after the cut.

A delay is never negative: a negative number counts as 0, which raises the mean and lowers the deviation. So
numbers are drawn from a corrected distribution, which has the stated mean and deviation after the cut.
"""

import math
from functools import lru_cache

MOST_SPREAD = 1000
"""A distribution is not corrected if its deviation is more than this many means: hardly any value is left."""
_UNCUT = 6.0
"""With a mean this many deviations above 0, the cut moves it by less than a billionth of the deviation."""


@lru_cache(maxsize=1024)
def normal_before_cut(mean: float, deviation: float) -> tuple[float, float]:
    """Return mean and deviation of the normal distribution that has these once it is cut off at 0.

    The ratio of the mean square to the square of the mean falls with the number of deviations by which the
    uncut mean is above 0, so that number is found by bisection.

    Args:
        mean: of the distribution after the cut.
        deviation: of the same unit.
    """
    if mean >= _UNCUT * deviation or deviation > MOST_SPREAD * mean:
        return mean, deviation
    ratio = 1.0 + (deviation / mean) ** 2
    low, high = -_UNCUT, _UNCUT + 1.0
    for _ in range(100):
        middle = (low + high) / 2
        first, second = _moments(middle)
        low, high = (middle, high) if second > ratio * first * first else (low, middle)
    scale = mean / _moments(low)[0]
    return low * scale, scale


def uniform_before_cut(mean: float, deviation: float) -> tuple[float, float]:
    """Return the bounds of the uniform distribution that has *mean* and *deviation* once it is cut off at 0.

    Cut off at 0, a uniform variable from a < 0 to b has mean b^2 / 2 (b - a) and mean square b^3 / 3 (b - a).

    Args:
        mean: of the distribution after the cut.
        deviation: of the same unit.
    """
    half = math.sqrt(3.0) * deviation
    if half <= mean or deviation > MOST_SPREAD * mean:
        return mean - half, mean + half
    ratio = 1.0 + (deviation / mean) ** 2
    high = 1.5 * mean * ratio
    return high - 0.75 * ratio * high, high


def _moments(a: float) -> tuple[float, float]:
    """Return mean and mean square of a normal variable of mean *a* and deviation 1 that is cut off at 0."""
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    below = math.erfc(-a / math.sqrt(2)) / 2
    return a * below + density, (1 + a * a) * below + a * density
