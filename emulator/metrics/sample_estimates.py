"""Totals and ratios of a fleet from a sample of its devices, with intervals.

Each group of the fleet is a stratum, from which devices are drawn without replacement. Of its N devices n are
in the sample, so that a device of the sample stands for w = N / n devices.

- A total is the sum of w times the values of the devices in the sample (Cochran, Sampling Techniques, 1977,
  5.3). Its variance is the sum over the strata of N² (1 - n/N) s² / n, with s² the variance of the values
  within the stratum (5.9): nothing is left of it where the sample is the whole fleet.
- A ratio is one total over another (6.11). Its variance is that of the total of (value - ratio · weight) ÷
  the total below (Woodruff 1971, linearisation).
- Totals are skewed: a few devices make much of them. The error divided by its own standard error is made
  symmetric by Hall's cubic transformation (On the removal of skewness by transformation, 1992), with
  Student's distribution of n - (number of strata) degrees of freedom. The interval contains that of Student
  without the transformation, too.
- A stratum with one device in the sample says nothing about its own variance: all such strata are
  taken as one (collapsed strata, Cochran 5A.12), which can only overstate it.
- All intervals hold together with 95 %: each may miss with 5 % ÷ their number (Bonferroni).

Letters: n devices in the sample, K figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy.stats takes .7 s to import

from emulator.metrics.row_index import FloatArray, IntArray

LEVEL = 0.95
MIN_DEVICES = 30
"""With fewer devices that have a value at all, there is no interval: the rest of the fleet may have more."""
_LEAST_VARIANCE = 1e-24
"""Part of the square of a total below which its variance is an error of rounding."""


@dataclass(frozen=True)
class Estimate:
    """A figure of the whole fleet, estimated from a sample."""

    value: float
    low: float | None
    """The lower end of the interval; None: too few devices of the sample have a value."""
    high: float | None


@dataclass(frozen=True)
class SampledDevices:
    """The devices of a sample and the strata that they were drawn from."""

    stratum: IntArray
    """The stratum of each device: an index of *fleet_counts*."""
    fleet_counts: IntArray
    """Number of devices of the fleet in each stratum."""

    @property
    def counts(self) -> IntArray:
        """Number of devices of the sample in each stratum."""
        return np.bincount(self.stratum, minlength=len(self.fleet_counts))

    @property
    def weights(self) -> FloatArray:
        """Number of devices of the fleet that each device stands for."""
        return np.asarray(self.fleet_counts / np.maximum(self.counts, 1))[self.stratum]


def estimate(
    sample: SampledDevices, above: FloatArray, below: FloatArray, level: float = LEVEL
) -> Sequence[Estimate]:
    """Return the estimate of each figure; the intervals hold together with probability *level*.

    Args:
        sample: the devices.
        above: values by device and figure, shape (n, K).
        below: what the values are divided by, shape (n, K); a column of NaN if the figure is a total.
        level: probability that all intervals hold.
    """
    is_total = np.isnan(below).all(axis=0)
    weights = sample.weights[:, None]
    parts = np.nan_to_num(below)
    sums, bases = (weights * above).sum(axis=0), np.where(is_total, 1.0, (weights * parts).sum(axis=0))
    values = np.divide(sums, bases, out=np.full(len(sums), np.nan), where=bases != 0)
    errors = (above - np.where(is_total, 0.0, np.nan_to_num(values)) * parts) / np.where(bases == 0, 1, bases)
    variance, third, freedom = _moments(sample, errors)
    lows, highs = _ends(values, variance, third, freedom, (1 - level) / len(values))
    seen = np.where(is_total, above.sum(axis=0), -np.inf)  # no total is less than what the sample has
    lows = np.maximum(lows, np.minimum(seen, values))
    enough = np.count_nonzero(np.where(is_total, above, parts) != 0, axis=0) >= MIN_DEVICES
    enough &= np.count_nonzero(above, axis=0) >= MIN_DEVICES
    enough |= variance == 0 if _is_whole(sample) else False
    return [
        Estimate(float(value), float(low) if sure else None, float(high) if sure else None)
        for value, low, high, sure in zip(values, lows, highs, enough & (freedom > 0), strict=True)
    ]


def _is_whole(sample: SampledDevices) -> bool:
    return bool((sample.counts == sample.fleet_counts).all())


def _moments(sample: SampledDevices, errors: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Return the variance and the third moment of the totals of *errors*, and the degrees of freedom."""
    own, fleet = sample.counts, sample.fleet_counts
    lone = (own == 1) & (fleet > 1)
    stratum = np.where(lone[sample.stratum], len(own), sample.stratum)  # those of one device are collapsed
    counts = np.bincount(stratum, minlength=len(own) + 1)
    scaled = sample.weights[:, None] * errors
    means = _sums(stratum, scaled, len(counts)) / np.maximum(counts, 1)[:, None]
    if counts[-1] == 1:  # nothing to collapse it with: the mean of all takes the place of its own
        means[-1] = scaled.mean(axis=0)
    left = (scaled - means[stratum]) * np.sqrt(_unseen(sample))[:, None]
    free = np.maximum(counts - 1, 1)[stratum][:, None]
    size = counts[stratum][:, None]
    variance = (left**2 * size / free).sum(axis=0)
    third = (left**3 * (size / free) ** 1.5).sum(axis=0)
    used = counts[(counts > 1)]
    return variance, third, int(used.sum() - len(used))


def _unseen(sample: SampledDevices) -> FloatArray:
    """Return 1 - n/N of the stratum of each device."""
    return np.asarray(1 - sample.counts / np.maximum(sample.fleet_counts, 1))[sample.stratum]


def _sums(bins: IntArray, values: FloatArray, count: int) -> FloatArray:
    return np.stack([np.bincount(bins, column, count) for column in values.T], axis=1)


def _ends(
    values: FloatArray, variance: FloatArray, third: FloatArray, freedom: int, risk: float
) -> tuple[FloatArray, FloatArray]:
    """Return both ends of the intervals: the wider of Student's and of Hall's, on each side."""
    variance = np.where(variance > _LEAST_VARIANCE * np.nan_to_num(values) ** 2, variance, 0.0)
    spread = np.sqrt(variance)
    skew = np.divide(third, spread**3, out=np.zeros_like(third), where=spread > 0)
    reach = float(stdtrit(max(freedom, 1), 1 - risk / 2))
    lows = values - spread * np.maximum(reach, symmetrical(reach, skew))
    highs = values + spread * np.maximum(reach, -symmetrical(-reach, skew))
    return lows, highs


def symmetrical(quantile: float, skew: FloatArray) -> FloatArray:
    """Return the quantile of a studentized error with a skewness, from that of a symmetric one.

    It is the inverse of Hall's transformation t + a t² + a² t³/3 + a/2, with a = skew / 3.
    """
    shape = np.where(np.abs(skew) > 1e-9, skew, 1e-9) / 3
    return np.asarray((np.cbrt(1 + 3 * shape * (quantile - shape / 2)) - 1) / shape)
