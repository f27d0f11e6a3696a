"""The list of a user's best items, made in the cloud: the rival that needs no table."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice
from wire.ranking_metrics import FloatArray, IntArray, top_k


@dataclass(frozen=True)
class TopList:
    """The numbers of the items that the full table ranks first for a user, as many as fit.

    Items that the user is known to have met are left out. Bytes: as many bits a number as the catalogue
    needs, 30 bytes for a top 20 of 3,600 items; the user's vector is not needed. No user shares anything
    of it, and it changes only when the cloud sends another.
    """

    name: str = "list"

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Prepare the lists of all users."""
        rows, known = full.items.astype(np.float64).T, interactions.known
        bits = max(int(len(full.items) - 1).bit_length(), 1)

        def options(budget_bytes: int) -> Iterator[Candidate]:
            count = min(budget_bytes * 8 // bits, len(full.items))

            def scores(batch: IntArray) -> FloatArray:
                ranked = full.users[batch].astype(np.float64) @ rows
                ranked[known.take(batch).pairs()] = -np.inf
                listed = np.zeros(ranked.shape, dtype=bool)
                np.put_along_axis(listed, top_k(ranked.astype(np.float32), count), True, axis=1)
                return np.where(listed, ranked, -np.inf)

            if count:
                yield Candidate(-(-count * bits // 8), scores, f"{count} items")

        return Choice(interactions, options)
