"""A finished list of scores for one user: the control that needs no table at all."""

from dataclasses import dataclass

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice
from wire.ranking_metrics import FloatArray, IntArray

LEVELS = 255


@dataclass(frozen=True)
class ScoreList:
    """A user's scores of all items, a byte each, made in the cloud.

    Bytes: one for each item; lowest and highest score as float32; the user's vector is not needed.
    It is not a table: other users share nothing of it, and it is stale when the user's taste moves.
    """

    name: str = "score-list"

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Return the lists of all users."""
        size = len(full.items) + 8

        def scores(batch: IntArray) -> FloatArray:
            return round_scores(full.users[batch].astype(np.float64) @ full.items.T.astype(np.float64))

        def options(budget_bytes: int) -> list[Candidate]:
            return [Candidate(size, scores)] if size <= budget_bytes else []

        return Choice(interactions, options, (size,))


def round_scores(scores: FloatArray) -> FloatArray:
    """Return *scores*, shape (B, I), to the nearest of 256 levels between each row's ends."""
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    step = np.maximum((high - low) / LEVELS, 1e-30)
    return np.asarray(np.rint((scores - low) / step) * step + low, dtype=np.float64)
