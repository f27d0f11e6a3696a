"""Fold-in: group and vector of a user whom training did not see, from what the user has met.

The items of each group's table V are as they are, and the users of the group are a Gaussian around their mean
vector m with the variance s^2 in every dimension, which holds in the coordinates in which tables are stored:

    u = argmin  sum over items met (1 - <u, v>)^2  +  a / I u' V'V u  +  n / s^2 |u - m|^2

The first two terms are those of implicit least squares (`cloud.training.backbones.ials`): a target of 1 for
what was met, of 0 for all items, whose weight is a together. With the noise n and the minimum J, the group is
the one with the largest 2 log(share of the users) - J / n: the most probable one. Letters: I items, d
dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cloud.blocks.store import BlockStore, build_store
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

UNOBSERVED = 10.0
"""The weight a, as a multiple of the mean number of interactions of a user of the training."""
NOISE = 0.03
"""The noise n: the mean square of what keeps a score from its target."""


@dataclass(frozen=True, eq=False)
class FoldedUsers:
    """Groups and vectors of users, shapes (n,) and (n, d)."""

    groups: IntArray
    vectors: Float32Array


class GroupPrior:
    """The users of one group, and the table that they are folded into.

    Args:
        table: the whole item table, shape (I, d).
        members: the vectors of the group's users, shape (n, d).
        share: the group's share of all users.
        unobserved: the weight a.
    """

    def __init__(self, table: Float32Array, members: Float32Array, share: float, unobserved: float) -> None:
        self._table = table.astype(np.float64)
        self._mean = members.mean(axis=0, dtype=np.float64)
        variance = float(np.square(members, dtype=np.float64).mean()) or 1.0
        self._pull = NOISE / variance
        self._share = 2 * float(np.log(share))
        squares = unobserved / len(table) * self._table.T @ self._table
        self._precision = squares + self._pull * np.eye(len(self._mean))

    def fit(self, items: IntArray) -> tuple[FloatArray, float]:
        """Return the vector of a user who met *items*, and the fit: the larger, the more probable."""
        met = self._table[items]
        right = met.sum(axis=0) + self._pull * self._mean
        vector = np.linalg.solve(met.T @ met + self._precision, right)
        least = len(met) + self._pull * float(self._mean @ self._mean) - float(right @ vector)
        return vector, self._share - least / NOISE


def fold_in(store: BlockStore, table: Callable[[int], Float32Array], met: ItemLists) -> FoldedUsers:
    """Return group and vector of users whom the model of *store* does not know.

    Args:
        store: the model.
        table: returns the whole item table of a group, shape (I, d), decoded.
        met: the items that each user has met.
    """
    unobserved = UNOBSERVED * _interactions_per_user(store)
    groups = np.zeros(len(met), dtype=np.int64)
    vectors, best = np.zeros((len(met), store.geometry.dim)), np.full(len(met), -np.inf)
    for group, size in enumerate(np.bincount(store.user_groups, minlength=len(store.groups)).tolist()):
        if not size:
            continue
        members = store.user_vectors[store.user_groups == group]
        of = GroupPrior(table(group), members, size / store.users, unobserved)
        for user in range(len(met)):
            vector, fit = of.fit(met[user])
            if fit > best[user]:
                groups[user], vectors[user], best[user] = group, vector, fit
    return FoldedUsers(groups, vectors.astype(np.float32))


def add_users(store: BlockStore, users: FoldedUsers) -> BlockStore:
    """Return *store* with more users, numbered after those that it has; all blocks stay as they are."""
    return build_store(
        store.geometry,
        groups=store.groups,
        user_vectors=np.concatenate([store.user_vectors, users.vectors]),
        user_groups=np.concatenate([store.user_groups, users.groups]),
        report=store.report,
    )


def _interactions_per_user(store: BlockStore) -> float:
    """Return the mean number of training interactions of a user; 100 where the store does not say it."""
    counted = store.report.get("interactions")
    if isinstance(counted, dict) and counted.get("users") and counted.get("train"):
        return float(counted["train"]) / float(counted["users"])
    return 100.0
