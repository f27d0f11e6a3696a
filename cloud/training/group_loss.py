"""The loss of a user group's item table on its interactions, for refinement and block weights.

Letters: I items, d dimensions, n users of the group, B users in a batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cloud.training.backbones.lightgcn import UnseenItems, bpr_loss
from cloud.training.backbones.mf import dropout, multinomial_loss, user_weights
from cloud.training.config import Training
from wire.arrays import Float32Array
from wire.ranking_metrics import IntArray, ItemLists


@dataclass(frozen=True, eq=False)
class GroupLoss:
    """The loss of a table: that of the backbone `mf`, or that of `lightgcn`, by ``refine.loss``.

    ``vectors``, shape (n, d), and ``train`` are the group's users and their interactions.
    """

    vectors: Tensor
    train: ItemLists
    unseen: UnseenItems
    weights: Tensor
    config: Training
    rng: torch.Generator

    @classmethod
    def of(
        cls, vectors: Float32Array, train: ItemLists, n_items: int, config: Training, rng: torch.Generator
    ) -> "GroupLoss":
        """Return the loss on *train*; negative items and dropout are drawn from *rng*."""
        weights = user_weights(train.counts(), config.user_weight_exponent)
        unseen = UnseenItems.of(train, n_items)
        return cls(torch.from_numpy(vectors), train, unseen, weights, config, rng)

    def __call__(self, table: Tensor, batch: IntArray) -> Tensor:
        """Return the loss of *table*, shape (I, d), on the interactions of the users *batch*, shape (B,)."""
        vectors = dropout(self.vectors[batch], self.config.dropout, self.rng)  # (B, d)
        wanted = self.train.take(batch)
        if self.config.refine.loss == "softmax":
            return multinomial_loss(vectors @ table.T, wanted, self.weights[batch])
        rows, liked = map(torch.from_numpy, wanted.pairs())
        users = torch.from_numpy(batch)[rows]
        comparable = self.unseen.counts[users] > 0
        rows, liked, users = rows[comparable], liked[comparable], users[comparable]
        if not len(rows):
            return 0.0 * table.sum()
        return bpr_loss(vectors[rows], table[liked], table[self.unseen.draw(users, self.rng)])
