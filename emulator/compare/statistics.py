"""Differences between two sides in each metric, with simultaneous bootstrap intervals, in plain numpy.

A metric is a ratio of sums over units (devices or seeds), such as seconds over budget ÷ device seconds; a
mean has ones as denominators. Pairs of units are resampled. The intervals of all metrics hold together with
95 %: each is studentized, and its critical value is the same quantile of its own resampled distribution,
chosen so that 95 % of the resamples are inside all intervals at once (Beran's balanced B method).

If the units are whole runs, each interval also contains that of the median run, which is exact
(`emulator.compare.typical_runs`): ten runs may lack the rare ones that carry a mean.

A paired test (`emulator.compare.sign_test`) is done too: it detects rare differences, for which the interval
is wide.

Letters: N units, K metrics, B resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.compare.sign_test import adjust_for_all_metrics, sign_test
from emulator.compare.typical_runs import median_intervals
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

LEVEL = 0.95
RESAMPLES = 10_000
MIN_DIFFERING_UNITS = 10
"""With fewer differing units there is no verdict, since some resamples would contain none of them."""

_CHUNK = 500


@dataclass(frozen=True)
class RatioSums:
    """Numerators and denominators of one side.

    Args:
        above: numerators by unit and metric, shape (N, K); 0 if a unit has no value.
        below: denominators, shape (N, K); 0 if a unit has no value.
    """

    above: FloatArray
    below: FloatArray

    def sum_by(self, bins: NDArray[np.int64], count: int) -> "RatioSums":
        """Return the sums over the units of each bin.

        Args:
            bins: the bin of each unit, shape (N,).
            count: number of bins.
        """
        return RatioSums(_sums_by(bins, count, self.above), _sums_by(bins, count, self.below))


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest value of any device in each metric, on each side."""

    first_low: FloatArray
    first_high: FloatArray
    second_low: FloatArray
    second_high: FloatArray


@dataclass(frozen=True)
class MetricDifference:
    """The difference in one metric, second side minus first."""

    first: float
    second: float
    difference: float
    low: float
    """Lower end of the interval; the intervals of all metrics hold together with 95 %."""
    high: float
    differing_units: int
    judged: bool
    """True if enough units differ for a verdict."""
    chance: float = 1.0
    """Probability of such a difference by chance in any of the metrics, from the paired test."""
    sure: bool = False
    """True if that probability is small enough."""
    general: bool = True
    """True if the result holds for other runs of the same scenarios, too."""

    @property
    def differs(self) -> bool:
        """True if such a difference is improbable by chance."""
        return self.judged and self.general and (self.sure or not self.low <= 0 <= self.high)

    @property
    def differs_here(self) -> bool:
        """True if the devices of these runs differ, whether or not other runs would."""
        return self.judged and not self.general and self.sure

    @property
    def has_interval(self) -> bool:
        """True if there is an interval."""
        return self.judged and self.general

    @property
    def equal(self) -> bool:
        """True if no unit differs."""
        return self.differing_units == 0

    @property
    def relative(self) -> float | None:
        """The difference as a share of the first side's value."""
        return self.difference / abs(self.first) if self.first else None


def estimate_differences(
    first: RatioSums,
    second: RatioSums,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    *,
    general: bool = True,
    paired: bool = True,
    whole_runs: bool = False,
    bounds: Bounds | None = None,
) -> list[MetricDifference]:
    """Return the difference in each metric with intervals that hold together.

    Args:
        first: of the baseline, by unit; a unit without a value for a metric has 0 and 0 on both sides.
        second: of the compared side, for the same units.
        level: probability that all intervals hold.
        resamples: number of resamples; the draws depend on the number of units only.
        general: True if the result holds for other runs, too; else no interval is computed.
        paired: True if each unit has both sides; else units with equal values are not counted as equal.
        whole_runs: True if each unit is a pair of runs; then the intervals hold the median run, too.
        bounds: limits of the intervals.
    """
    ratios = [_ratio(side) for side in (first, second)]
    parts = _parts(first, second, ratios)
    influence = parts[2] - parts[0]  # contribution of each unit to the difference, to first order: (N, K)
    spread = np.sqrt((influence**2).sum(axis=0)) / len(influence)
    counts = np.count_nonzero(
        _differing(first, second) if paired else _units_with_values(first, second), axis=0
    )
    judged = counts >= MIN_DIFFERING_UNITS
    reach = np.full(len(counts), np.inf)
    if judged.any() and general:
        roots = np.concatenate(list(_roots(parts[:, :, judged], resamples)))
        reach[judged] = balanced_critical_values(roots, level)
    moved = np.where(counts > 0, ratios[1] - ratios[0], 0.0)
    reach = reach * np.where(spread > 0, spread, np.where(judged, 0, np.inf))
    low, high = moved - reach, moved + reach
    if whole_runs and general:
        ends = median_intervals(_unit_differences(first, second), level)
        low, high = np.fmin(low, ends[0]), np.fmax(high, ends[1])
    low, high = _clipped(moved, low, high, bounds)
    chance = np.ones(len(counts))
    chance[judged] = adjust_for_all_metrics(sign_test(_scores(first, second)[:, judged]))
    return [
        MetricDifference(
            first=float(ratios[0][metric]),
            second=float(ratios[1][metric]),
            difference=float(moved[metric]),
            low=float(low[metric]),
            high=float(high[metric]),
            differing_units=int(counts[metric]),
            judged=bool(judged[metric]),
            chance=float(chance[metric]),
            sure=bool(chance[metric] <= 1 - level),
            general=general,
        )
        for metric in range(len(counts))
    ]


def _clipped(
    difference: FloatArray, low: FloatArray, high: FloatArray, bounds: Bounds | None
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the intervals, inside *bounds*."""
    if bounds is not None:
        low = np.maximum(low, np.minimum(bounds.second_low - bounds.first_high, difference))
        high = np.minimum(high, np.maximum(bounds.second_high - bounds.first_low, difference))
    return low, high


def _scores(first: RatioSums, second: RatioSums) -> FloatArray:
    """Return the contribution of each unit to the difference, if both sides have the same ratio: (N, K)."""
    both = RatioSums(first.above + second.above, first.below + second.below)
    ratio = np.nan_to_num(_ratio(both))
    scores = []
    for side in (first, second):
        below = side.below.sum(axis=0)
        scale = np.divide(1.0, below, out=np.zeros_like(below), where=below > 0)
        scores.append((side.above - ratio * side.below) * scale)
    return np.asarray(scores[1] - scores[0])


def _units_with_values(first: RatioSums, second: RatioSums) -> NDArray[np.bool_]:
    """Return a mask of units with a numerator: (N, K)."""
    return np.asarray((first.above != 0) | (second.above != 0))


def balanced_critical_values(roots: FloatArray, level: float) -> FloatArray:
    """Return a critical value per metric; all are exceeded equally seldom, and none with probability *level*.

    Args:
        roots: absolute studentized errors by resample and metric, shape (B, K).
        level: share of the resamples in which no metric exceeds its value.
    """
    ordered = np.sort(roots, axis=0)
    ranks = np.stack(
        [np.searchsorted(ordered[:, k], roots[:, k], side="left") for k in range(roots.shape[1])], axis=1
    )
    worst = np.sort(ranks.max(axis=1))
    rank = worst[min(int(np.ceil(level * len(worst))), len(worst)) - 1]
    return np.asarray(ordered[rank], dtype=np.float64)


def _ratio(side: RatioSums) -> FloatArray:
    below = side.below.sum(axis=0)
    return np.asarray(
        np.divide(side.above.sum(axis=0), below, out=np.full(len(below), np.nan), where=below > 0)
    )


def _parts(first: RatioSums, second: RatioSums, ratios: Sequence[FloatArray]) -> FloatArray:
    """Return errors and weights of both sides, by unit and metric: (4, N, K); weights have mean 1."""
    parts = []
    for side, ratio in zip((first, second), ratios, strict=True):
        mean = side.below.mean(axis=0)
        scale = np.divide(1.0, mean, out=np.zeros_like(mean), where=mean > 0)
        parts += [(side.above - np.nan_to_num(ratio) * side.below) * scale, side.below * scale]
    return np.stack(parts)


def _differing(first: RatioSums, second: RatioSums) -> NDArray[np.bool_]:
    """Return a mask of units whose values differ between the sides: (N, K)."""
    one, other = _unit_ratios(first), _unit_ratios(second)
    return np.asarray(~np.isclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True))


def _unit_differences(first: RatioSums, second: RatioSums) -> FloatArray:
    """Return the difference of each unit: (N, K); NaN if a side has no value."""
    return _unit_ratios(second) - _unit_ratios(first)


def _unit_ratios(side: RatioSums) -> FloatArray:
    return np.asarray(
        np.divide(side.above, side.below, out=np.full(side.below.shape, np.nan), where=side.below > 0)
    )


def _roots(parts: FloatArray, resamples: int) -> Iterator[FloatArray]:
    """Yield the absolute studentized errors of the resamples, in chunks of shape (b, K).

    Args:
        parts: errors and weights of both sides, shape (4, N, K).
        resamples: B.
    """
    _, units, metrics = parts.shape
    pairs = [(one, two) for one in range(4) for two in range(one, 4)]
    columns = np.concatenate([parts, [parts[one] * parts[two] for one, two in pairs]])  # (14, N, K)
    flat = columns.transpose(1, 0, 2).reshape(units, -1)
    floor = (1e-9 * np.abs(parts).max(axis=(0, 1))) ** 2  # a smaller variance is a rounding error
    rng = stream(0, "bootstrap", units)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        means = (_draws(rng, size, units) @ flat).reshape(size, len(columns), metrics) / units
        yield _root(means, pairs, units, floor)


def _draws(rng: np.random.Generator, size: int, units: int) -> FloatArray:
    """Return the number of times that each resample contains each unit: (size, N)."""
    drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


def _root(means: FloatArray, pairs: Sequence[tuple[int, int]], units: int, floor: FloatArray) -> FloatArray:
    """Return the error of each resample's difference, divided by its own standard error: (b, K).

    Args:
        means: of errors, weights and their products, shape (b, 14, K).
        pairs: the two parts of each product.
        units: N.
        floor: least variance, by metric.
    """
    one, two = (np.where(weight > 0, weight, np.nan) for weight in (means[:, 1], means[:, 3]))
    first, second = means[:, 0] / one, means[:, 2] / two
    # The influence of a unit in the resample is these factors times its errors and weights.
    factors = np.stack([-1 / one, first / one, 1 / two, -second / two], axis=1)  # (b, 4, K)
    square = np.zeros_like(first)
    for index, (left, right) in enumerate(pairs):
        twice = 1 if left == right else 2
        square += twice * factors[:, left] * factors[:, right] * means[:, 4 + index]
    roots = np.abs(second - first) / np.sqrt(np.maximum(square, floor) / units)
    return np.nan_to_num(roots, nan=np.inf)  # a resample without weights has no ratio


def _sums_by(bins: NDArray[np.int64], count: int, values: FloatArray) -> FloatArray:
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, bins, values)
    return sums
