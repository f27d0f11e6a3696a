"""Confidence bands: users are drawn anew, the same draws for every method.

Per-user values are means over seeds: a band says how much the figure depends on which users there
are. Coverage is no mean over users and a resample shows fewer lists, so its band is the range over
seeds. Letters: V users that want anything, S seeds, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.compare import Result
from cloud.training.baselines.scoring import METRICS
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

RESAMPLES = 1000
LEVEL = 0.95

Key = tuple[str, float]
"""A method and a budget share."""


@dataclass(frozen=True)
class Band:
    """A figure and the interval it lies in with 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curves:
    """Every metric's band, by method and budget share, and the bytes stored."""

    bands: Mapping[Key, Mapping[str, Band]]
    bytes: Mapping[Key, float]
    draws: Mapping[Key, FloatArray]
    """The resampled metrics, a row for each of `METRICS`, shape (7, R), for comparisons in pairs."""

    def shares(self, method: str) -> list[float]:
        """Return the budget shares at which *method* was measured, ascending."""
        return sorted(share for name, share in self.bands if name == method)

    def methods(self) -> list[str]:
        """Return all methods, in the order in which they were measured."""
        return list(dict.fromkeys(name for name, _ in self.bands))


def curves(results: Sequence[Result]) -> Curves:
    """Return the bands of all results."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault((result.method, result.budget_share), []).append(result)
    weights = _weights(len(results[0].scored.users))
    draws = {key: resampled(_mean_values(group), weights) for key, group in groups.items()}
    return Curves(
        {key: _bands(group, draws[key]) for key, group in groups.items()},
        {key: float(np.mean([result.bytes for result in group])) for key, group in groups.items()},
        draws,
    )


def ratio(measured: Curves, ours: Key, theirs: Key, metric: str) -> Band:
    """Return how many times *theirs* our figure is, users drawn in pairs."""
    row = METRICS.index(metric)
    ratios = measured.draws[ours][row] / np.maximum(measured.draws[theirs][row], 1e-12)
    mean = measured.bands[ours][metric].mean / max(measured.bands[theirs][metric].mean, 1e-12)
    return Band(mean, *_interval(ratios))


def resampled(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the mean of each row over resampled users, those without a value left out.

    Args:
        values: shape (n, V).
        weights: how often each resample has each user, shape (R, V).

    Returns:
        Shape (n, R).
    """
    defined = np.isfinite(values)
    sums = np.where(defined, values, 0.0) @ weights.T
    return np.asarray(sums / np.maximum(defined @ weights.T, 1), dtype=np.float64)


def _weights(users: int) -> FloatArray:
    rng = stream(0, "bootstrap")
    drawn = (rng.multinomial(users, np.full(users, 1 / users)) for _ in range(RESAMPLES))
    return np.stack([counts.astype(np.float64) for counts in drawn])


def _mean_values(group: Sequence[Result]) -> FloatArray:
    return np.asarray(np.mean([result.scored.values for result in group], axis=0), dtype=np.float64)


def _bands(group: Sequence[Result], draws: FloatArray) -> dict[str, Band]:
    means = {name: [result.scored.means()[name] for result in group] for name in (*METRICS, "coverage")}
    intervals = {name: _interval(row) for name, row in zip(METRICS, draws, strict=True)}
    intervals["coverage"] = (min(means["coverage"]), max(means["coverage"]))
    return {name: Band(float(np.mean(values)), *intervals[name]) for name, values in means.items()}


def _interval(draws: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
