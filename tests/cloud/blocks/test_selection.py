"""Rankings are permutations, a floor comes first, cells stay in order, layers never exceed a budget."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloud.blocks.selection import (
    POLICY_PLUGINS,
    Candidates,
    Selection,
    cut_layers,
    rank_blocks,
    rank_by_peel,
    ranking_policy,
)
from tests.plugin_objects import order_backwards, order_cheapest, order_twice
from wire.errors import InputError
from wire.plugins.installed import use_plugins
from wire.random_streams import stream

weights = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 4).map(float)
)
sizes = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(lambda values: np.array(values))


@given(weights, st.booleans())
def test_a_ranking_is_a_permutation_that_starts_with_a_floor(values: np.ndarray, with_floor: bool) -> None:
    ranking = rank_blocks(values, floor=with_floor).tolist()
    groups, slices = values.shape
    assert sorted(ranking) == list(range(groups * slices))
    floor, rest = (ranking[:groups], ranking[groups:]) if with_floor else ([], ranking)
    assert sorted(block // slices for block in floor) == list(range(groups if with_floor else 0))
    flat = values.reshape(-1)
    assert all(flat[block] == values[block // slices].max() for block in floor)
    for part in (floor, rest):
        assert part == sorted(part, key=lambda block: (-flat[block], block))


# Two item groups of two slices; a cell is a letter, its planes are numbers. The second item group is
# wanted more than the first.
STORY = {
    # block: (item group, slice, worth per byte, bytes)
    "a1": (0, 0, 9.0, 10),
    "a2": (0, 0, 4.0, 50),
    "b1": (0, 1, 5.0, 10),
    "c1": (1, 0, 7.0, 10),
    "c2": (1, 0, 6.0, 40),
    "c3": (1, 0, 1.0, 10),
    "d1": (1, 1, 8.0, 20),
}


def told(selection: Selection, *, floor: bool = False) -> str:
    item_groups, slices, utility, sizes = (np.array(part) for part in zip(*STORY.values(), strict=True))
    demand = np.array([0.4, 0.6])
    candidates = Candidates(item_groups, slices, utility, sizes, per_byte=True, demand=demand, floor=floor)
    order = ranking_policy(selection, stream(0, "story"))(candidates).tolist()
    return " ".join(np.array(list(STORY))[order])


def test_what_each_policy_makes_of_a_story() -> None:
    """Weights: a1 90, a2 200, b1 50, c1 70, c2 240, c3 10, d1 160.

    By weight a2 waits for a1 (90), and c2 for c1 (70). By popularity the second item group is whole before
    the first. By prefix slice 0, a and c, is whole before slice 1.
    """
    assert told(Selection.PEEL) == "a1 d1 c1 c2 b1 a2 c3"
    assert told(Selection.WEIGHT) == "d1 a1 a2 c1 c2 b1 c3"
    assert told(Selection.POPULARITY) == "d1 c1 c2 c3 a1 b1 a2"
    assert told(Selection.PREFIX) == "a1 c1 c2 a2 c3 d1 b1"
    assert told(Selection.WEIGHT_PER_BYTE) == told(Selection.PEEL)
    assert sorted(told(Selection.RANDOM).split()) == sorted(STORY)


def test_a_floor_is_the_first_block_of_each_item_group_in_the_policys_own_order() -> None:
    """That is d1 and a1 by popularity, a1 and c1 by prefix; by worth they come first anyway."""
    assert told(Selection.PEEL, floor=True) == told(Selection.PEEL)
    assert told(Selection.POPULARITY, floor=True) == "d1 a1 c1 c2 c3 b1 a2"
    assert told(Selection.PREFIX, floor=True) == "a1 c1 c2 a2 c3 d1 b1"


def test_a_plugin_orders_the_blocks_and_a_floor_comes_first() -> None:
    with use_plugins({"policies": {"cheapest": order_cheapest}}):
        assert told(msgspec.convert("cheapest", Selection)) == "a1 b1 c1 d1 c2 c3 a2"
        assert told(msgspec.convert("cheapest", Selection), floor=True) == "a1 c1 b1 d1 c2 c3 a2"


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (order_twice, "must return the numbers of 7 blocks once"),
        (order_backwards, "must not return a block before one that it refines"),
    ],
)
def test_an_order_of_a_plugin_that_is_none_is_refused(policy: object, rule: str) -> None:
    with use_plugins({"policies": {"wrong": policy}}):
        with pytest.raises(InputError) as refused:
            told(msgspec.convert("wrong", Selection))
        assert str(refused.value) == f"{POLICY_PLUGINS.plugin('wrong')}: {rule}"


def test_of_whole_cells_peel_takes_the_heaviest_and_per_byte_the_cheapest() -> None:
    candidates = Candidates(
        item_groups=np.array([0, 0, 0]),
        slices=np.array([0, 1, 2]),
        utility=np.array([6.0, 5.0, 4.0]),
        bytes=np.array([60.0, 25.0, 10.0]),
        per_byte=False,
        demand=np.ones(1),
        floor=True,
    )
    rng = stream(0, "cells")
    assert (
        rank_by_peel(candidates).tolist()
        == ranking_policy(Selection.WEIGHT, rng)(candidates).tolist()
        == [0, 1, 2]
    )
    assert ranking_policy(Selection.WEIGHT_PER_BYTE, rng)(candidates).tolist() == [2, 1, 0]


@st.composite
def offers(draw: st.DrawFn) -> Candidates:
    """Cells of falling worth, or of whole cells; every item group has one at least."""
    per_byte = draw(st.booleans())
    groups, slices = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    cells = [(m, n) for m in range(groups) for n in range(slices) if n == 0 or draw(st.booleans())]
    blocks = [cell for cell in cells for _ in range(draw(st.integers(1, 4)) if per_byte else 1)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    item_groups, columns = (np.array(part) for part in zip(*blocks, strict=True))
    utility = rng.integers(0, 5, len(blocks)).astype(np.float64)
    utility = utility[np.lexsort((-utility, columns, item_groups))]  # falls within each cell
    sizes = rng.integers(1, 9, len(blocks)).astype(np.float64)
    return Candidates(item_groups, columns, utility, sizes, per_byte, rng.random(groups), draw(st.booleans()))


@given(offers(), st.sampled_from(Selection))
def test_every_policy_keeps_a_floor_and_the_order_of_planes(
    candidates: Candidates, selection: Selection
) -> None:
    order = ranking_policy(selection, stream(1, "any"))(candidates).tolist()
    assert sorted(order) == list(range(len(candidates.cells)))
    groups = sorted(set(candidates.item_groups.tolist()))
    if candidates.floor:
        assert sorted(candidates.item_groups[order[: len(groups)]].tolist()) == groups
    for cell in set(candidates.cells.tolist()):
        places = [block for block in order if candidates.cells[block] == cell]
        assert places == sorted(places)
    if selection.is_peel(candidates.per_byte):
        assert order == rank_by_peel(candidates).tolist()


def test_random_is_any_order_that_planes_allow_equally_often() -> None:
    """Of one item group: a1 a2 and b have three orders, each a third of 3,000 draws within 5 errors."""
    candidates = Candidates(
        np.zeros(3, dtype=int), np.array([0, 0, 1]), np.ones(3), np.ones(3), True, np.ones(1), False
    )
    rank = ranking_policy(Selection.RANDOM, stream(3, "orders"))
    actual = Counter(tuple(rank(candidates).tolist()) for _ in range(3000))
    assert set(actual) == {(0, 1, 2), (0, 2, 1), (2, 0, 1)}
    error = (3000 * (1 / 3) * (2 / 3)) ** 0.5
    assert all(abs(count - 1000) < 5 * error for count in actual.values())


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="worth of a block must be finite"):
        rank_blocks(np.array([[1.0, np.nan]]), floor=False)


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


def test_without_a_floor_layers_are_geometric_from_the_first_block() -> None:
    assert cut_layers([10] * 1024, 11, floor=1).bytes == (0, *(10 * 2**power for power in range(11)))
