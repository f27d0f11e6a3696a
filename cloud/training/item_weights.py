"""Weights of items in user groups, and the partition of tables in training."""

import numpy as np

from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions, item_group_bounds
from cloud.training.config import Training
from cloud.training.loop import Factors
from wire.arrays import Float32Array
from wire.ranking_metrics import IntArray

PRIOR_STRENGTH = 0.5  # weight of the global popularity; that of the group counts 1
RECOMMENDED = 20  # items that a member is shown
RECOMMENDED_SHARE = 0.7  # weight of what is recommended; the rest is what was met
MOST_MEMBERS = 64  # of a group that are asked


def partition_table(n_items: int, dim: int, config: Training) -> Partition:
    """Return the partition of *config*, with at most one item group per item."""
    bounds = item_group_bounds(n_items, min(config.item_groups, n_items))
    return Partition(n_items, dim, bounds[:-1], np.arange(0, dim, config.slice_width))


def group_item_weights(groups: IntArray, interactions: Interactions) -> Float32Array:
    """Return the weight of each item in each user group, shape (G, I); rows sum to 1.

    The weight is the item's share of the group's training interactions, mixed with its share of all
    interactions, so that items that a small group has not met keep a weight.

    Args:
        groups: the group of each user, shape (U,).
        interactions: of all users.
    """
    everywhere = interactions.popularity() + 1.0
    everywhere = everywhere / everywhere.sum()
    users, items = interactions.train.pairs()
    n_groups, n_items = int(groups.max()) + 1, interactions.n_items
    counts = np.bincount(groups[users] * n_items + items, minlength=n_groups * n_items)
    shares = counts.reshape(n_groups, n_items).astype(np.float64)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    shares += PRIOR_STRENGTH * everywhere
    shares /= shares.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def recommended_item_weights(
    factors: Factors, groups: IntArray, interactions: Interactions, met: Float32Array
) -> Float32Array:
    """Return the weight of each item in each user group by what is recommended there, shape (G, I).

    An error in a score matters where it moves an item into or out of the first places of a user. So an item
    weighs as often as the whole table has it there, for members of the group. What was met is mixed in: an
    item that nobody is shown now keeps a weight.

    Args:
        factors: the global tables.
        groups: the group of each user, shape (U,).
        interactions: items met in training are not recommended.
        met: `group_item_weights`.
    """
    weights = np.empty_like(met)
    most = min(RECOMMENDED, interactions.n_items)
    for group in range(len(met)):
        members = np.flatnonzero(groups == group)
        members = members[:: -(-len(members) // MOST_MEMBERS)]
        scores = factors.users[members] @ factors.items.T
        scores[interactions.train.take(members).pairs()] = -np.inf
        shown = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        counts = np.bincount(shown.reshape(-1), minlength=interactions.n_items)
        weights[group] = RECOMMENDED_SHARE * counts / shown.size + (1 - RECOMMENDED_SHARE) * met[group]
    return weights
