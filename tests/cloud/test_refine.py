from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from cloud.config import Refinement
from cloud.descent import Factors
from cloud.refine import GroupTables, refine, rotate, singular_basis, unrefined
from tests.cloud.worlds import SMALL, checkerboard, ignore
from wire.metrics import ItemLists
from wire.streams import stream

PARITY = np.arange(40) % 2


def vague_model() -> GroupTables:
    """Two groups by parity, whose one global table says almost nothing about parity."""
    rng = stream(0, "vague")
    users = np.stack([1 - PARITY, PARITY, *np.zeros((6, 40))], axis=1)
    items = rng.normal(0, 0.01, (40, 8))
    return unrefined(Factors(users.astype(np.float32), items.astype(np.float32)), PARITY)


def test_refinement_teaches_each_group_its_own() -> None:
    world = checkerboard()
    config = changed(SMALL, refine=Refinement(epochs=40, learning_rate=0.05, pull=0.0))
    refined, report = refine(vague_model(), world, config, ignore)
    for group in (0, 1):
        scores = refined.tables[group][:, group]  # what the group's users see
        assert scores[group == PARITY].min() > scores[group != PARITY].max()
    before, after = report["valid_ndcg_at_20_before"], report["valid_ndcg_at_20_after"]
    assert isinstance(before, list)
    assert isinstance(after, list)
    assert min(after) > max(before) + 0.2


def test_a_strong_pull_holds_tables_where_they_were() -> None:
    start = vague_model()
    drifts = []
    for pull in (0.0, 1.0, 100.0):
        config = changed(
            SMALL, refine=Refinement(pull=pull, learning_rate=0.05, epochs=40, evaluate_every=40)
        )
        refined, _ = refine(start, checkerboard(), config, ignore)
        drifts.append(float(np.abs(refined.tables - start.tables).mean()))
    assert drifts[0] > 2 * drifts[1] > 4 * drifts[2]


def test_a_group_without_validation_keeps_its_table() -> None:
    world = checkerboard()
    nothing = ItemLists.of_pairs(np.empty(0, np.int64), np.empty(0, np.int64), 40)
    start = vague_model()
    refined, report = refine(start, replace(world, valid=nothing), SMALL, ignore)
    np.testing.assert_array_equal(refined.tables, start.tables)
    assert report["best_epochs"] == [0, 0]
    assert report["valid_ndcg_at_20_before"] == [None, None]


@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 10), st.integers(0, 1000))
def test_a_rotation_moves_a_users_scores_by_one_constant(n: int, n_items: int, dim: int, seed: int) -> None:
    rng = stream(seed, "rotation")
    users = rng.normal(size=(n, dim)).astype(np.float32)
    items = (rng.normal(size=(n_items, dim)) + 1).astype(np.float32)
    new_users, new_items = singular_basis(users, items)
    difference = (new_users @ new_items.T).astype(np.float64) - users.astype(np.float64) @ items.T
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=1e-4)
    assert (new_users.shape, new_items.shape) == (users.shape, items.shape)


def test_the_first_dimensions_are_the_best_low_rank_scores() -> None:
    rng = stream(0, "rotation")
    users, items = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(80, 6)).astype(np.float32)
    new_users, new_items = singular_basis(users, items)
    scores = users.astype(np.float64) @ (items - items.mean(axis=0)).T
    sizes = np.linalg.svd(scores, compute_uv=False)
    for k in range(1, 7):
        error = scores - new_users[:, :k].astype(np.float64) @ new_items[:, :k].T
        assert np.linalg.norm(error) == pytest.approx(np.sqrt((sizes[k:6] ** 2).sum()), abs=1e-3)


def test_each_group_is_rotated_by_itself() -> None:
    model = vague_model()
    rotated, report = rotate(model)
    for group in (0, 1):
        members = model.members(group)
        alone = singular_basis(model.users[members], model.tables[group])
        np.testing.assert_array_equal(rotated.users[members], alone[0])
        np.testing.assert_array_equal(rotated.tables[group], alone[1])
    assert report["score_energy_in_first_quarter"] == pytest.approx([1.0, 1.0])
