"""The best subset is the best: against all subsets, and against a ranking, which it contains."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.best_subset import Chain, best_subsets


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Weights are whole, so that equal sums are equal, and may be negative; sizes collide often."""
    count = draw(st.integers(0, 3))
    weights = draw(st.lists(st.integers(-3, 20), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 7), min_size=count, max_size=count))
    return Chain(draw(st.integers(0, 2)), tuple(map(float, weights)), tuple(sizes))


some_chains = st.lists(chains(), min_size=1, max_size=6)


def weight(cells: list[Chain], counts: tuple[int, ...]) -> float:
    return sum(sum(cell.weights[:count]) for cell, count in zip(cells, counts, strict=True))


def size(cells: list[Chain], counts: tuple[int, ...]) -> int:
    return sum(sum(cell.sizes[:count]) for cell, count in zip(cells, counts, strict=True))


def allowed(cells: list[Chain], counts: tuple[int, ...], budget: int, floor: bool) -> bool:
    held = {cell.item_group for cell, count in zip(cells, counts, strict=True) if count}
    return size(cells, counts) <= budget and (not floor or held == {cell.item_group for cell in cells})


@given(some_chains, st.lists(st.integers(0, 40), min_size=1, max_size=4), st.booleans())
def test_no_subset_is_better(cells: list[Chain], budgets: list[int], floor: bool) -> None:
    every = list(product(*(range(len(cell.sizes) + 1) for cell in cells)))
    for budget, found in zip(budgets, best_subsets(cells, budgets, floor=floor), strict=True):
        weights = [weight(cells, counts) for counts in every if allowed(cells, counts, budget, floor)]
        if found is None:
            assert not weights
        else:
            assert allowed(cells, found, budget, floor)
            assert weight(cells, found) == max(weights)


def test_a_story_in_which_no_ranking_is_best_twice() -> None:
    """One item group. For 10 bytes the 10-byte cell, worth 11, is best; for 11 the two others, worth 12.

    So the best subsets for two budgets are not nested.
    """
    cells = [Chain(0, (11.0,), (10,)), Chain(0, (7.0,), (6,)), Chain(0, (5.0,), (5,))]
    assert best_subsets(cells, [4, 6, 10, 11, 21]) == [None, (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)]
    assert best_subsets(cells, [4], floor=False) == [(0, 0, 0)]


def test_some_tens_of_blocks_take_a_moment() -> None:
    """The start of the ranking by weight per byte is never better, and the bound of its next block holds.

    A knapsack's best is less than the greedy prefix and the whole of the first block that does not fit.
    """
    rng = np.random.default_rng(5)
    sizes, worth = rng.integers(20, 200, 60), rng.random(60) * 50
    cells = [Chain(0, (float(w),), (int(b),)) for w, b in zip(worth, sizes, strict=True)]
    order = np.argsort(-worth / sizes)
    budgets = list(range(200, 6001, 200))
    for budget, found in zip(budgets, best_subsets(cells, budgets, floor=False), strict=True):
        assert found is not None
        fits = np.cumsum(sizes[order]) <= budget
        nested = worth[order][fits].sum()
        beyond = worth[order][~fits][:1].sum()
        assert nested - 1e-9 <= weight(cells, found) <= nested + beyond + 1e-9


@pytest.mark.parametrize(
    ("weights", "sizes", "message"),
    [
        ((1.0,), (), r"weights\(=1\) must be as many as sizes\(=0\)"),
        ((float("nan"),), (1,), "weight of a block must be finite"),
        ((1.0,), (0,), r"sizes\(=0\) must be at least 1"),
    ],
)
def test_what_is_no_chain_is_refused(
    weights: tuple[float, ...], sizes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Chain(0, weights, sizes)
