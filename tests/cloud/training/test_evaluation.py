"""Evaluation on validation items: the same NDCG as full ranking, at limited cost."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cloud.data.load import load
from cloud.data.sources import Synthetic
from cloud.training import evaluation
from cloud.training.evaluation import (
    STOPPING_CUTOFF,
    item_ranks,
    item_ranks_in_batches,
    ndcg,
    ndcg_per_user,
    recall,
    validation_ndcg,
    validation_sample,
)
from tests.cloud.worlds import checkerboard
from wire.ranking_metrics import ItemLists, rank


def lists(*items: list[int]) -> ItemLists:
    users = np.repeat(np.arange(len(items)), [len(each) for each in items])
    return ItemLists.of_pairs(users, np.array([*itertools.chain(*items)], dtype=np.int64), len(items))


def test_places_worked_out_by_hand() -> None:
    scores = np.array([[5, 9, 5, 7, 5], [1, 2, 3, 4, 5]], dtype=np.float32)
    # User 0 knows item 1, so 3 is first, then 0, 2 and 4, which are equal. User 1 knows what is asked for.
    for k, out in ((20, 3), (4, 3), (3, np.inf)):
        actual = item_ranks(scores.copy(), lists([1], [4]), lists([0, 2, 3, 4], [0, 4]), k)
        assert actual.tolist() == [1, 2, 0, out, out, np.inf]


@given(st.integers(1, 6), st.integers(1, 700), st.integers(1, 40), st.integers(0, 2**32))
def test_counting_and_ranking_agree(users: int, items: int, levels: int, seed: int) -> None:
    """Few levels of score make many ties; items that are known and wanted at once are never found."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(levels, size=(users, 1)).astype(np.float32)
    table = rng.integers(levels, size=(items, 1)).astype(np.float32)
    chosen = [np.nonzero(rng.random((users, items)) < share) for share in (0.3, 0.4)]
    known, wanted = (ItemLists.of_pairs(rows, columns, users) for rows, columns in chosen)
    asking = np.flatnonzero(wanted.counts())
    ranked = rank(vectors[asking] @ table.T, known.take(asking), wanted.take(asking), STOPPING_CUTOFF)
    batches = list(item_ranks_in_batches(vectors, table, known, wanted))
    for k in (1, 10, STOPPING_CUTOFF):
        for count, expected in ((ndcg, ranked.ndcg(k)), (recall, ranked.recall(k))):
            actual = [np.empty(0), *(count(asked, ranks, k) for asked, ranks in batches)]
            np.testing.assert_allclose(np.concatenate(actual), expected, rtol=1e-12)


def test_a_small_world_is_looked_at_whole() -> None:
    world = checkerboard()
    assert validation_sample(world, 0).tolist() == list(range(40))


def test_a_large_world_is_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    world = load(Synthetic(users=200, items=100, user_groups=2, interactions_per_user=20))
    monkeypatch.setattr(evaluation, "MAX_VALIDATION_SCORES", 5_000)
    once, again, other = (validation_sample(world, seed) for seed in (1, 1, 2))
    assert once.tolist() == again.tolist() != other.tolist()
    assert len(set(once.tolist())) == 50
    assert once.tolist() == sorted(once.tolist())
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(rows, 4)).astype(np.float32) for rows in (200, 100))
    everyone = dict(
        zip(
            np.flatnonzero(world.valid.counts()).tolist(),
            ndcg_per_user(users, items, world.train, world.valid).tolist(),
            strict=True,
        )
    )
    actual = validation_ndcg(torch.from_numpy(users), torch.from_numpy(items), world, 1)
    assert actual == pytest.approx(np.mean([everyone[user] for user in once.tolist()]))
