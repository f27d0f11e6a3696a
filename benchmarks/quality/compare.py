"""Every method at every budget with one seed, for one kind of users."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
import numpy as np

from benchmarks.quality.populations import Population
from cloud.training.baselines.catalogue import FULL
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.scoring import FIRST, UserMetrics
from cloud.training.config import Training
from emulator.evaluation.measure import measure as measure_method
from wire.ranking_metrics import FloatArray, IntArray

Tell = Callable[[str], None]
"""Told in a few words what is going on."""


@dataclass(frozen=True, eq=False)
class Result:
    """One method at one budget with one seed."""

    method: str
    budget_share: float
    """Of the fp32 table; of a method of one size, its own."""
    bytes: int
    seed: int
    note: str
    scored: UserMetrics
    churn: FloatArray | None = None
    """The part of each user's first ten that is another at the next smaller budget, shape (V,)."""
    worst_group: float | None = None
    """The smallest share of the full table's NDCG@20 that a user group keeps."""

    @property
    def coverage(self) -> float:
        """The share of items that are shown to anybody."""
        return self.scored.coverage


def compare(
    population: Population, methods: Sequence[CompressionMethod], shares: Sequence[float], tell: Tell
) -> list[Result]:
    """Return the results of all methods, the full table first.

    Args:
        population: the users and their model.
        methods: what to compare.
        shares: budgets, as shares of the full model's fp32 item table.
        tell: hears what is going on.
    """
    started, results = time.monotonic(), list[Result]()
    for method in methods:
        seconds = time.monotonic() - started
        tell(f"{population.title}, seed {population.full.seed}, {seconds:5.0f} s: {method.name}")
        results += with_churn(measure(method, population, shares))
    full = next((result for result in results if result.method == FULL), None)
    if full is None or population.groups is None:
        return results
    groups = population.groups[full.scored.users]
    return [
        replace(result, worst_group=worst_group(result.scored, full.scored, groups)) for result in results
    ]


def measure(method: CompressionMethod, population: Population, shares: Sequence[float]) -> list[Result]:
    """Return the results of one method, those budgets left out in which nothing fits."""
    full = population.full
    shares_of = {int(share * full.bytes): share for share in shares}
    return [
        Result(
            method.name,
            shares_of.get(found.budget_bytes, found.budget_bytes / full.bytes),
            found.stored_bytes,
            full.seed,
            found.note,
            replace(found.metrics, users=population.numbers[found.metrics.users]),
        )
        for found in measure_method(method, full, population.interactions, list(shares_of))
    ]


def with_churn(results: Sequence[Result]) -> list[Result]:
    """Return the results of one method, by rising budget, with what changes from each to the next."""
    ordered = sorted(results, key=lambda result: result.budget_share)
    return [
        *ordered[:1],
        *(
            replace(more, churn=changed_share(less.scored.first, more.scored.first))
            for less, more in pairwise(ordered)
        ),
    ]


def changed_share(before: IntArray, after: IntArray) -> FloatArray:
    """Return the part of each row of *after*, shape (V, 10), that is not in the same row of *before*."""
    same = (after[:, :, None] == before[:, None, :]).any(axis=2) | (after < 0)
    return np.asarray((~same).sum(axis=1) / FIRST, dtype=np.float64)


def worst_group(scored: UserMetrics, full: UserMetrics, groups: IntArray) -> float:
    """Return the smallest share of the full table's NDCG@20 that a group keeps, if it has any there."""
    own, whole = (np.bincount(groups, metrics.values[0]) for metrics in (scored, full))
    return float((own[whole > 0] / whole[whole > 0]).min()) if (whole > 0).any() else 0.0


def seeds(training: Training, count: int) -> list[Training]:
    """Return *training* with seeds 0, 1, ..., *count* - 1."""
    return [msgspec.structs.replace(training, seed=seed) for seed in range(count)]
