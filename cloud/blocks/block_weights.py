"""Closed-form weights of blocks: the part of a group's scores that each block carries.

Letters: I items, d dimensions, M item groups, N slices.
"""

import numpy as np

from cloud.blocks.partition import Partition
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray

MIN_SHARE = 1e-12  # of a group's total weight: keeps the logarithm of an empty block finite


def closed_form_weights(
    table: Float32Array, second_moment: FloatArray, item_weights: Float32Array, partition: Partition
) -> FloatArray:
    """Return the decrease of weighted distortion by each block, as shares that sum to 1, shape (M, N).

    The weight of a block is ``sum_i pop_i * sum_k E_g[u_k^2] * v_ik^2`` over its items i and dimensions k.
    This is the mean squared change of the group's scores without the block, if the dimensions of the group's
    users are uncorrelated. Rotation makes them uncorrelated.

    Args:
        table: the group's item table, shape (I, d).
        second_moment: E_g[u_k^2] (`second_moment`), shape (d,).
        item_weights: pop_i, shape (I,).
        partition: the blocks of the table.
    """
    energy = second_moment * table.astype(np.float64) ** 2  # (I, d)
    utility = partition.sums(item_weights.astype(np.float64)[:, None] * energy)
    shares = np.maximum(utility / max(float(utility.sum()), np.finfo(np.float64).tiny), MIN_SHARE)
    return np.asarray(shares / shares.sum())


def second_moment(vectors: Float32Array) -> FloatArray:
    """Return the mean over users of the square of each dimension, shape (n, d) to (d,)."""
    return np.asarray((vectors.astype(np.float64) ** 2).mean(axis=0))
