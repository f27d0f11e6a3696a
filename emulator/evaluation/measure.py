"""A compression method at budgets: bytes stored, and the quality of every user with test items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.scoring import UserMetrics, score


@dataclass(frozen=True, eq=False)
class Measurement:
    """The quality of one method at one budget."""

    budget_bytes: int
    """Of a method of one size, its own."""
    stored_bytes: int
    note: str
    """The choices that the method made, for people."""
    metrics: UserMetrics
    one_size: bool = False
    """True if the method has a size of its own, whatever the budget."""


Mask = Literal["known", "train"]
"""The items that are left out of rankings: those of training and validation, or of training only."""


def measure(
    method: CompressionMethod,
    full: FullModel,
    interactions: Interactions,
    budgets: Sequence[int],
    mask: Mask = "known",
) -> Iterator[Measurement]:
    """Yield the quality of *method* at each of *budgets*, in bytes; those in which nothing fits are left out.

    A method of certain sizes is measured at these, whatever the budgets.
    """
    masked = interactions.known if mask == "known" else interactions.train
    fitted = method.fit(full, interactions)
    for budget in fitted.sizes or budgets:
        candidate = fitted.at(budget)
        if candidate is None:
            continue
        assert candidate.bytes <= budget, f"{method.name}: {candidate.bytes} bytes of {budget}"
        metrics = score(candidate.scores, masked, interactions.test, interactions.n_items)
        yield Measurement(budget, candidate.bytes, candidate.note, metrics, bool(fitted.sizes))
