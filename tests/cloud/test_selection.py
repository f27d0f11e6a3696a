"""Rankings are permutations, floors come first, layers are nested and never exceed a budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloud.selection import cut_layers, rank_blocks

weights = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4).map(float)
)
sizes = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(lambda values: np.array(values))


@given(weights)
def test_a_ranking_is_a_permutation_that_starts_with_the_floor(values: np.ndarray) -> None:
    ranking = rank_blocks(values).tolist()
    groups, slices = values.shape
    assert sorted(ranking) == list(range(groups * slices))
    floor, rest = ranking[:groups], ranking[groups:]
    assert sorted(block // slices for block in floor) == list(range(groups))
    flat = values.reshape(-1)
    assert all(flat[block] == values[block // slices].max() for block in floor)
    for part in (floor, rest):
        assert part == sorted(part, key=lambda block: (-flat[block], block))


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="worth of a block must be finite"):
        rank_blocks(np.array([[1.0, np.nan]]))


@given(sizes, st.integers(1, 80), st.integers(1, 60), st.integers(0, 40_000))
def test_a_budget_gets_the_highest_layer_that_fits(
    blocks: np.ndarray, count: int, floor: int, budget: int
) -> None:
    layers = cut_layers(blocks.tolist(), count, min(floor, len(blocks)))
    ends = [0, *np.cumsum(blocks).tolist()]
    assert layers.blocks[-1] == len(blocks)
    assert len(layers.blocks) <= count + 1
    assert [ends[held] for held in layers.blocks] == list(layers.bytes)
    best = layers.best(budget)
    assert layers.bytes[best] <= budget
    assert best == layers.top or layers.bytes[best + 1] > budget
    assert layers.complete(layers.blocks[best]) == best


@given(sizes, st.integers(0, 40_000))
def test_with_as_many_layers_as_blocks_the_longest_prefix_fits(blocks: np.ndarray, budget: int) -> None:
    layers = cut_layers(blocks.tolist(), len(blocks), 1)
    longest = max(n for n in range(len(blocks) + 1) if blocks[:n].sum() <= budget)
    assert layers.blocks[layers.best(budget)] == longest


def test_layers_are_geometric_in_bytes_above_the_floor_and_few_below_it() -> None:
    layers = cut_layers([10] * 1024, 16, floor=64)
    assert layers.bytes[:3] == (0, 220, 430)
    assert layers.bytes[3:8] == (640, 800, 980, 1220, 1510)
    assert (len(layers.bytes), layers.bytes[-2:]) == (17, (8280, 10240))
