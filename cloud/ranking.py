"""Full ranking: how good tables are on the items that users want.

Letters: U users, I items, d dimensions, B users in a batch.
"""

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from cloud.interactions import Interactions
from wire.geometry import Float32Array
from wire.metrics import FloatArray, IntArray, ItemLists, Ranking, rank

SCORES_AT_ONCE = 4_000_000  # bounds the memory of an evaluation, 16 MB of float32
LOOK_AT = 20  # cut-off of the NDCG that decides when to stop


def validation_ndcg(users: Tensor, items: Tensor, interactions: Interactions) -> float:
    """Return the mean NDCG@20 on validation items, training items masked."""
    scores = ndcg_per_user(
        users.detach().cpu().numpy(), items.detach().cpu().numpy(), interactions.train, interactions.valid
    )
    return mean_or_nan(scores)


def ndcg_per_user(
    users: Float32Array, items: Float32Array, known: ItemLists, wanted: ItemLists
) -> FloatArray:
    """Return NDCG@20 of the users that want anything, in order, by ranking all items.

    Args:
        users: shape (U, d).
        items: shape (I, d).
        known: the items that are masked, a list per user.
        wanted: the items to be found, a list per user.
    """
    found = [ranking.ndcg(LOOK_AT) for _, ranking in rankings(users, items, known, wanted, LOOK_AT)]
    return np.concatenate([*found, np.empty(0)])


def rankings(
    users: Float32Array, items: Float32Array, known: ItemLists, wanted: ItemLists, k: int
) -> Iterator[tuple[IntArray, Ranking]]:
    """Yield batches of the users that want anything, shape (B,), and the ranking of each."""
    asking = np.flatnonzero(wanted.counts())
    size = max(1, SCORES_AT_ONCE // len(items))
    for start in range(0, len(asking), size):
        batch = asking[start : start + size]
        yield batch, rank(users[batch] @ items.T, known.take(batch), wanted.take(batch), k)


def mean_or_nan(numbers: FloatArray) -> float:
    """Return the mean, or not-a-number where there is nothing to take the mean of."""
    return float(numbers.mean()) if len(numbers) else math.nan


def number_or_none(number: float) -> float | None:
    """Return *number* in a form that JSON can say: None for what is not a finite number."""
    return number if math.isfinite(number) else None
