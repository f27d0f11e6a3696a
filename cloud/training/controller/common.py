"""Parts of the controller that a correction and learned weights share."""

import numpy as np
import torch
from torch import Tensor

from cloud.blocks.partition import Partition
from cloud.training.backbones.mf import multinomial_loss, user_weights
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, ItemLists

MASK_PENALTY = 1e4  # subtracted from scores of known items; infinity would lead to 0 * infinity


def item_group_popularity(item_weights: Float32Array, partition: Partition) -> FloatArray:
    """Return the weight of each item group in each user group, shape (G, M)."""
    return np.asarray(np.add.reduceat(item_weights.astype(np.float64), partition.row_starts, axis=1))


def broadcast(blocks: Tensor, partition: Partition) -> Tensor:
    """Return a value per block as a value per entry of the table, shape (M, N) to (I, d)."""
    return blocks[torch.from_numpy(partition.item_groups())][:, torch.from_numpy(partition.slices())]


def validation_loss(scores: Tensor, known: ItemLists, targets: ItemLists) -> Tensor:
    """Return the multinomial loss of *targets* items, all users equal, *known* items masked."""
    users, items = known.pairs()
    mask = torch.zeros_like(scores)  # (B, I)
    mask[torch.from_numpy(users), torch.from_numpy(items)] = MASK_PENALTY
    return multinomial_loss(scores - mask, targets, user_weights(targets.counts(), 0.0))
