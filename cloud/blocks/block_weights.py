"""How an item table is cut into blocks, and what a block is worth without learning anything.

Nothing in this file knows about torch. Letters: I items, d dimensions, G user groups, M item groups, N
slices.
"""

import numpy as np

from cloud.blocks.partition import Partition
from wire.geometry import Float32Array
from wire.ranking_metrics import FloatArray

MIN_SHARE = 1e-12  # of a group's total weight: keeps the logarithm of an empty block finite


def closed_form_weights(
    table: Float32Array, second_moment: FloatArray, item_weights: Float32Array, cut: Partition
) -> FloatArray:
    """Return the drop in weighted distortion that each block buys, as shares, shape (M, N).

    The block is worth ``sum_i pop_i * sum_k E_g[u_k^2] * v_ik^2`` over its items i and dimensions k:
    the mean squared change of the group's scores when it is left out, if the dimensions of the
    group's users are uncorrelated, as rotation makes them.

    Args:
        table: the group's item table, shape (I, d).
        second_moment: E_g[u_k^2] (`second_moment`), shape (d,).
        item_weights: pop_i, shape (I,).
        cut: where blocks begin.
    """
    energy = second_moment * table.astype(np.float64) ** 2  # (I, d)
    worth = cut.sums(item_weights.astype(np.float64)[:, None] * energy)
    shares = np.maximum(worth / max(float(worth.sum()), np.finfo(np.float64).tiny), MIN_SHARE)
    return np.asarray(shares / shares.sum())


def second_moment(vectors: Float32Array) -> FloatArray:
    """Return the mean over users of each dimension's square, shape (n, d) to (d,)."""
    return np.asarray((vectors.astype(np.float64) ** 2).mean(axis=0))
