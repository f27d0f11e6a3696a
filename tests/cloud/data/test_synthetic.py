import numpy as np
import pytest

from cloud.data.load import load
from cloud.data.sources import Synthetic
from cloud.data.synthetic import build_world, generate


def test_the_seed_decides_the_world() -> None:
    once, again, other = (generate(Synthetic(seed=seed)).digest() for seed in (1, 1, 2))
    assert once == again != other


def test_the_world_has_the_shape_that_was_asked_for() -> None:
    actual = load(Synthetic())
    sizes = np.array([len(part.items) for part in (actual.train, actual.valid, actual.test)])
    assert (actual.n_users, actual.n_items) == (600, 1000)
    assert sizes / sizes.sum() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    assert sizes.sum() / actual.n_users == pytest.approx(80, rel=0.1)
    head = actual.popularity()[:100].sum() / sizes[0]
    assert 0.2 < head < 0.6  # a tenth of the items gets far more than a tenth, yet not all


def test_members_of_a_group_share_more_than_strangers_do() -> None:
    config = Synthetic()
    actual, group_of = load(config), build_world(config).group_of
    likes = np.zeros((actual.n_users, actual.n_items))
    likes[actual.known.pairs()] = 1
    alike = np.atleast_2d(np.corrcoef(likes))
    same = group_of[:, None] == group_of[None, :]
    np.fill_diagonal(alike, np.nan)
    assert np.nanmean(alike[same]) > 1.3 * np.nanmean(alike[~same]) + 0.05


def test_without_skew_and_tastes_all_items_are_alike() -> None:
    actual = load(Synthetic(popularity_skew=0, group_taste=0, own_taste=0))
    counts = actual.popularity()
    assert counts.max() < 3 * counts.mean()


def test_the_smallest_world() -> None:
    tiny = Synthetic(users=1, items=2, user_groups=1, item_kinds=1, interactions_per_user=1)
    actual = load(tiny)
    assert (actual.n_users, actual.n_items, len(actual.train.items)) == (1, 2, 1)
