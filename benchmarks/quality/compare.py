"""Every method at every budget, seed after seed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from benchmarks.quality.full import Full, learn_full
from benchmarks.quality.method import Candidate, Method
from benchmarks.quality.scoring import Scored, score
from cloud.data.interactions import Interactions
from cloud.training.config import Training

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
    scored: Scored

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
    methods: Sequence[Method],
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


def measure(method: Method, full: Full, interactions: Interactions, shares: Sequence[float]) -> list[Result]:
    """Return the results of one method, those budgets left out in which nothing fits."""
    fitted = method.fit(full, interactions)
    budgets = {share: int(share * full.bytes) for share in shares}
    if fitted.sizes:
        budgets = {size / full.bytes: size for size in fitted.sizes}
    results = []
    for share, budget in budgets.items():
        candidate = fitted.at(budget)
        if candidate is not None:
            assert candidate.bytes <= budget, f"{method.name}: {candidate.bytes} bytes of {budget}"
            results.append(_result(method.name, share, candidate, full, interactions))
    return results


def _result(name: str, share: float, candidate: Candidate, full: Full, interactions: Interactions) -> Result:
    scored = score(candidate.scores, interactions.known, interactions.test, interactions.n_items)
    return Result(interactions.name, name, share, candidate.bytes, full.seed, candidate.note, scored)


def seeds(training: Training, count: int) -> list[Training]:
    """Return *training* with seeds 0, 1, ..., *count* - 1."""
    return [msgspec.structs.replace(training, seed=seed) for seed in range(count)]
