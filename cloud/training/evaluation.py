"""Full ranking: the quality of tables on the items that users interacted with later.

Letters: U users, I items, d dimensions, B users in a batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cloud.data.interactions import Interactions
from wire.arrays import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

SCORES_PER_BATCH = 4_000_000  # limits the memory of an evaluation to 16 MB of float32
BINS_PER_RANK = 16  # of `_lower_bound_of_kth`: more bins leave fewer candidates, but cost more
STOPPING_CUTOFF = 20  # cut-off of the NDCG for early stopping
HEAD_SHARE = 0.2  # of the items, by popularity, are no tail
MAX_VALIDATION_SCORES = 200_000_000  # with more, users are sampled: 5,000 for 40,000 items


def validation_ndcg(users: Tensor, items: Tensor, interactions: Interactions, seed: int) -> float:
    """Return the mean NDCG@20 on validation items over `validation_sample`, training items masked."""
    arrays = [table.detach().cpu().numpy() for table in (users, items)]
    return validation_quality(arrays[0], arrays[1], interactions, seed).mean


@dataclass(frozen=True, eq=False)
class ValidationQuality:
    """The quality of tables on the validation items of `validation_sample`, training items masked."""

    ndcg: FloatArray
    """NDCG@20 of each user, in order."""
    tail_recall: float
    """Share of the interactions with tail items that are among the user's first 20; 0 where there are none.
    The tail is all but the most popular fifth of the items by training interactions."""

    @property
    def mean(self) -> float:
        """The mean NDCG@20; not-a-number without validation users."""
        return mean_or_nan(self.ndcg)


def validation_quality(
    users: Float32Array, items: Float32Array, interactions: Interactions, seed: int
) -> ValidationQuality:
    """Return the quality of the tables on validation items."""
    sample = validation_sample(interactions, seed)
    popularity = np.bincount(interactions.train.items, minlength=len(items))
    in_tail = np.ones(len(items), dtype=bool)
    in_tail[np.argsort(-popularity, kind="stable")[: math.ceil(HEAD_SHARE * len(items))]] = False
    known, relevant = interactions.train.take(sample), interactions.valid.take(sample)
    scores, found = [np.empty(0)], [np.empty(0, dtype=bool)]
    for items_of, ranks in item_ranks_in_batches(users[sample], items, known, relevant):
        scores.append(ndcg(items_of, ranks, STOPPING_CUTOFF))
        found.append(ranks[in_tail[items_of.items]] < STOPPING_CUTOFF)
    tail = np.concatenate(found)
    return ValidationQuality(np.concatenate(scores), float(tail.mean()) if len(tail) else 0.0)


def prefer(qualities: Sequence[ValidationQuality]) -> int:
    """Return the number of the quality to prefer: the best tail among those that are as good as the best.

    As good is a mean NDCG@20 within one standard error of the best; the error is that of the difference,
    paired over users. Of equals, and with fewer than two users, the first is preferred.
    """
    if len(qualities[0].ndcg) < 2:
        return 0
    best = max(qualities, key=lambda quality: quality.mean)
    losses = [best.ndcg - quality.ndcg for quality in qualities]
    as_good = [n for n, loss in enumerate(losses) if loss.mean() <= loss.std(ddof=1) / math.sqrt(len(loss))]
    return max(as_good, key=lambda number: qualities[number].tail_recall)


def validation_sample(interactions: Interactions, seed: int) -> IntArray:
    """Return the users on whom a training loop is evaluated, ascending; the same at every evaluation.

    These are all users with validation items, or a sample of them, drawn by *seed*, with at most
    `MAX_VALIDATION_SCORES` scores.
    """
    users_with_items = np.flatnonzero(interactions.valid.counts())
    most = max(1, MAX_VALIDATION_SCORES // interactions.n_items)
    if len(users_with_items) <= most:
        return users_with_items
    return np.sort(stream(seed, "validation", "users").choice(users_with_items, most, replace=False))


def ndcg_per_user(
    users: Float32Array, items: Float32Array, known: ItemLists, relevant: ItemLists
) -> FloatArray:
    """Return NDCG@20 of the users that have relevant items, in order (`wire.ranking_metrics`).

    Args:
        users: shape (U, d).
        items: shape (I, d).
        known: masked items, a list per user.
        relevant: items to find, a list per user.
    """
    batches = item_ranks_in_batches(users, items, known, relevant)
    return np.concatenate(
        [np.empty(0), *(ndcg(items_of, ranks, STOPPING_CUTOFF) for items_of, ranks in batches)]
    )


def item_ranks_in_batches(
    users: Float32Array, items: Float32Array, known: ItemLists, relevant: ItemLists
) -> Iterator[tuple[ItemLists, FloatArray]]:
    """Yield the relevant items of batches of users that have some, with their `item_ranks`."""
    users_with_items = np.flatnonzero(relevant.counts())
    size = max(1, SCORES_PER_BATCH // len(items))
    for start in range(0, len(users_with_items), size):
        batch = users_with_items[start : start + size]  # (B,)
        items_of = relevant.take(batch)
        yield items_of, item_ranks(users[batch] @ items.T, known.take(batch), items_of, STOPPING_CUTOFF)


def ndcg(relevant: ItemLists, ranks: FloatArray, k: int) -> FloatArray:
    """Return NDCG@k of each user, shape (B,), given the `item_ranks` of the relevant items."""
    rows, _ = relevant.pairs()
    gains = np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0)
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))  # by number of items
    dcg = np.bincount(rows, gains, minlength=len(relevant))
    return np.asarray(dcg / ideal[np.minimum(relevant.counts(), k) - 1])


def recall(relevant: ItemLists, ranks: FloatArray, k: int) -> FloatArray:
    """Return Recall@k of each user, shape (B,), given the `item_ranks` of the relevant items."""
    rows, _ = relevant.pairs()
    return np.bincount(rows, ranks < k, minlength=len(relevant)) / relevant.counts()


def item_ranks(scores: NDArray[np.float32], known: ItemLists, relevant: ItemLists, k: int) -> FloatArray:
    """Return the number of items that rank before each relevant item, in the order of ``relevant.pairs()``.

    Ranks of *k* and more are infinity: NDCG@k and Recall@k need no more. Of equal scores the lower index
    ranks first; a known item ranks last and counts as not found.

    Args:
        scores: shape (B, I); known items are overwritten.
        known: masked items, a list per row.
        relevant: items whose ranks are computed, a list per row.
        k: the number of ranks that count.
    """
    n_items = scores.shape[1]
    scores[known.pairs()] = -np.inf
    candidates = np.flatnonzero((scores >= _lower_bound_of_kth(scores, k)[:, None]) & (scores > -np.inf))
    rows, items = np.divmod(candidates, n_items)
    order = np.lexsort((items, -scores.reshape(-1)[candidates], rows))
    rank = np.empty(len(candidates))
    rank[order] = np.arange(len(candidates)) - np.searchsorted(rows, rows)  # rows stay together in this order
    users, relevant_items = relevant.pairs()
    flat = users * n_items + relevant_items
    position = np.searchsorted(candidates, flat)
    is_candidate = np.append(candidates, -1)[position] == flat
    before = np.where(is_candidate, np.append(rank, np.inf)[position], np.inf)
    return np.where(before < k, before, np.inf)


def _lower_bound_of_kth(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return a score per row, shape (B,), that *k* items or a few more reach, if there are so many.

    Items are divided into bins; the k-th largest maximum of a bin is such a score. This reads each score
    once, in a quarter of the time, or less, of a search for the k best.
    """
    n_rows, n_items = scores.shape
    if n_items < k:
        return np.full(n_rows, -np.inf, dtype=np.float32)
    bins = min(n_items, BINS_PER_RANK * k)
    bin_size = n_items // bins
    best = scores[:, : bin_size * bins].reshape(n_rows, bin_size, bins).max(axis=1)
    return np.asarray(np.partition(best, bins - k, axis=1)[:, bins - k])


def mean_or_nan(numbers: FloatArray) -> float:
    """Return the mean, or not-a-number of an empty array."""
    return float(numbers.mean()) if len(numbers) else math.nan


def number_or_none(number: float) -> float | None:
    """Return *number*, or None, which JSON can express, if it is not finite."""
    return number if math.isfinite(number) else None
