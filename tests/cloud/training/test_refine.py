from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from cloud.training import validation_guard
from cloud.training.config import Guard, Refinement
from cloud.training.group_tables import GroupTables, share_global_table
from cloud.training.item_weights import group_item_weights, partition_table
from cloud.training.loop import Factors
from cloud.training.refine import refine
from cloud.training.rotate import item_basis, rotate, singular_basis
from cloud.training.validation_guard import StageReport
from tests.cloud.worlds import SMALL, an_evaluator, checkerboard, ignore
from wire.random_streams import stream
from wire.ranking_metrics import ItemLists

PARITY = np.arange(40) % 2


def vague_model() -> GroupTables:
    """Two groups by parity, whose one global table says almost nothing about parity."""
    rng = stream(0, "vague")
    users = np.stack([1 - PARITY, PARITY, *np.zeros((6, 40))], axis=1)
    items = rng.normal(0, 0.01, (40, 8))
    return share_global_table(Factors(users.astype(np.float32), items.astype(np.float32)), PARITY, 0.0)


def test_refinement_teaches_each_group_its_own() -> None:
    world = checkerboard()
    config = changed(SMALL, refine=Refinement(epochs=40, learning_rate=0.05, pull=0.0))
    refined, report = refine(vague_model(), world, config, ignore)
    for group in (0, 1):
        scores = refined.tables[group][:, group]  # what the group's users see
        assert scores[group == PARITY].min() > scores[group != PARITY].max()
        entry = report.groups[group]
        assert number(entry["valid_ndcg_at_20_after"]) > number(entry["valid_ndcg_at_20_before"]) + 0.2
        assert number(entry["best_epoch"]) > 0
        assert number(entry["moved_by"]) > 0.5
        assert (entry["judges"], entry["kept"]) == (10, True)
    assert (report.summary["kept_jointly"], report.summary["kept_in_groups"]) == (True, 2)


def test_refinement_by_ranking_pairs_teaches_each_group_its_own() -> None:
    settings = Refinement(loss="bpr", epochs=40, learning_rate=0.05, pull=0.0)
    refined, _ = refine(vague_model(), checkerboard(), changed(SMALL, refine=settings), ignore)
    for group in (0, 1):
        scores = refined.tables[group][:, group]
        assert scores[group == PARITY].min() > scores[group != PARITY].max()


def test_refinement_through_a_network_starts_from_the_global_table_and_teaches_each_group() -> None:
    world, start = checkerboard(), vague_model()
    start = share_global_table(
        Factors(start.users, stream(1, "items").normal(0, 1, (40, 8)).astype(np.float32)), PARITY, 0.0
    )
    still, taught = (
        Refinement(through="mlp", hidden=64, epochs=80, learning_rate=rate, pull=0.0, early_stop=False)
        for rate in (1e-9, 0.05)
    )
    config = changed(SMALL, dropout=0.0, guard=Guard(enabled=False))
    refined, _ = refine(start, world, changed(config, refine=still), ignore)
    np.testing.assert_allclose(refined.tables[0], start.tables[0], atol=1e-5)
    refined, report = refine(start, world, changed(config, refine=taught), ignore)
    for group in (0, 1):
        scores = refined.tables[group][:, group]
        assert scores[group == PARITY].min() > scores[group != PARITY].max()
        assert report.groups[group]["kept"] is True


def test_what_does_not_convince_those_who_judge_is_not_kept() -> None:
    start = vague_model()
    settings = Refinement(epochs=40, learning_rate=0.05, pull=0.0)
    config = changed(SMALL, refine=settings, guard=Guard(standard_errors=100))
    refined, report = refine(start, checkerboard(), config, ignore)
    assert all(after is before for before, after in zip(start.tables, refined.tables, strict=True))
    assert [entry["kept"] for entry in report.groups] == [False, False]
    config = changed(config, guard=Guard(enabled=False))
    refined, report = refine(start, checkerboard(), config, ignore)
    assert not any(after is before for before, after in zip(start.tables, refined.tables, strict=True))
    assert report.summary["kept_in_groups"] == 2


def test_without_early_stop_all_epochs_are_done_whatever_validation_says() -> None:
    knowing = np.stack([1 - PARITY, PARITY, *np.zeros((6, 40))], axis=1).astype(np.float32)
    start = share_global_table(Factors(knowing, knowing), PARITY, 0.0)
    actual = {}
    for early_stop in (False, True):
        ruinous = Refinement(epochs=7, learning_rate=1000.0, early_stop=early_stop)
        config = changed(SMALL, refine=ruinous, guard=Guard(enabled=False))
        refined, report = refine(start, checkerboard(), config, ignore)
        entry = report.groups[0]
        same = refined.tables[0] is start.tables[0]
        actual[early_stop] = (entry["best_epoch"], entry["kept"], same)
        if not early_stop:
            assert number(entry["valid_ndcg_at_20_after"]) < number(entry["valid_ndcg_at_20_before"])
    assert actual == {False: (7, True, False), True: (0, False, True)}


def test_a_strong_pull_holds_tables_where_they_were() -> None:
    start = vague_model()
    drifts = []
    for pull in (0.0, 1.0, 100.0):
        settings = Refinement(pull=pull, learning_rate=0.05, epochs=40, early_stop=False)
        config = changed(SMALL, refine=settings, guard=Guard(enabled=False))
        refined, _ = refine(start, checkerboard(), config, ignore)
        drifts.append(float(np.abs(refined.tables[0] - start.tables[0]).mean()))
    assert drifts[0] > 2 * drifts[1] > 4 * drifts[2]


def test_a_group_without_validation_keeps_its_table() -> None:
    world = checkerboard()
    nothing = ItemLists.of_pairs(np.empty(0, np.int64), np.empty(0, np.int64), 40)
    start = vague_model()
    refined, report = refine(start, replace(world, valid=nothing), SMALL, ignore)
    assert all(after is before for before, after in zip(start.tables, refined.tables, strict=True))
    for entry in report.groups:
        assert (entry["best_epoch"], entry["kept"], entry["judges"]) == (0, False, 0)
        assert entry["valid_ndcg_at_20_before"] is None


@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 10), st.integers(0, 1000))
def test_a_rotation_moves_a_users_scores_by_one_constant(n: int, n_items: int, dim: int, seed: int) -> None:
    rng = stream(seed, "rotation")
    users = rng.normal(size=(n, dim)).astype(np.float32)
    items = (rng.normal(size=(n_items, dim)) + 1).astype(np.float32)
    new_users, new_items = singular_basis(users, item_basis(items))
    difference = (new_users @ new_items.T).astype(np.float64) - users.astype(np.float64) @ items.T
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=1e-4)
    assert (new_users.shape, new_items.shape) == (users.shape, items.shape)


def test_the_first_dimensions_are_the_best_low_rank_scores() -> None:
    rng = stream(0, "rotation")
    users, items = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(80, 6)).astype(np.float32)
    new_users, new_items = singular_basis(users, item_basis(items))
    scores = users.astype(np.float64) @ (items - items.mean(axis=0)).T
    sizes = np.linalg.svd(scores, compute_uv=False)
    for k in range(1, 7):
        error = scores - new_users[:, :k].astype(np.float64) @ new_items[:, :k].T
        assert np.linalg.norm(error) == pytest.approx(np.sqrt((sizes[k:6] ** 2).sum()), abs=1e-3)


def test_each_group_is_rotated_by_itself() -> None:
    model = vague_model()
    rotated, report = turned(model, all_users_weight=0.0)
    for group in (0, 1):
        members = model.members(group)
        alone = singular_basis(model.users[members], item_basis(model.tables[group]))
        np.testing.assert_array_equal(rotated.users[members], alone[0])
        np.testing.assert_array_equal(rotated.tables[group], alone[1])
        assert report.groups[group]["score_energy_in_first_quarter_with"] == pytest.approx(1.0)


def test_a_small_groups_table_spans_all_tastes_where_all_users_count() -> None:
    """Three users have a group of their own, with fewer directions than the table has."""
    rng = stream(0, "small group")
    users, items = (rng.normal(size=(40, 8)).astype(np.float32) for _ in range(2))
    groups = (np.arange(40) >= 3).astype(np.int64)
    centred = items.astype(np.float64) - items.mean(axis=0)
    scores = users @ centred.T
    ranks = {}
    for weight in (0.0, 0.05):
        model = share_global_table(Factors(users, items), groups, weight)
        rotated, _ = turned(model, all_users_weight=weight, guard=Guard(enabled=False))
        table = rotated.tables[0].astype(np.float64)
        ranks[weight] = np.linalg.matrix_rank(table, tol=1e-3)
        vectors = np.linalg.lstsq(table, scores.T, rcond=1e-4)[0].T  # of all users, in the basis of the group
        np.testing.assert_allclose(vectors[:3], rotated.users[:3], atol=1e-3)
        if weight:
            np.testing.assert_allclose(vectors @ table.T, scores, atol=1e-3)
        means = [np.square(each).mean(axis=0) for each in (vectors[:3], vectors)]
        np.testing.assert_allclose(
            rotated.second_moments[0], (means[0] + weight * means[1]) / (1 + weight), atol=1e-3
        )
    assert ranks == {0.0: 3, 0.05: 8}


def turned(model: GroupTables, **changes: object) -> tuple[GroupTables, StageReport]:
    world = checkerboard()
    partition = partition_table(40, 8, SMALL)
    return rotate(
        model,
        group_item_weights(model.groups, world),
        world,
        changed(SMALL, **changes),
        an_evaluator(partition),
        ignore,
    )


def sorted_against_rotation() -> GroupTables:
    """One group whose taste is quiet, in a slice of its own, and drowned in noise by a rotation.

    Seven loud dimensions of noise with the same user vector for all are one direction to a rotation,
    which puts it first; unrotated they take turns with the taste, which has the loudest dimension.
    """
    rng = stream(0, "against rotation")
    users = np.ones((40, 8))
    users[:, 0] = np.where(PARITY == 0, 1, -1)
    items = rng.normal(0, 0.9, (40, 8))
    items[:, 0] = np.where(PARITY == 0, 1.5, -1.5)
    return share_global_table(
        Factors(users.astype(np.float32), items.astype(np.float32)), np.zeros(40, dtype=np.int64), 0.0
    )


def test_a_rotation_that_loses_at_small_budgets_is_taken_back() -> None:
    model = sorted_against_rotation()
    rotated, report = turned(model)
    (entry,) = report.groups
    without, with_it = entry["valid_ndcg_at_20_without"], entry["valid_ndcg_at_20_with"]
    assert number(with_it) < number(without) - 0.05
    assert entry["kept"] is False
    np.testing.assert_array_equal(rotated.users, model.users)
    assert rotated.tables[0] is model.tables[0]
    rotated, report = turned(model, guard=Guard(enabled=False))
    assert report.groups[0]["kept"] is True
    assert np.abs(rotated.tables[0] - model.tables[0]).max() > 0.1


def test_on_a_large_catalogue_a_sample_of_groups_judges_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_guard, "MAX_EVALUATED_NUMBERS", 40 * 8)  # one table
    rotated, report = turned(vague_model())
    assert (report.summary["judged_in_groups"], report.summary["kept_in_groups"]) == (1, 2)
    assert sorted("judges" in entry for entry in report.groups) == [False, True]
    alone, _ = turned(vague_model(), guard=Guard(enabled=False))
    np.testing.assert_array_equal(rotated.users, alone.users)


def number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
