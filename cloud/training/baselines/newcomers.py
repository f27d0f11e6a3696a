"""Users who were no part of training, put into the groups of a trained model.

Letters: U users, I items, d dimensions, G user groups.
"""

from collections.abc import Callable

import numpy as np

from cloud.training.baselines.full_model import FullModel
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


def place_users(
    full: FullModel, members: Float32Array, member_groups: IntArray, table_of: Callable[[int], Float32Array]
) -> tuple[Float32Array, IntArray]:
    """Return the vectors of all users in the basis of their group, shape (U, d), and their groups, (U,).

    A newcomer joins the group with the nearest centre, as K-means has it; the vector is the one whose scores
    with the group's table are nearest to those with the full table, up to a constant.

    Args:
        full: vectors of all users before they were put into groups.
        members: vectors of the members in the bases of their groups; they may have another width.
        member_groups: the group of each member.
        table_of: from a group to its whole item table, in the form in which a score is an inner product.
    """
    if not full.newcomers:
        return members, member_groups
    newcomers = full.users[len(full.members) :]
    groups = _nearest_groups(_directions(full.members), member_groups, _directions(newcomers))
    centred = full.items.astype(np.float64) - full.items.mean(axis=0, dtype=np.float64)
    vectors = np.zeros((len(newcomers), members.shape[1]), dtype=np.float32)
    for group in np.unique(groups).tolist():
        table = table_of(group).astype(np.float64)
        turn = np.linalg.lstsq(table - table.mean(axis=0), centred, rcond=None)[0]  # (d, d)
        vectors[groups == group] = newcomers[groups == group] @ turn.T
    return np.concatenate([members, vectors]), np.concatenate([member_groups, groups])


def _nearest_groups(members: FloatArray, member_groups: IntArray, directions: FloatArray) -> IntArray:
    centres = np.stack(
        [members[member_groups == group].mean(axis=0) for group in range(member_groups.max() + 1)]
    )
    distances = np.square(centres).sum(axis=1) - 2 * directions @ centres.T  # and a constant per user
    return np.asarray(distances.argmin(axis=1), dtype=np.int64)


def _directions(vectors: Float32Array) -> FloatArray:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float64)
