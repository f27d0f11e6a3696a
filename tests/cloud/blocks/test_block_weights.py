import numpy as np

from cloud.blocks.block_weights import closed_form_weights, second_moment
from cloud.data.interactions import item_group_bounds
from cloud.training.config import Training
from cloud.training.item_weights import group_item_weights, partition_table, recommended_item_weights
from cloud.training.loop import Factors
from tests.cloud.worlds import checkerboard
from wire.random_streams import stream


def test_the_closed_form_is_the_sum_it_says() -> None:
    rng = stream(0, "closed form")
    vectors, table = rng.normal(size=(20, 5)).astype(np.float32), rng.normal(size=(10, 5)).astype(np.float32)
    items = rng.random(10).astype(np.float32)
    weights = closed_form_weights(
        table,
        second_moment(vectors),
        items,
        partition_table(10, 5, Training(dim=5, slice_width=2, item_groups=3)),
    )
    bounds, expected = item_group_bounds(10, 3), np.zeros((3, 3))
    for m, n in np.ndindex(3, 3):
        for i in range(bounds[m], bounds[m + 1]):
            for k in range(2 * n, min(2 * n + 2, 5)):
                energy = np.mean(vectors[:, k].astype(np.float64) ** 2)
                expected[m, n] += items[i] * energy * float(table[i, k]) ** 2
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)


def test_blocks_that_say_nothing_still_have_a_positive_weight() -> None:
    partition = partition_table(40, 4, Training(dim=4, slice_width=2, item_groups=4))
    weights = closed_form_weights(
        np.zeros((40, 4), np.float32), np.zeros(4), np.full(40, 1 / 40, np.float32), partition
    )
    np.testing.assert_allclose(weights, np.full((4, 2), 1 / 8))


def test_an_item_counts_by_the_groups_own_interactions_and_a_little_by_all() -> None:
    world, parity = checkerboard(), np.arange(40) % 2
    weights = group_item_weights(parity, world)
    assert weights.shape == (2, 40)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    own = np.bincount(world.train.take(np.flatnonzero(parity == 0)).items, minlength=40)
    everywhere = world.popularity() + 1
    expected = (own / own.sum() + 0.5 * everywhere / everywhere.sum()) / 1.5
    np.testing.assert_allclose(weights[0], expected, rtol=1e-5)
    assert (weights > 0).all()


def test_an_item_counts_by_how_often_the_table_recommends_it_and_a_little_by_what_was_met() -> None:
    """Even users like item 0 most, then 2, then 4, and so on; what they have met is not recommended."""
    world, parity = checkerboard(), np.arange(40) % 2
    users = np.stack([1 - parity, parity], axis=1).astype(np.float32)
    liking = np.where(np.arange(40) % 2 == 0, 100.0, 10.0) - np.arange(40)
    factors = Factors(users, np.stack([liking, -liking], axis=1).astype(np.float32))
    met = group_item_weights(parity, world)
    weights = recommended_item_weights(factors, parity, world, met)
    shown = np.zeros(40)
    for user in range(0, 40, 2):
        ranked = [item for item in np.argsort(-liking) if item not in world.train[user]]
        shown[ranked[:20]] += 1 / 20
    np.testing.assert_allclose(weights[0], 0.7 * shown / 20 + 0.3 * met[0], rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_a_value_per_block_is_spread_over_its_entries() -> None:
    partition = partition_table(5, 3, Training(dim=3, slice_width=2, item_groups=2))
    actual = partition.broadcast(np.array([[1, 2], [3, 4]], dtype=np.float32))
    assert actual.tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4], [3, 3, 4], [3, 3, 4]]
    assert partition.sums(actual.astype(np.float64)).tolist() == [[4, 4], [18, 12]]
