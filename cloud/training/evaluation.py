"""Full ranking: how good tables are on the items that users want.

Letters: U users, I items, d dimensions, B users in a batch.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cloud.data.interactions import Interactions
from wire.geometry import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

SCORES_PER_BATCH = 4_000_000  # bounds the memory of an evaluation, 16 MB of float32
BINS_PER_RANK = (
    16  # `_lower_bound_of_kth`: with more, fewer items are near the best, and there are more piles
)
STOPPING_CUTOFF = 20  # cut-off of the NDCG that decides when to stop
MAX_VALIDATION_SCORES = (
    200_000_000  # beyond it a look is at a sample of users: 5,000 of them for 40,000 items
)


def validation_ndcg(users: Tensor, items: Tensor, interactions: Interactions, seed: int) -> float:
    """Return the mean NDCG@20 on validation items, training items masked, over `validation_sample` users."""
    sample = validation_sample(interactions, seed)
    scores = ndcg_per_user(
        users.detach()[sample].cpu().numpy(),
        items.detach().cpu().numpy(),
        interactions.train.take(sample),
        interactions.valid.take(sample),
    )
    return mean_or_nan(scores)


def validation_sample(interactions: Interactions, seed: int) -> IntArray:
    """Return the users at whom a loop looks to decide when to stop, ascending, the same at every look.

    All that have validation items, or so many of them, drawn by *seed*, that their scores of all items are
    at most `MAX_VALIDATION_SCORES`.
    """
    asking = np.flatnonzero(interactions.valid.counts())
    most = max(1, MAX_VALIDATION_SCORES // interactions.n_items)
    if len(asking) <= most:
        return asking
    return np.sort(stream(seed, "validation", "users").choice(asking, most, replace=False))


def ndcg_per_user(
    users: Float32Array, items: Float32Array, known: ItemLists, wanted: ItemLists
) -> FloatArray:
    """Return NDCG@20 of the users that want anything, in order, among all items (`wire.ranking_metrics`).

    Args:
        users: shape (U, d).
        items: shape (I, d).
        known: the items that are masked, a list per user.
        wanted: the items to be found, a list per user.
    """
    batches = item_ranks_in_batches(users, items, known, wanted)
    return np.concatenate([np.empty(0), *(ndcg(asked, found, STOPPING_CUTOFF) for asked, found in batches)])


def item_ranks_in_batches(
    users: Float32Array, items: Float32Array, known: ItemLists, wanted: ItemLists
) -> Iterator[tuple[ItemLists, FloatArray]]:
    """Yield batches of the users that have wanted items: these items and their `item_ranks`."""
    asking = np.flatnonzero(wanted.counts())
    size = max(1, SCORES_PER_BATCH // len(items))
    for start in range(0, len(asking), size):
        batch = asking[start : start + size]  # (B,)
        asked = wanted.take(batch)
        yield asked, item_ranks(users[batch] @ items.T, known.take(batch), asked, STOPPING_CUTOFF)


def ndcg(wanted: ItemLists, found: FloatArray, k: int) -> FloatArray:
    """Return NDCG@k of each user, shape (B,), who wants something and *found* it at these `item_ranks`."""
    rows, _ = wanted.pairs()
    gains = np.where(found < k, 1.0 / np.log2(found + 2.0), 0.0)
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))  # by number of items
    gained = np.bincount(rows, gains, minlength=len(wanted))
    return np.asarray(gained / ideal[np.minimum(wanted.counts(), k) - 1])


def recall(wanted: ItemLists, found: FloatArray, k: int) -> FloatArray:
    """Return Recall@k of each user, shape (B,), who wants something and *found* it at these `item_ranks`."""
    rows, _ = wanted.pairs()
    return np.bincount(rows, found < k, minlength=len(wanted)) / wanted.counts()


def item_ranks(scores: NDArray[np.float32], known: ItemLists, wanted: ItemLists, k: int) -> FloatArray:
    """Return how many items come before each wanted one, in the order of ``wanted.pairs()``.

    Infinity stands for *k* and more: that is all that NDCG@k and Recall@k ask for. Of equal scores the
    lower index is first; a known item is last, and never found.

    Args:
        scores: shape (B, I); known items are overwritten.
        known: the items that are masked, a list per row.
        wanted: the items whose places are asked for, a list per row.
        k: how many places count.
    """
    n_items = scores.shape[1]
    scores[known.pairs()] = -np.inf
    near = np.flatnonzero((scores >= _lower_bound_of_kth(scores, k)[:, None]) & (scores > -np.inf))
    rows, items = np.divmod(near, n_items)
    order = np.lexsort((items, -scores.reshape(-1)[near], rows))
    place = np.empty(len(near))
    place[order] = np.arange(len(near)) - np.searchsorted(rows, rows)  # the order keeps rows together
    asked_rows, asked_items = wanted.pairs()
    asked = asked_rows * n_items + asked_items
    at = np.searchsorted(near, asked)
    found = np.append(near, -1)[at] == asked
    before = np.where(found, np.append(place, np.inf)[at], np.inf)
    return np.where(before < k, before, np.inf)


def _lower_bound_of_kth(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return a score per row, shape (B,), that at least *k* items reach, if there are as many, but few more.

    Items are dealt out to a number of piles; of the best of each pile, the k-th reaches just so far. That
    takes one look at each score, a quarter of the time of finding the k best, or less.
    """
    n_rows, n_items = scores.shape
    if n_items < k:
        return np.full(n_rows, -np.inf, dtype=np.float32)
    piles = min(n_items, BINS_PER_RANK * k)
    height = n_items // piles
    best = scores[:, : height * piles].reshape(n_rows, height, piles).max(axis=1)
    return np.asarray(np.partition(best, piles - k, axis=1)[:, piles - k])


def mean_or_nan(numbers: FloatArray) -> float:
    """Return the mean, or not-a-number where there is nothing to take the mean of."""
    return float(numbers.mean()) if len(numbers) else math.nan


def number_or_none(number: float) -> float | None:
    """Return *number* in a form that JSON can say: None for what is not a finite number."""
    return number if math.isfinite(number) else None
