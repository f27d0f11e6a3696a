import json
from functools import cache

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from cloud.blocks.block_weights import closed_form_weights
from cloud.blocks.selection import rank_blocks
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import LightGCN, RecBole, Synthetic
from cloud.training.config import Controller, Guard, Refinement, Training
from cloud.training.evaluation import ndcg_per_user
from cloud.training.item_weights import partition_table
from cloud.training.recipes import TRAININGS
from cloud.training.train import GlobalModel, Progress, learn_global, personalize, train
from tests.cloud.worlds import SMALL, checkerboard
from wire.ranking_metrics import rank


def quietly(interactions: Interactions, config: Training) -> TrainedModel:
    return train(interactions, config, lambda progress: None)


@cache
def synthetic_model(clustering: str, rotate: bool = True) -> tuple[Interactions, TrainedModel]:
    world = load(Synthetic())
    config = Training(
        clustering=clustering,  # type: ignore[arg-type]
        backbone="mf",
        user_groups=6,
        slice_width=2,
        epochs=40,
        rotate=rotate,
    )
    return world, quietly(world, config)


def ndcg_at_budget(world: Interactions, model: TrainedModel, budget: float) -> float:
    """Return the mean test NDCG@20 when each group holds a share of its blocks, floor included."""
    partition, actual = (
        partition_table(world.n_items, model.user_vectors.shape[1], Training(slice_width=2)),
        [],
    )
    for group, table in enumerate(model.item_tables):
        members = np.flatnonzero(model.user_groups == group)
        moment = model.second_moments[group]
        weights = (
            closed_form_weights(table, moment, model.item_weights[group], partition)
            * model.corrections[group]
        )
        held = np.zeros(weights.size, dtype=np.float32)
        held[rank_blocks(weights, floor=True)[: max(round(budget * weights.size), len(weights))]] = 1
        table = table * partition.broadcast(held.reshape(partition.shape))
        actual.append(
            ndcg_per_user(
                model.user_vectors[members], table, world.known.take(members), world.test.take(members)
            )
        )
    return float(np.concatenate(actual).mean())


def popularity_ndcg(world: Interactions) -> float:
    scores: NDArray[np.float64] = np.tile(-np.arange(world.n_items, dtype=np.float64), (world.n_users, 1))
    return float(rank(scores, world.known, world.test, 20).ndcg(20).mean())


def test_all_stages_on_the_checkerboard() -> None:
    heard: list[Progress] = []
    world = checkerboard()
    model = train(world, SMALL, heard.append)
    shapes = [each.shape for each in (model.user_vectors, model.item_weights, model.corrections)]
    assert shapes == [(40, 8), (2, 40), (2, 4, 4)]
    assert [table.shape for table in model.item_tables] == [(40, 8), (40, 8)]
    assert list(dict.fromkeys(progress.stage for progress in heard)) == [
        "pretrain",
        "cluster",
        "refine",
        "rotate",
        "controller",
    ]
    assert all(progress.done <= progress.total for progress in heard)
    assert model.user_groups.tolist() == [0, 1] * 20
    assert model.report["test"] == {"ndcg_at_10": 1.0, "ndcg_at_20": 1.0, "recall_at_20": 1.0, "users": 40}
    assert model.report == json.loads(json.dumps(model.report, allow_nan=False))


def test_the_same_inputs_give_the_same_bits() -> None:
    state = torch.get_rng_state()
    once, again, other = (quietly(checkerboard(), replace(SMALL, seed=seed)) for seed in (1, 1, 2))
    assert bits(once) == bits(again)
    assert once.report == again.report
    assert bits(once) != bits(other)
    assert torch.equal(torch.get_rng_state(), state)  # no global stream is touched


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    quietly(checkerboard(), replace(SMALL, epochs=1, threads=before + 1))
    assert torch.get_num_threads() == before


def bits(model: TrainedModel) -> dict[str, bytes]:
    """Return every array of *model* as bytes."""
    arrays = {name: getattr(model, name) for name in ("user_vectors", "user_groups", "item_weights")}
    arrays |= {"corrections": model.corrections, "item_tables": np.stack(model.item_tables)}
    return {name: array.tobytes() for name, array in arrays.items()}


# Every stage has something to say here: it is kept whatever validation thinks.
EAGER = replace(
    SMALL,
    guard=Guard(enabled=False),
    refine=Refinement(enabled=True, epochs=4, early_stop=False),
    controller=Controller(enabled=True, steps=8),
)


@cache
def eager_start() -> GlobalModel:
    return learn_global(checkerboard(), EAGER, lambda progress: None)


def personalized(config: Training) -> TrainedModel:
    return personalize(eager_start(), checkerboard(), config, lambda progress: None)


def differs(config: Training) -> set[str]:
    """Return what is not as with all stages on."""
    on, off = bits(personalized(EAGER)), bits(personalized(config))
    return {name for name in on if on[name] != off[name]}


class TestSwitches:
    def test_refinement_off_leaves_every_group_the_global_table(self) -> None:
        plain = replace(EAGER, refine=Refinement(enabled=False), rotate=False)
        assert all(table is eager_start().factors.items for table in personalized(plain).item_tables)
        assert differs(replace(EAGER, refine=Refinement(enabled=False))) == {
            "item_tables",
            "user_vectors",  # the rotation is that of the table
            "corrections",
        }

    def test_rotation_off_leaves_vectors_as_pretraining_made_them(self) -> None:
        plain = replace(EAGER, rotate=False)
        assert personalized(plain).user_vectors.tobytes() == eager_start().factors.users.tobytes()
        assert differs(plain) == {"item_tables", "user_vectors", "corrections"}
        scores = [model.user_vectors @ model.item_tables[0].T for model in map(personalized, (EAGER, plain))]
        difference = (scores[0] - scores[1])[personalized(EAGER).user_groups == 0]
        np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=1e-4)

    def test_the_controller_off_leaves_the_closed_form(self) -> None:
        plain = replace(EAGER, controller=Controller(enabled=False))
        assert differs(plain) == {"corrections"}
        assert (personalized(plain).corrections == 1).all()

    def test_clustering_off_is_one_group_and_random_groups_are_not_by_taste(self) -> None:
        assert personalized(replace(EAGER, clustering="off")).user_groups.tolist() == [0] * 40
        assert personalized(EAGER).user_groups.tolist() == [0, 1] * 20
        groups = personalized(replace(EAGER, clustering="random")).user_groups
        assert np.bincount(groups).tolist() == [20, 20]
        assert 5 < (groups[::2] == groups[0]).sum() < 15

    def test_diversity_is_of_pretraining_alone(self) -> None:
        diverse = replace(EAGER, diversity=1.0)
        assert differs(diverse) == set()
        other = learn_global(checkerboard(), diverse, lambda progress: None)
        assert other.factors.items.tobytes() != eager_start().factors.items.tobytes()

    @pytest.mark.parametrize("stage", ["refine", "rotate", "controller"])
    def test_a_stage_that_is_off_says_so_and_nothing_of_groups(self, stage: str) -> None:
        off = {
            "refine": replace(EAGER, refine=Refinement(enabled=False)),
            "rotate": replace(EAGER, rotate=False),
            "controller": replace(EAGER, controller=Controller(enabled=False)),
        }
        report = personalized(off[stage]).report
        assert report[stage] == {"enabled": False}
        groups = report["groups"]
        assert isinstance(groups, list)
        everything = {"users", "refine", "rotate", "controller"}
        assert [set(entry) for entry in groups] == [everything - {stage}] * 2


def test_pretraining_can_be_shared() -> None:
    whole = quietly(checkerboard(), EAGER)
    start = eager_start()
    before = start.factors.items.copy()
    shared = personalized(EAGER)
    assert bits(shared) == bits(whole)
    assert shared.report == whole.report
    np.testing.assert_array_equal(start.factors.items, before)


def test_the_manifest_says_for_each_group_what_each_stage_did() -> None:
    groups = quietly(checkerboard(), SMALL).report["groups"]
    assert isinstance(groups, list)
    for entry in groups:
        assert entry["users"] == 20
        judges = {stage: entry[stage]["judges"] for stage in ("refine", "rotate", "controller")}
        assert judges == {"refine": 10, "rotate": 20, "controller": 10}
        assert {type(entry[stage]["kept"]) for stage in judges} == {bool}


def test_the_papers_recipe_learns_the_checkerboard_too() -> None:
    small = {name: getattr(SMALL, name) for name in ("dim", "epochs", "batch_size", "user_groups")}
    config = replace(TRAININGS["paper"], **small, min_group_size=5, item_groups=4, slice_width=2)
    model = quietly(checkerboard(), config)
    assert model.report["rotate"] == {"enabled": False}
    assert all(entry["kept"] for stage in ("refine", "controller") for entry in entries(model, stage))
    actual = model.report["test"]
    assert isinstance(actual, dict)
    assert actual["ndcg_at_20"] > 0.95
    assert np.isfinite(model.corrections).all()


def entries(model: TrainedModel, stage: str) -> list[dict[str, object]]:
    groups = model.report["groups"]
    assert isinstance(groups, list)
    return [entry[stage] for entry in groups]


def test_a_world_of_one_user_and_two_items() -> None:
    tiny = load(Synthetic(users=1, items=2, user_groups=1, item_kinds=1, interactions_per_user=1))
    model = quietly(tiny, Training(dim=3, slice_width=2, epochs=2))
    assert model.corrections.shape == (1, 2, 2)
    assert model.report["valid"] == {"ndcg_at_10": None, "ndcg_at_20": None, "recall_at_20": None, "users": 0}
    arrays = (model.user_vectors, *model.item_tables, model.item_weights, model.corrections)
    assert all(np.isfinite(each).all() for each in arrays)


def test_the_synthetic_world_is_learned_far_beyond_popularity() -> None:
    world, model = synthetic_model("kmeans")
    assert ndcg_at_budget(world, model, 1.0) > 1.8 * popularity_ndcg(world)


def test_clusters_and_rotation_pay_when_memory_is_short() -> None:
    kmeans, random, unrotated = (
        ndcg_at_budget(*synthetic_model(*how), 0.03)
        for how in (("kmeans", True), ("random", True), ("kmeans", False))
    )
    assert kmeans > 1.2 * random
    assert kmeans > 1.2 * unrotated


def test_more_memory_is_worth_having() -> None:
    actual = [ndcg_at_budget(*synthetic_model("kmeans"), budget) for budget in (0.03, 0.06, 1.0)]
    assert actual[0] * 1.08 < actual[1]
    assert actual[1] * 1.01 < actual[2]


@pytest.mark.data
def test_movielens_100k_is_learned(data_root: object) -> None:
    world = load(RecBole(path=f"{data_root}/ml-100k"))
    model = quietly(world, Training())
    actual = model.report["test"]
    assert isinstance(actual, dict)
    assert actual["ndcg_at_20"] > 1.5 * popularity_ndcg(world)


@pytest.mark.slow
@pytest.mark.data
def test_movielens_1m_reaches_the_recipes_figure_half_trained(data_root: object) -> None:
    world = load(LightGCN(path=f"{data_root}/ml-1m"))
    model = quietly(
        world,
        Training(epochs=30, evaluate_every=10, controller=Controller(enabled=True, steps=20)),
    )
    actual = model.report["test"]
    assert isinstance(actual, dict)
    assert actual["ndcg_at_20"] > 0.355
