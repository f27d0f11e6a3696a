"""Every method at every budget, seed after seed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.quality.pretraining import learn_full
from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.scoring import UserMetrics
from cloud.training.config import Training
from emulator.evaluation.measure import measure as measure_method

Tell = Callable[[str], None]
"""Told in a few words what is going on."""


@dataclass(frozen=True, eq=False)
class Result:
    """One method at one budget with one seed."""

    dataset: str
    method: str
    budget_share: float
    """Of the fp32 table; of a method of one size, its own."""
    bytes: int
    seed: int
    note: str
    scored: UserMetrics

    def row(self) -> dict[str, object]:
        """Return the row of ``quality.json``."""
        return {
            "dataset": self.dataset,
            "method": self.method,
            "budget_share": self.budget_share,
            "bytes": self.bytes,
            "seed": self.seed,
            **self.scored.means(),
        }


def compare(
    interactions: Interactions,
    training: Training,
    methods: Sequence[CompressionMethod],
    shares: Sequence[float],
    tell: Tell,
) -> list[Result]:
    """Return the results with the seed of *training*.

    Args:
        interactions: in catalogue order.
        training: of the full model and of PEEL.
        methods: what to compare.
        shares: budgets, as shares of the full model's fp32 item table.
        tell: hears what is going on.
    """
    started = time.monotonic()

    def say(words: str) -> None:
        tell(f"seed {training.seed}, {time.monotonic() - started:5.0f} s: {words}")

    full = learn_full(interactions, training)
    results = []
    for method in methods:
        say(method.name)
        results += measure(method, full, interactions, shares)
    return results


def measure(
    method: CompressionMethod, full: FullModel, interactions: Interactions, shares: Sequence[float]
) -> list[Result]:
    """Return the results of one method, those budgets left out in which nothing fits."""
    shares_of = {int(share * full.bytes): share for share in shares}
    return [
        Result(
            interactions.name,
            method.name,
            shares_of.get(found.budget_bytes, found.budget_bytes / full.bytes),
            found.stored_bytes,
            full.seed,
            found.note,
            found.metrics,
        )
        for found in measure_method(method, full, interactions, list(shares_of))
    ]


def seeds(training: Training, count: int) -> list[Training]:
    """Return *training* with seeds 0, 1, ..., *count* - 1."""
    return [msgspec.structs.replace(training, seed=seed) for seed in range(count)]
