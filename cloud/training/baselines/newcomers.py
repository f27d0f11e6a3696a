"""Users who were no part of training, put into the groups of a trained model."""

from collections.abc import Callable

import numpy as np

from cloud.blocks.fold_in import KnownUsers, fold_in
from cloud.training.baselines.full_model import FullModel
from wire.arrays import Float32Array
from wire.ranking_metrics import IntArray


def place_users(
    full: FullModel, members: KnownUsers, table_of: Callable[[int], Float32Array]
) -> tuple[Float32Array, IntArray]:
    """Return the vectors of all users in the basis of their group, shape (U, d), and their groups, (U,).

    Args:
        full: the model with the newcomers.
        members: the users of the groups; their vectors may have another width than those of *full*.
        table_of: from a group to its whole item table, in the form in which a score is an inner product.
    """
    if full.newcomers is None:
        return members.vectors, members.groups
    newcomers = fold_in(members, table_of, full.newcomers)
    return (
        np.concatenate([members.vectors, newcomers.vectors]),
        np.concatenate([members.groups, newcomers.groups]),
    )
