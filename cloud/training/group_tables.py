"""The model of all user groups: one item table per group."""

from dataclasses import dataclass

import numpy as np

from cloud.training.loop import Factors
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class GroupTables:
    """The model of all groups: ``users`` (U, d), ``groups`` (U,), ``tables``: (I, d) for each of G groups.

    User u's score of item i is ``users[u] @ tables[groups[u]][i]``. Groups with the same table share one
    array. ``second_moments`` (G, d): the mean square of each dimension over the users whom a group's table
    is for (`Training.all_users_weight`).
    """

    users: Float32Array
    groups: IntArray
    tables: tuple[Float32Array, ...]
    second_moments: FloatArray

    def members(self, group: int) -> IntArray:
        """Return the users of *group*, ascending."""
        return np.flatnonzero(self.groups == group)


def share_global_table(factors: Factors, groups: IntArray, all_users_weight: float) -> GroupTables:
    """Return the model in which every group has the global table.

    Args:
        factors: the global tables.
        groups: the group of each user, shape (U,).
        all_users_weight: weight of all users together, as a part of that of a group's members.
    """
    n_groups = int(groups.max()) + 1
    squares = np.square(factors.users, dtype=np.float64)  # (U, d)
    members = np.stack([squares[groups == group].mean(axis=0) for group in range(n_groups)])
    moments = (members + all_users_weight * squares.mean(axis=0)) / (1 + all_users_weight)
    return GroupTables(factors.users, groups, (factors.items,) * n_groups, moments)
