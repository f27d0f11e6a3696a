"""The quality of a ranking for what a user meets next: by hand, and against counting ranks one by one."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from devices.recommender.prequential import rank_list, rank_scores
from devices.recommender.quality import Quality
from wire.ranking_metrics import IntArray


def ints(*items: int) -> IntArray:
    return np.array(items, dtype=np.int64)


def counted(shown: list[int], met: set[int]) -> Quality:
    """Return the quality of the 20 items *shown*, rank by rank."""
    gain = sum(1 / math.log2(rank + 2) for rank, item in enumerate(shown[:10]) if item in met)
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(len(met), 10)))
    hits = sum(item in met for item in shown[:20])
    return Quality(gain / ideal, hits / len(met), float(any(item in met for item in shown[:10])))


def test_items_that_are_known_or_not_in_the_model_by_hand() -> None:
    """Item 2 is known, so item 0 is first and item 1 second; item 9 has no score: one of two is found."""
    scores = np.array([[0.5, 0.4, 0.9, 0.1]])
    assert rank_scores(scores, ints(2), ints(1, 9)) == Quality(
        (1 / math.log2(3)) / (1 + 1 / math.log2(3)), 0.5, 1.0
    )
    assert rank_list([2, 0, 1], ints(2), ints(1, 9)) == rank_scores(scores, ints(2), ints(1, 9))
    assert rank_list([2, 0, 1], ints(2, 0, 1), ints(3)) == Quality(0.0, 0.0, 0.0)


@given(st.data())
def test_a_ranking_is_worth_what_counting_its_ranks_says(data: st.DataObject) -> None:
    """Of equal scores the lower item comes first. A list of all items is worth as much."""
    items = data.draw(st.integers(3, 40))
    scores = [data.draw(st.integers(0, 5)) for _ in range(items)]
    known = data.draw(st.sets(st.integers(0, items + 3), max_size=items))
    met = data.draw(st.sets(st.integers(0, items + 3), min_size=1, max_size=12)) - known or {items + 9}
    order = sorted(range(items), key=lambda item: (-scores[item], item))
    expected = counted([item for item in order if item not in known], met)
    found = rank_scores(np.array([scores], dtype=np.float64), ints(*known), ints(*met))
    listed = rank_list(order, ints(*known), ints(*met))
    np.testing.assert_allclose([found, listed], [expected, expected], atol=1e-12)
