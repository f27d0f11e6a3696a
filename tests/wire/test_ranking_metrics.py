"""Ranking metrics against hand-computed values and against a slow, obvious version."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.ranking_metrics import ItemLists, rank, top_k


def lists(*rows: list[int]) -> ItemLists:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return ItemLists.of_pairs(users, items, len(rows))


def test_metrics_by_hand() -> None:
    """User 0 knows item 1 (the best score), so ranks 2, 0, 4, 3; items 0 and 3 are hers to find.

    Hits at ranks 2 and 4. Recall@3 = 1/2, NDCG@3 = (1/log2 3) / (1 + 1/log2 3), HR@1 = 0.
    """
    scores = np.array([[3.0, 9.0, 5.0, 1.0, 2.0]])
    ranking = rank(scores, known=lists([1]), test=lists([0, 3]), k=4)
    assert ranking.items.tolist() == [[2, 0, 4, 3]]
    assert ranking.recall(3).tolist() == [0.5]
    assert ranking.ndcg(3)[0] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert ranking.hit_rate(1).tolist() == [0.0]
    assert ranking.hit_rate(2).tolist() == [1.0]
    both = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert ranking.ndcg(4)[0] == pytest.approx(both)


def test_a_masked_item_is_no_hit_even_when_everything_is_masked() -> None:
    ranking = rank(np.array([[1.0, 2.0]]), known=lists([0, 1]), test=lists([0]), k=5)
    assert ranking.hits.tolist() == [[False, False]]
    assert ranking.recall(20).tolist() == [0.0]


def test_a_user_without_test_items_scores_zero() -> None:
    ranking = rank(np.array([[1.0, 2.0]]), known=lists([]), test=lists([]), k=2)
    assert (ranking.ndcg(2).tolist(), ranking.recall(2).tolist()) == ([0.0], [0.0])


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 30)),
        elements=st.integers(-3, 3).map(np.float32),
    ),
    st.integers(1, 12),
)
def test_top_k_breaks_ties_by_the_lower_item(scores: np.ndarray, k: int) -> None:
    k = min(k, scores.shape[1])
    expected = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in scores.tolist()]
    assert top_k(scores, k).tolist() == expected


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5))
def test_item_lists_hold_each_item_once_in_order(rows: list[list[int]]) -> None:
    built = lists(*rows)
    assert [built[u].tolist() for u in range(len(built))] == [sorted(set(row)) for row in rows]
    back = np.arange(len(rows))[::-1]
    assert [built.take(back)[u].tolist() for u in back] == [built[len(rows) - 1 - u].tolist() for u in back]
    assert [built.union(built)[u].tolist() for u in range(len(rows))] == [sorted(set(r)) for r in rows]
