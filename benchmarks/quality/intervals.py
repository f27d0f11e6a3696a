"""Intervals of 95 % that cover both the users and the training seeds.

A figure is a mean over cells, a cell being one user with one seed. Cells that share a user or a seed are not
independent, so the variance is that of two-way clusters (Cameron, Gelbach, Miller 2011): that of the sums by
user plus that of the sums by seed, less that of single cells, which both have. Seeds are few, so Student's t
has the degrees of freedom that Satterthwaite (1946) gives for the parts. The same formula serves members,
where every seed has all users, and newcomers, where each seed has users of its own. With one seed the
interval covers the users only. Letters: N cells, S seeds, U users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student  # type: ignore[import-untyped]

from benchmarks.quality.compare import Result
from cloud.training.baselines.scoring import METRICS
from wire.ranking_metrics import FloatArray, IntArray

LEVEL = 0.95
CHURN = "churn_at_10"
PER_USER = (*METRICS, CHURN)
OF_ALL = ("coverage", "worst_group")
"""Figures that are no mean over users: their interval is the range over seeds."""

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
    results: Mapping[Key, Sequence[Result]]
    """One result a seed, for comparisons in pairs."""

    def shares(self, method: str) -> list[float]:
        """Return the budget shares at which *method* was measured, ascending."""
        return sorted(share for name, share in self.bands if name == method)

    def methods(self) -> list[str]:
        """Return all methods, in the order in which they were measured."""
        return list(dict.fromkeys(name for name, _ in self.bands))


def curves(results: Sequence[Result]) -> Curves:
    """Return the bands of all results."""
    by_key: dict[Key, list[Result]] = {}
    for result in results:
        by_key.setdefault((result.method, result.budget_share), []).append(result)
    return Curves(
        {key: _bands(seeds) for key, seeds in by_key.items()},
        {key: float(np.mean([result.bytes for result in seeds])) for key, seeds in by_key.items()},
        by_key,
    )


def ratio(measured: Curves, ours: Key, theirs: Key, metric: str) -> Band:
    """Return the ratio of our figure to *theirs*, users and seeds in pairs."""
    others = {result.seed: result for result in measured.results[theirs]}
    pairs = [(own, others[own.seed]) for own in measured.results[ours] if own.seed in others]
    return ratio_of_means(
        [(own.scored.users, _values(own, metric), _values(other, metric)) for own, other in pairs]
    )


def ratio_of_means(seeds: Sequence[tuple[IntArray, FloatArray, FloatArray]]) -> Band:
    """Return the mean of x over the mean of y, with its interval.

    Args:
        seeds: for each the users, x and y, all of one shape; cells without a number are left out.
    """
    seed_of = np.repeat(np.arange(len(seeds)), [len(users) for users, _, _ in seeds])
    users, x, y = (np.concatenate(column) for column in zip(*seeds, strict=True))
    defined = np.isfinite(x) & np.isfinite(y)
    seed_of, users, x, y = seed_of[defined], users[defined], x[defined], y[defined]
    scale = float(y.mean()) if len(y) else 0.0
    if scale <= 0:
        return Band(*(float(x.mean() if len(x) else 0.0),) * 3)
    mean = float(x.mean()) / scale
    variance, freedom = clustered_variance((x - mean * y) / scale, users, seed_of)
    half = float(student.ppf((1 + LEVEL) / 2, freedom)) * variance**0.5
    return Band(mean, mean - half, mean + half)


def clustered_variance(errors: FloatArray, users: IntArray, seeds: IntArray) -> tuple[float, float]:
    """Return the variance of the mean of N cells, and its degrees of freedom.

    Args:
        errors: differences from the mean, shape (N,).
        users: the user of each cell.
        seeds: the seed of each cell.
    """
    by_user, by_seed = _of_sums(errors, users), _of_sums(errors, seeds)
    n_users, n_seeds = len(np.unique(users)), len(np.unique(seeds))
    if n_seeds == 1:
        return by_user, max(n_users - 1.0, 1.0)
    both = by_user + by_seed - float(np.square(errors).sum()) / len(errors) ** 2
    variance = max(both, by_user, by_seed)
    parts = by_seed**2 / (n_seeds - 1) + by_user**2 / max(n_users - 1, 1)
    return variance, variance**2 / parts if parts > 0 else n_seeds - 1.0


def _of_sums(errors: FloatArray, clusters: IntArray) -> float:
    """Return the variance of the mean if only whole clusters are independent."""
    _, numbers = np.unique(clusters, return_inverse=True)
    sums = np.bincount(numbers, errors)
    return float(np.square(sums).sum()) / len(errors) ** 2 * len(sums) / max(len(sums) - 1, 1)


def _values(result: Result, metric: str) -> FloatArray:
    if metric == CHURN:
        assert result.churn is not None
        return result.churn
    return np.asarray(result.scored.values[METRICS.index(metric)], dtype=np.float64)


def _bands(seeds: Sequence[Result]) -> dict[str, Band]:
    metrics = PER_USER if all(result.churn is not None for result in seeds) else METRICS
    bands = {}
    for metric in metrics:
        values = [(result.scored.users, _values(result, metric)) for result in seeds]
        bands[metric] = ratio_of_means([(users, own, np.ones(len(own))) for users, own in values])
    for name in OF_ALL:
        found = [getattr(result, name) for result in seeds if getattr(result, name) is not None]
        if found:
            bands[name] = Band(float(np.mean(found)), min(found), max(found))
    return bands
