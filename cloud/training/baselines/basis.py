"""The basis in which the first dimensions carry most of the score. Pure.

Letters: U users, I items, d dimensions, k directions that the scores of the members span.
"""

import numpy as np

from cloud.training.baselines.full_model import FullModel
from wire.arrays import Float32Array

NEGLIGIBLE = 1e-10
"""Directions with a smaller share of the largest singular value are left out."""


def rotate_tables(full: FullModel) -> tuple[Float32Array, Float32Array]:
    """Return tables with the same rankings, from the singular vectors of the centred score matrix.

    The first columns are the best approximation of their rank for the members (Eckart, Young). Taking the
    mean item away moves all scores of a user alike.

    Returns:
        Shapes (U, k) and (I, k).
    """
    centred = full.items.astype(np.float64) - full.items.mean(axis=0, dtype=np.float64)
    user_part = np.linalg.qr(full.members.astype(np.float64), mode="r")
    item_basis, item_part = np.linalg.qr(centred)
    _, sizes, right = np.linalg.svd(user_part @ item_part.T)
    kept = sizes > NEGLIGIBLE * sizes[0]
    roots, right = np.sqrt(sizes[kept]), right[: len(sizes)][kept]
    # The scores of a user in the basis of the items: right for members and for whoever comes later.
    new_users = full.users.astype(np.float64) @ item_part.T @ right.T / roots
    new_items = (item_basis @ right.T) * roots
    return new_users.astype(np.float32), new_items.astype(np.float32)
