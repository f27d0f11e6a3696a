"""The interface of a compression method: fitted once per seed, it gives a candidate at every budget.

A budget counts the bytes that a device stores to rank all items: values, scales, indices and codebooks. The
user's own vector, 4 d bytes, is the same for all methods and not counted; the docstring of a method tells if
it stores something else instead. Letters: U users, I items, B users in a batch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.scoring import mean_ndcg
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True)
class Candidate:
    """Something that fits into a budget."""

    bytes: int
    """Bytes that a device stores."""
    scores: Callable[[IntArray], FloatArray]
    """From user numbers, shape (B,), to a score of every item, (B, I); -inf for an item not held."""
    note: str = ""
    """The choices that were made, for people."""


class FittedMethod(Protocol):
    """A method that has seen the full model and the interactions."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The only budgets at which it is defined; none means at all."""

    def at(self, budget_bytes: int) -> Candidate | None:
        """Return its best within *budget_bytes*, None where nothing fits."""


class CompressionMethod(Protocol):
    """A way to make a model smaller."""

    @property
    def name(self) -> str:
        """The name in files and curves."""

    def fit(self, full: FullModel, interactions: Interactions) -> FittedMethod:
        """Do once per seed what does not depend on the budget."""


@dataclass(frozen=True)
class Choice:
    """The option with the best NDCG@20 on the validation interactions, at each budget anew."""

    interactions: Interactions
    options: Callable[[int], Iterable[Candidate]]
    sizes: tuple[int, ...] = ()

    def at(self, budget_bytes: int) -> Candidate | None:
        """Return the best option within *budget_bytes*, the first of equals."""
        fitting = list(self.options(budget_bytes))
        for candidate in fitting:
            assert candidate.bytes <= budget_bytes, (
                f"{candidate.note}: {candidate.bytes} bytes of {budget_bytes}"
            )
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        return max(fitting, key=self._validation)

    def _validation(self, candidate: Candidate) -> float:
        return mean_ndcg(candidate.scores, self.interactions.train, self.interactions.valid)


def by_products(
    users: Float32Array, items: Float32Array, size: int, note: str, held: NDArray[np.bool_] | None = None
) -> Candidate:
    """Return the candidate that scores by inner products, in float64.

    Args:
        users: shape (U, k).
        items: shape (I, k), as decoded.
        size: bytes stored.
        note: which choices were made.
        held: which items can be ranked at all, shape (I,); all if not given.
    """

    def scores(batch: IntArray) -> FloatArray:
        scores = users[batch].astype(np.float64) @ items.T.astype(np.float64)
        if held is not None:
            scores[:, ~held] = -np.inf
        return scores

    return Candidate(size, scores, note)
