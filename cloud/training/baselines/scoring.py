"""From scores to figures: full ranking, known items masked, per user.

Tail items are those outside the most popular fifth of the catalogue by training interactions.
Coverage is the share of items that are in some user's first 20. Letters: B users in a batch, I items.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wire.ranking_metrics import FloatArray, IntArray, ItemLists, Ranking, rank

CUT_OFF = 20
FIRST = 10
LATE_CUT_OFFS = (50, 100)  # of NDCG and recall, as papers print them, too
HEAD_SHARE = 0.2
SCORES_AT_ONCE = 2_000_000  # 16 MB of float64
METRICS = (
    "ndcg_at_20",
    "recall_at_20",
    "tail_recall_at_20",
    *(f"{name}_at_{k}" for k in LATE_CUT_OFFS for name in ("ndcg", "recall")),
)

Scores = Callable[[IntArray], FloatArray]


@dataclass(frozen=True, eq=False)
class UserMetrics:
    """Quality of the recommendations of the users with test items."""

    users: IntArray
    """Numbers of these users, shape (V,)."""
    values: FloatArray
    """A row for each of `METRICS`, shape (7, V); tail recall is NaN for who wants nothing of the tail."""
    shown: NDArray[np.bool_]
    """Mask of the items that are in the first 20 of any user, shape (I,)."""
    first: IntArray
    """The first 10 items of each user, shape (V, 10); -1 where a method offers no more."""

    @property
    def coverage(self) -> float:
        """The share of items that are shown to anybody."""
        return float(self.shown.mean())

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the users for whom it is defined, and coverage."""
        means = (float(np.nanmean(row)) if np.isfinite(row).any() else 0.0 for row in self.values)
        return dict(zip(METRICS, means, strict=True)) | {"coverage": self.coverage}


def head_size(n_items: int) -> int:
    """Return how many items, from the most popular, are no tail items."""
    return math.ceil(HEAD_SHARE * n_items)


def score(scores: Scores, known: ItemLists, relevant: ItemLists, n_items: int) -> UserMetrics:
    """Rank all of *n_items* items, in catalogue order, for every user that wants anything.

    Args:
        scores: from user numbers to scores.
        known: the items that are masked, a list per user.
        relevant: the items to be found, a list per user.
        n_items: the number of items.
    """
    shown = np.zeros(n_items, dtype=bool)
    columns, first = [], []
    for batch in _batches(relevant, n_items):
        ranking, offered = _ranked(scores(batch), known.take(batch), relevant.take(batch))
        shown[ranking.items[:, :CUT_OFF][offered]] = True
        first.append(np.where(offered, ranking.items[:, :CUT_OFF], -1)[:, :FIRST])
        tail = _tail_recall(ranking, relevant.take(batch), head_size(n_items))
        late = (rows for k in LATE_CUT_OFFS for rows in (ranking.ndcg(k), ranking.recall(k)))
        columns.append(np.stack([ranking.ndcg(CUT_OFF), ranking.recall(CUT_OFF), tail, *late]))
    users = np.flatnonzero(relevant.counts())
    return UserMetrics(users, np.concatenate(columns, axis=1), shown, np.concatenate(first))


def mean_ndcg(scores: Scores, known: ItemLists, relevant: ItemLists) -> float:
    """Return the mean NDCG@20 of the users that want anything; 0 where nobody does."""
    users_with_items = np.flatnonzero(relevant.counts())
    if not len(users_with_items):
        return 0.0
    n_items = scores(users_with_items[:1]).shape[1]
    parts = [
        rank(scores(batch), known.take(batch), relevant.take(batch), CUT_OFF).ndcg(CUT_OFF)
        for batch in _batches(relevant, n_items)
    ]
    return float(np.concatenate(parts).mean())


def _batches(relevant: ItemLists, n_items: int) -> Iterator[IntArray]:
    users_with_items = np.flatnonzero(relevant.counts())
    size = max(1, SCORES_AT_ONCE // n_items)
    for start in range(0, len(users_with_items), size):
        yield users_with_items[start : start + size]


def _ranked(scores: FloatArray, known: ItemLists, relevant: ItemLists) -> tuple[Ranking, NDArray[np.bool_]]:
    """Return the ranking, and which of its places, shape (B, 20), hold an item that can be shown.

    Where a method holds fewer than 20 items that a user does not know, places are left over.
    """
    ranking = rank(scores, known, relevant, max(LATE_CUT_OFFS))
    scores[known.pairs()] = -np.inf
    return ranking, np.take_along_axis(scores, ranking.items[:, :CUT_OFF], axis=1) > -np.inf


def _tail_recall(ranking: Ranking, relevant: ItemLists, head: int) -> FloatArray:
    users, items = relevant.pairs()
    counts = np.bincount(users[items >= head], minlength=len(relevant))  # (B,)
    hits = (ranking.hits & (ranking.items >= head))[:, :CUT_OFF].sum(axis=1)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)
