"""The basis in which the first dimensions carry most of the score. Pure.

Letters: U users, I items, d dimensions.
"""

import numpy as np

from wire.arrays import Float32Array


def rotate_tables(users: Float32Array, items: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return tables with the same rankings, from the singular vectors of the centred score matrix.

    The first k columns are the best approximation of rank k (Eckart, Young). Taking the mean item
    away moves all scores of a user alike.

    Args:
        users: shape (U, d).
        items: shape (I, d).
    """
    centred = items.astype(np.float64) - items.mean(axis=0, dtype=np.float64)
    user_basis, user_part = np.linalg.qr(users.astype(np.float64))
    item_basis, item_part = np.linalg.qr(centred)
    left, sizes, right = np.linalg.svd(user_part @ item_part.T)
    roots = np.sqrt(sizes)
    count = len(sizes)
    new_users = (user_basis @ left[:, :count]) * roots
    new_items = (item_basis @ right.T[:, :count]) * roots
    return new_users.astype(np.float32), new_items.astype(np.float32)
