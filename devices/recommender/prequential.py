"""Prequential quality: how well the items that a user meets next were ranked before they were met.

All items that the user knew before are masked. The metrics are those of `wire.ranking_metrics`. An item that
the ranking does not have counts as met and as missed.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from devices.recommender.quality import CUT_OFF, Quality
from wire.ranking_metrics import FloatArray, IntArray, ItemLists, Ranking, rank


def rank_scores(scores: FloatArray, known: IntArray, met: IntArray) -> Quality:
    """Return the quality of scores for the items that a user meets next.

    Args:
        scores: of all items, shape (1, I).
        known: items that the user knows.
        met: items that the user meets, none of them known; numbers from I on are items without a score.
    """
    items = scores.shape[1]
    ranking = rank(scores, _one(known[known < items]), _one(met[met < items]), CUT_OFF)
    return _quality(replace(ranking, test_counts=np.array([len(met)])))


def rank_list(best_first: Sequence[int] | IntArray, known: IntArray, met: IntArray) -> Quality:
    """Return the quality of a list of items, from which those that the user knows are left out."""
    listed = np.asarray(best_first, dtype=np.int64)
    shown = listed[~np.isin(listed, known)][:CUT_OFF]
    hits = np.isin(shown, met)
    return _quality(Ranking(shown[np.newaxis], hits[np.newaxis], np.array([len(met)])))


def _quality(ranking: Ranking) -> Quality:
    ndcg, recall, hit_rate = ranking.ndcg(10), ranking.recall(20), ranking.hit_rate(10)
    return Quality(float(ndcg[0]), float(recall[0]), float(hit_rate[0]))


def _one(items: IntArray) -> ItemLists:
    """Return the lists of one user; the order of its items does not matter here."""
    return ItemLists(np.array([0, len(items)]), items)
