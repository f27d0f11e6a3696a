"""Ranking metrics, defined once for cloud and devices.

Full ranking over all items, known items masked, ties broken by the lower item index. Letters: B users in a
batch, I items, K cut-off.

    Recall@K = hits / |test|
    NDCG@K   = sum over hit ranks r (from 1) of 1/log2(r + 1), divided by the same sum over the
               first min(|test|, K) ranks
    HR@K     = 1 if there is a hit, else 0
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ItemLists:
    """A list of items per user, in compressed rows: user u has ``items[starts[u]:starts[u + 1]]``.

    Items of one user are ascending and distinct.
    """

    starts: IntArray
    items: IntArray

    @classmethod
    def of_pairs(cls, users: IntArray, items: IntArray, n_users: int) -> Self:
        """Build the lists from (user, item) pairs in any order; repeated pairs count once."""
        order = np.lexsort((items, users))
        users, items = users[order], items[order]
        if len(users):
            fresh = np.ones(len(users), dtype=bool)
            fresh[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
            users, items = users[fresh], items[fresh]
        starts = np.zeros(n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=n_users), out=starts[1:])
        return cls(starts, items.astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, user: int) -> IntArray:
        return self.items[self.starts[user] : self.starts[user + 1]]

    def counts(self) -> IntArray:
        """Return the number of items of each user, shape (users,)."""
        return np.diff(self.starts)

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Return all (user, item) pairs as two arrays, by user, then item."""
        return np.repeat(np.arange(len(self)), self.counts()), self.items

    def take(self, users: IntArray) -> Self:
        """Return the lists of *users*, renumbered 0, 1, ... in that order."""
        counts = self.counts()[users]
        starts = np.zeros(len(users) + 1, dtype=np.int64)
        np.cumsum(counts, out=starts[1:])
        offsets = np.repeat(self.starts[users] - starts[:-1], counts)
        return type(self)(starts, self.items[np.arange(starts[-1]) + offsets])

    def union(self, other: Self) -> Self:
        """Return, per user, the items that are in either list."""
        (users, items), (more_users, more_items) = self.pairs(), other.pairs()
        return self.of_pairs(
            np.concatenate([users, more_users]), np.concatenate([items, more_items]), len(self)
        )


@dataclass(frozen=True)
class Ranking:
    """The first K items of each user, best first, and which of them are test items.

    Shapes: ``items`` (B, K), ``hits`` (B, K), ``test_counts`` (B,).
    """

    items: IntArray
    hits: NDArray[np.bool_]
    test_counts: IntArray

    def recall(self, k: int) -> FloatArray:
        """Return Recall@k per user, shape (B,); 0 for a user without test items."""
        return np.asarray(self.hits[:, :k].sum(axis=1) / np.maximum(self.test_counts, 1), dtype=np.float64)

    def ndcg(self, k: int) -> FloatArray:
        """Return NDCG@k per user, shape (B,); 0 for a user without test items."""
        gains = 1.0 / np.log2(np.arange(2, k + 2))
        ideal = np.concatenate([[1.0], np.cumsum(gains)])  # ideal[0] only avoids a division by 0
        best = ideal[np.minimum(self.test_counts, k)]
        dcg = (self.hits[:, :k] * gains[: self.hits.shape[1]]).sum(axis=1)
        return np.asarray(dcg / best, dtype=np.float64)

    def hit_rate(self, k: int) -> FloatArray:
        """Return HR@k per user, shape (B,)."""
        return np.asarray(self.hits[:, :k].any(axis=1), dtype=np.float64)


def top_k(scores: NDArray[np.floating], k: int) -> IntArray:
    """Return the *k* best items of each row, best first, equal scores by lower index.

    Args:
        scores: shape (B, I).
        k: at most I.

    Returns:
        Item indices, shape (B, k).
    """
    if k >= scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)
    chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, chosen, axis=1)
    cut = values.min(axis=1, keepdims=True)
    # argpartition picks any of the items with equal scores at the cut: rank such rows in full.
    tied = np.flatnonzero((scores >= cut).sum(axis=1) > k)
    order = np.lexsort((chosen, -values), axis=1)
    best = np.take_along_axis(chosen, order, axis=1)
    if len(tied):
        best[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :k]
    return best.astype(np.int64)


def rank(scores: NDArray[np.floating], known: ItemLists, test: ItemLists, k: int) -> Ranking:
    """Rank all items for a batch of users, their known items masked.

    Scores are compared as float32: if they were computed in float64, they do not depend on the batch.

    Args:
        scores: shape (B, I); not changed.
        known: masked items, one list per row of *scores*.
        test: items to find, one list per row of *scores*.
        k: the largest cut-off that is needed.
    """
    masked = scores.astype(np.float32)  # always a copy
    users, items = known.pairs()
    masked[users, items] = -np.inf
    best = top_k(masked, min(k, masked.shape[1]))
    is_hit = np.zeros(masked.shape, dtype=bool)
    users, items = test.pairs()
    is_hit[users, items] = True
    is_hit &= masked > -np.inf  # a masked item is never a hit, even if fewer than k remain
    return Ranking(best, np.take_along_axis(is_hit, best, axis=1), test.counts())
