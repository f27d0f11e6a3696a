"""How much two sides differ in each metric, and what chance may have done: pure numpy.

A metric is a ratio of sums over units (devices, or seeds), such as seconds over budget ÷ seconds there; a
plain mean has ones below. Units are drawn anew in pairs. The intervals of all metrics hold together
with 95 %: each is studentized, and its critical value is the same quantile of its own resampled
distribution, chosen so that 95 % of the resamples lie inside all at once (Beran's balanced B method).

Beside it stands a paired test (`emulator.compare.sign_test`): it sees what is rare, where an interval
is wide.

Letters: N units, K metrics, B resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.compare.sign_test import adjust_for_all_metrics, sign_test
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

LEVEL = 0.95
RESAMPLES = 10_000
MIN_DIFFERING_UNITS = 10
"""A metric in which fewer units differ is not judged: some resamples would hold none of them."""

_CHUNK = 500


@dataclass(frozen=True)
class RatioSums:
    """What is divided, for one side.

    Args:
        above: numerators by unit and metric, shape (N, K); 0 where a unit has no value.
        below: denominators, shape (N, K); 0 where a unit has no value.
    """

    above: FloatArray
    below: FloatArray

    def by(self, bins: NDArray[np.int64], count: int) -> "RatioSums":
        """Return the sums over the units of each bin.

        Args:
            bins: the bin of each unit, shape (N,).
            count: how many bins there are.
        """
        return RatioSums(_sums_by(bins, count, self.above), _sums_by(bins, count, self.below))


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest value that any device has in each metric, on either side."""

    first_low: FloatArray
    first_high: FloatArray
    second_low: FloatArray
    second_high: FloatArray


@dataclass(frozen=True)
class MetricDifference:
    """The difference in one metric, second side less first."""

    first: float
    second: float
    difference: float
    low: float
    """End of the interval in which the true difference lies, together with all metrics' with 95 %."""
    high: float
    differing_units: int
    judged: bool
    """Whether enough units differ to say anything."""
    chance: float = 1.0
    """How probable such a difference is by chance in any metric at all, by the paired test."""
    sure: bool = False
    """Whether that is improbable enough."""
    general: bool = True
    """Whether the units speak of more than these runs."""

    @property
    def differs(self) -> bool:
        """Tell whether chance alone would seldom make such a difference."""
        return self.judged and self.general and (self.sure or not self.low <= 0 <= self.high)

    @property
    def differs_here(self) -> bool:
        """Tell whether the devices of these runs differ surely, whatever other runs would show."""
        return self.judged and not self.general and self.sure

    @property
    def has_interval(self) -> bool:
        """Tell whether there is an interval."""
        return self.judged and self.general

    @property
    def equal(self) -> bool:
        """Tell whether no unit differs."""
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
    bounds: Bounds | None = None,
) -> list[MetricDifference]:
    """Return the difference in each metric with intervals that hold together.

    Args:
        first: of the baseline, unit by unit; a unit without a value for a metric has 0 and 0 on both sides.
        second: of what is compared with it, the same units.
        level: with what probability all intervals hold.
        resamples: how many times the units are drawn anew; the draws depend on their number only.
        general: whether the units speak of more than these runs; else no interval is computed.
        paired: whether a unit has both sides; else the difference between equal sides is no reason to call
            them equal.
        bounds: no interval is wider than they allow.
    """
    ratios = [_ratio(side) for side in (first, second)]
    parts = _parts(first, second, ratios)
    influence = parts[2] - parts[0]  # what each unit adds to the difference, to first order: (N, K)
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
    low, high = _clipped(moved, reach * np.where(spread > 0, spread, np.where(judged, 0, np.inf)), bounds)
    chance = np.ones(len(counts))
    chance[judged] = adjust_for_all_metrics(sign_test(_scores(first, second)[:, judged]))
    return [
        MetricDifference(
            first=float(ratios[0][at]),
            second=float(ratios[1][at]),
            difference=float(moved[at]),
            low=float(low[at]),
            high=float(high[at]),
            differing_units=int(counts[at]),
            judged=bool(judged[at]),
            chance=float(chance[at]),
            sure=bool(chance[at] <= 1 - level),
            general=general,
        )
        for at in range(len(counts))
    ]


def _clipped(
    difference: FloatArray, reach: FloatArray, bounds: Bounds | None
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the intervals, no wider than *bounds* allow."""
    low, high = difference - reach, difference + reach
    if bounds is not None:
        low = np.maximum(low, np.minimum(bounds.second_low - bounds.first_high, difference))
        high = np.minimum(high, np.maximum(bounds.second_high - bounds.first_low, difference))
    return low, high


def _scores(first: RatioSums, second: RatioSums) -> FloatArray:
    """Return what each unit adds to the difference where both sides have the same ratio: (N, K)."""
    whole = RatioSums(first.above + second.above, first.below + second.below)
    ratio = np.nan_to_num(_ratio(whole))
    found = []
    for side in (first, second):
        below = side.below.sum(axis=0)
        scale = np.divide(1.0, below, out=np.zeros_like(below), where=below > 0)
        found.append((side.above - ratio * side.below) * scale)
    return np.asarray(found[1] - found[0])


def _units_with_values(first: RatioSums, second: RatioSums) -> NDArray[np.bool_]:
    """Tell which units have anything to divide: (N, K)."""
    return np.asarray((first.above != 0) | (second.above != 0))


def balanced_critical_values(roots: FloatArray, level: float) -> FloatArray:
    """Return a critical value per metric: equally seldom exceeded each, and by none with probability *level*.

    Args:
        roots: absolute studentized errors by resample and metric, shape (B, K).
        level: of the resamples, the share in which no metric exceeds its value.
    """
    ordered = np.sort(roots, axis=0)
    places = np.stack(
        [np.searchsorted(ordered[:, at], roots[:, at], side="left") for at in range(roots.shape[1])], axis=1
    )
    worst = np.sort(places.max(axis=1))
    place = worst[min(int(np.ceil(level * len(worst))), len(worst)) - 1]
    return np.asarray(ordered[place], dtype=np.float64)


def _ratio(side: RatioSums) -> FloatArray:
    below = side.below.sum(axis=0)
    return np.asarray(
        np.divide(side.above.sum(axis=0), below, out=np.full(len(below), np.nan), where=below > 0)
    )


def _parts(first: RatioSums, second: RatioSums, ratios: Sequence[FloatArray]) -> FloatArray:
    """Return errors and weights of both sides, by unit and metric: (4, N, K); weights have mean 1."""
    found = []
    for side, ratio in zip((first, second), ratios, strict=True):
        mean = side.below.mean(axis=0)
        scale = np.divide(1.0, mean, out=np.zeros_like(mean), where=mean > 0)
        found += [(side.above - np.nan_to_num(ratio) * side.below) * scale, side.below * scale]
    return np.stack(found)


def _differing(first: RatioSums, second: RatioSums) -> NDArray[np.bool_]:
    """Tell in which metrics a unit's own value is not the same on both sides: (N, K)."""
    ours, theirs = (
        np.divide(side.above, side.below, out=np.full(side.below.shape, np.nan), where=side.below > 0)
        for side in (first, second)
    )
    return np.asarray(~np.isclose(ours, theirs, rtol=1e-9, atol=1e-12, equal_nan=True))


def _roots(parts: FloatArray, resamples: int) -> Iterator[FloatArray]:
    """Yield the absolute studentized errors of the resamples: (b, K), b of them at a time.

    Args:
        parts: errors and weights of both sides, shape (4, N, K).
        resamples: B.
    """
    _, units, metrics = parts.shape
    pairs = [(one, two) for one in range(4) for two in range(one, 4)]
    columns = np.concatenate([parts, [parts[one] * parts[two] for one, two in pairs]])  # (14, N, K)
    flat = columns.transpose(1, 0, 2).reshape(units, -1)
    floor = (1e-9 * np.abs(parts).max(axis=(0, 1))) ** 2  # below it, a variance is rounding
    rng = stream(0, "bootstrap", units)
    for at in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - at)
        means = (_draws(rng, size, units) @ flat).reshape(size, len(columns), metrics) / units
        yield _root(means, pairs, units, floor)


def _draws(rng: np.random.Generator, size: int, units: int) -> FloatArray:
    """Return how often each resample has each unit: (size, N)."""
    drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


def _root(means: FloatArray, pairs: Sequence[tuple[int, int]], units: int, floor: FloatArray) -> FloatArray:
    """Return the error of each resample's difference in units of its own standard error: (b, K).

    Args:
        means: of errors, weights and their products, shape (b, 14, K).
        pairs: which product is of which two parts.
        units: N.
        floor: least variance, by metric.
    """
    one, two = (np.where(weight > 0, weight, np.nan) for weight in (means[:, 1], means[:, 3]))
    first, second = means[:, 0] / one, means[:, 2] / two
    # The influence of a unit in the resample is this, times its errors and weights.
    factors = np.stack([-1 / one, first / one, 1 / two, -second / two], axis=1)  # (b, 4, K)
    square = np.zeros_like(first)
    for at, (left, right) in enumerate(pairs):
        twice = 1 if left == right else 2
        square += twice * factors[:, left] * factors[:, right] * means[:, 4 + at]
    roots = np.abs(second - first) / np.sqrt(np.maximum(square, floor) / units)
    return np.nan_to_num(roots, nan=np.inf)  # a resample without any weight says nothing


def _sums_by(bins: NDArray[np.int64], count: int, values: FloatArray) -> FloatArray:
    found = np.zeros((count, values.shape[1]))
    np.add.at(found, bins, values)
    return found
