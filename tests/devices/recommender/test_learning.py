"""Learning on the device: by hand, against two other ways to the same vector, and at any blocks held."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.learning import (
    LearningSettings,
    LearningTable,
    history_bytes,
    history_length,
    item_number_bytes,
    learn_from_blocks,
    whole_budget,
)
from devices.recommender.scoring import ItemTable, score_factors, streaming_scores
from tests.devices.recommender.test_scoring import shelves
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray

NUMBERS = st.floats(-2, 2, width=32)
TABLES = arrays.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=NUMBERS)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Float32Array, Float32Array, list[int], LearningSettings]:
    """A table, a delivered vector, items met in turn, and settings."""
    table = draw(TABLES)
    start = draw(arrays.arrays(np.float32, table.shape[1], elements=NUMBERS))
    history = draw(st.lists(st.integers(0, len(table) - 1), max_size=20))
    settings = LearningSettings(
        history=draw(st.integers(1, 12)),
        decay=draw(st.sampled_from([0.01, 0.5, 0.9, 1.0])),
        target=draw(st.floats(0.1, 100)),
        unobserved=draw(st.floats(0.1, 1000)),
        prior=draw(st.floats(1, 1000)),
    )
    return table, start, history, settings


def prior_of(table: Float32Array, settings: LearningSettings) -> FloatArray:
    """Return A of the formula."""
    moment, dim = table.astype(np.float64).T @ table.astype(np.float64) / len(table), table.shape[1]
    return np.asarray(settings.unobserved * moment + settings.prior * np.trace(moment) / dim * np.eye(dim))


def target_of(table: Float32Array, start: Float32Array, settings: LearningSettings) -> float:
    size = float(np.sqrt(np.mean((table.astype(np.float64) @ start) ** 2)))
    return settings.target * size if size > 0 else 1.0


@given(worlds())
def test_the_vector_is_that_of_the_whole_problem_and_of_one_item_after_another(
    world: tuple[Float32Array, Float32Array, list[int], LearningSettings],
) -> None:
    """The normal equations in d unknowns, and recursive least squares, rank by rank, in any order."""
    table, start, history, settings = world
    learned = LearningTable(table, settings).learn(start, history)
    if not table.any():
        assert np.array_equal(learned, start)
        return
    met = table[history[-settings.history :]].astype(np.float64)
    weights, target = settings.decay ** np.arange(len(met))[::-1], target_of(table, start, settings)
    prior, begin = prior_of(table, settings), start.astype(np.float64)
    whole = begin + np.linalg.solve(
        prior + (met.T * weights) @ met, (met.T * weights) @ (target - met @ begin)
    )
    covariance, vector = np.linalg.inv(prior), begin
    for item in np.random.default_rng(0).permutation(len(met)):
        gain = covariance @ met[item] / (1 / weights[item] + met[item] @ covariance @ met[item])
        vector = vector + gain * (target - met[item] @ vector)
        covariance -= np.outer(gain, met[item] @ covariance)
    size = np.abs(whole).max(initial=1e-6)
    np.testing.assert_allclose(learned / size, whole / size, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(vector / size, whole / size, rtol=1e-4, atol=1e-5)


def test_what_is_met_rises_with_what_is_like_it_and_the_latest_counts_most() -> None:
    """Two kinds of item, each on an axis of its own; the delivered vector prefers the first kind a little."""
    table = np.array([[1, 0], [0.9, 0], [0, 1], [0, 0.9]], dtype=np.float32)
    start = np.array([0.101, 0.1], dtype=np.float32)

    def best(history: list[int]) -> int:
        return int(np.argmax(table @ LearningTable(table, LearningSettings()).learn(start, history)))

    assert [best([]), best([2]), best([3]), best([2, 0]), best([0, 2]), best([0, 0, 2])] == [0, 2, 2, 0, 2, 0]
    settings = LearningSettings(history=1)
    only_last = LearningTable(table, settings)
    assert np.array_equal(only_last.learn(start, [0, 0, 0, 2]), only_last.learn(start, [2]))


def test_a_newcomer_without_a_vector_learns_from_the_first_item() -> None:
    table = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=np.float32)
    learned = LearningTable(table, LearningSettings()).learn(np.zeros(2, dtype=np.float32), [0])
    assert np.argsort(-(table @ learned)).tolist() == [0, 1, 2]


def test_items_that_the_table_lacks_are_left_out() -> None:
    table = np.eye(3, dtype=np.float32)
    learning, start = LearningTable(table, LearningSettings(history=2)), np.ones(3, dtype=np.float32)
    assert np.array_equal(learning.learn(start, [0, 1, 7, 9]), learning.learn(start, [0, 1]))


@given(worlds(), st.sampled_from([0.125, 4.0, 1024.0]))
def test_the_unit_of_the_scores_does_not_matter(
    world: tuple[Float32Array, Float32Array, list[int], LearningSettings], times: float
) -> None:
    """Powers of 2, which change no digit: other backbones have scores of another size."""
    table, start, history, settings = world
    learned = LearningTable(table, settings).learn(start, history)
    if start.any():
        more = LearningTable(table, settings).learn(start * np.float32(times), history)
        np.testing.assert_allclose(more, learned * times, rtol=1e-5, atol=1e-5 * times)


@given(shelves(), st.data())
def test_from_blocks_it_learns_what_the_decoded_table_says_at_any_prefix(
    shelf: BlockPrefix, data: st.DataObject
) -> None:
    """In every codec and score; the scores of the learned vector are finite wherever there is a block."""
    geometry, blocks = shelf.geometry, data.draw(st.integers(0, len(shelf.ids)))
    history = data.draw(st.lists(st.integers(0, geometry.items - 1), max_size=20))
    start = np.random.default_rng(1).standard_normal(geometry.dim).astype(np.float32)
    table = ItemTable(shelf)
    table.hold(blocks)
    factors = np.concatenate(
        [
            score_factors(table.values[rows], table.planes[m] > 0, geometry)
            for m in range(geometry.item_groups)
            for rows in [geometry.rows(m * geometry.slices * geometry.planes)]
        ]
    )
    known = ~np.isinf(table.scores(start[None])[0])
    np.testing.assert_allclose((factors @ start)[known], table.scores(start[None])[0][known], rtol=1e-9)
    learned = learn_from_blocks(shelf, blocks, start, history, LearningSettings())
    expected = LearningTable(factors, LearningSettings()).learn(start, history)
    size = np.abs(expected).max()
    np.testing.assert_allclose(learned / size, expected / size, rtol=1e-4, atol=1e-5)
    assert np.array_equal(np.isfinite(streaming_scores(shelf, blocks, learned[None])[0]), known)


@given(st.integers(0, 10**6), st.integers(1, 2**20), st.integers(1, 4096))
def test_what_is_remembered_takes_at_most_an_eighth_of_any_budget(
    budget: int, items: int, history: int
) -> None:
    settings = LearningSettings(history=history)
    length, size = history_length(settings, items, budget), history_bytes(settings, items, budget)
    assert size == length * item_number_bytes(items) <= budget / 8
    assert length == history or size + item_number_bytes(items) > budget // 8
    assert items <= 256 ** item_number_bytes(items)


@given(st.integers(0, 5000), st.integers(1, 200_000), st.integers(1, 64))
def test_the_budget_of_a_recording_is_found_from_what_it_left_for_blocks(
    budget: int, items: int, history: int
) -> None:
    settings = LearningSettings(history=history)
    blocks = budget - history_bytes(settings, items, budget)
    found = whole_budget(settings, items, blocks)
    assert found - history_bytes(settings, items, found) == blocks
    assert found >= budget
    if budget > 8 * item_number_bytes(items) * history:
        assert found == budget
