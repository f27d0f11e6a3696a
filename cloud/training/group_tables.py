"""The model of all user groups: one item table per group."""

from dataclasses import dataclass

import numpy as np

from cloud.training.loop import Factors
from wire.arrays import Float32Array
from wire.ranking_metrics import IntArray


@dataclass(frozen=True, eq=False)
class GroupTables:
    """The model of all groups: ``users`` (U, d), ``groups`` (U,), ``tables``: (I, d) for each of G groups.

    User u's score of item i is ``users[u] @ tables[groups[u]][i]``. Groups with the same table share one
    array.
    """

    users: Float32Array
    groups: IntArray
    tables: tuple[Float32Array, ...]

    def members(self, group: int) -> IntArray:
        """Return the users of *group*, ascending."""
        return np.flatnonzero(self.groups == group)


def share_global_table(factors: Factors, groups: IntArray) -> GroupTables:
    """Return the model in which every group has the global table."""
    return GroupTables(factors.users, groups, (factors.items,) * (int(groups.max()) + 1))
