from pathlib import Path

import numpy as np
import pytest

from benchmarks.anchors import FOUR_DIGITS, THIRD_DIGIT, THREE_PERCENT, Allowed, main, measure
from benchmarks.closed_form import ease, most_popular
from wire.ranking_metrics import ItemLists

PAIRS = np.nonzero(np.random.default_rng(0).random((30, 8)) < 0.4)
TRAIN = ItemLists.of_pairs(PAIRS[0], PAIRS[1], 30)
NOTHING = ItemLists.of_pairs(np.empty(0, np.int64), np.empty(0, np.int64), 2)


def test_popular_items_score_alike_for_all() -> None:
    found = most_popular(ItemLists.of_pairs(np.array([0, 1, 1]), np.array([2, 0, 2]), 2), 4)
    assert found.tolist() == [[1, 0, 2, 0], [1, 0, 2, 0]]


def test_ease_is_the_best_of_all_tables_without_a_diagonal() -> None:
    """Column j of B is a ridge regression of item j on all other items."""
    liked = np.zeros((30, 8))
    liked[TRAIN.pairs()] = 1.0
    slow = np.zeros((8, 8))
    for item in range(8):
        others = np.delete(np.arange(8), item)
        seen = liked[:, others]
        slow[others, item] = np.linalg.solve(seen.T @ seen + 2.0 * np.eye(7), seen.T @ liked[:, item])
    np.testing.assert_allclose(ease(TRAIN, 8, 2.0), liked @ slow, atol=1e-5)


def test_figures_are_means_over_users_that_want_anything() -> None:
    wanted = ItemLists.of_pairs(np.array([0, 0]), np.array([0, 2]), 2)
    scores = np.array([[0.0, 3.0, 2.0], [0.0, 0.0, 0.0]])  # both are found, at ranks 2 and 3
    best = 1 + 1 / np.log2(3)
    expected = (1.0, (1 / np.log2(3) + 1 / 2) / best)
    assert measure(scores, NOTHING, wanted) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("allowed", "near", "far"),
    [(FOUR_DIGITS, 0.06874, 0.06876), (THIRD_DIGIT, 0.0691, 0.0693), (THREE_PERCENT, 0.0707, 0.0708)],
)
def test_how_far_from_print_is_allowed(allowed: Allowed, near: float, far: float) -> None:
    assert [(found, 0.0687) in allowed for found in (near, far)] == [True, False]


def test_without_data_it_says_so_and_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"SKIPPED: no data at {tmp_path}/ml-1m;")
