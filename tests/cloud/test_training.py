import json
from functools import cache

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from cloud.config import Controller, LightGCN, RecBole, Refinement, Synthetic, Training
from cloud.controller import cut_table
from cloud.datasets import load
from cloud.interactions import Interactions
from cloud.ranking import ndcg_per_user
from cloud.selection import rank_blocks
from cloud.training import Progress, TrainedModel, train
from tests.cloud.worlds import SMALL, checkerboard
from wire.metrics import rank


def quietly(interactions: Interactions, config: Training) -> TrainedModel:
    return train(interactions, config, lambda progress: None)


@cache
def synthetic_model(clustering: str, rotate: bool = True) -> tuple[Interactions, TrainedModel]:
    world = load(Synthetic())
    config = Training(
        clustering=clustering,  # type: ignore[arg-type]
        user_groups=6,
        epochs=40,
        refine=Refinement(enabled=False),
        rotate=rotate,
        controller=Controller(enabled=False),
    )
    return world, quietly(world, config)


def ndcg_at_budget(world: Interactions, model: TrainedModel, budget: float) -> float:
    """Return the mean test NDCG@20 when each group holds a share of its blocks, floor included."""
    cut, found = cut_table(world.n_items, model.user_vectors.shape[1], Training()), []
    for group, weights in enumerate(model.block_weights):
        held = np.zeros(weights.size, dtype=np.float32)
        held[rank_blocks(weights)[: max(round(budget * weights.size), len(weights))]] = 1
        table = model.item_tables[group] * cut.spread(torch.from_numpy(held.reshape(cut.shape))).numpy()
        members = np.flatnonzero(model.user_groups == group)
        found.append(
            ndcg_per_user(
                model.user_vectors[members], table, world.known.take(members), world.test.take(members)
            )
        )
    return float(np.concatenate(found).mean())


def popularity_ndcg(world: Interactions) -> float:
    scores: NDArray[np.float64] = np.tile(-np.arange(world.n_items, dtype=np.float64), (world.n_users, 1))
    return float(rank(scores, world.known, world.test, 20).ndcg(20).mean())


def test_all_stages_on_the_checkerboard() -> None:
    heard: list[Progress] = []
    world = checkerboard()
    model = train(world, SMALL, heard.append)
    shapes = [each.shape for each in (model.user_vectors, model.item_tables, model.block_weights)]
    assert shapes == [(40, 8), (2, 40, 8), (2, 4, 4)]
    assert list(dict.fromkeys(progress.stage for progress in heard)) == [
        "pretrain",
        "cluster",
        "refine",
        "controller",
    ]
    assert all(progress.done <= progress.total for progress in heard)
    assert model.user_groups.tolist() == [0, 1] * 20
    assert model.report["test"] == {"ndcg_at_10": 1.0, "ndcg_at_20": 1.0, "recall_at_20": 1.0, "users": 40}
    assert model.report == json.loads(json.dumps(model.report, allow_nan=False))


def test_the_same_inputs_give_the_same_bits() -> None:
    state = torch.get_rng_state()
    once, again, other = (quietly(checkerboard(), replace(SMALL, seed=seed)) for seed in (1, 1, 2))
    for name in ("user_vectors", "user_groups", "item_tables", "block_weights"):
        assert getattr(once, name).tobytes() == getattr(again, name).tobytes()
    assert once.report == again.report
    assert once.item_tables.tobytes() != other.item_tables.tobytes()
    assert torch.equal(torch.get_rng_state(), state)  # no global stream is touched


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    quietly(checkerboard(), replace(SMALL, epochs=1, threads=before + 1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("stage", ["refine", "controller", "rotate", "clustering", "diversity"])
def test_every_stage_can_be_left_out(stage: str) -> None:
    off = {
        "refine": replace(SMALL, refine=Refinement(enabled=False)),
        "controller": replace(SMALL, controller=Controller(enabled=False)),
        "rotate": replace(SMALL, rotate=False),
        "clustering": replace(SMALL, clustering="off"),
        "diversity": replace(SMALL, diversity=0.0),
    }
    model = quietly(checkerboard(), off[stage])
    found = model.report["test"]
    assert isinstance(found, dict)
    assert found["ndcg_at_20"] == pytest.approx(1.0)
    if stage in model.report:
        assert model.report[stage] == {"enabled": False}


def test_a_world_of_one_user_and_two_items() -> None:
    tiny = load(Synthetic(users=1, items=2, user_groups=1, item_kinds=1, interactions_per_user=1))
    model = quietly(tiny, Training(dim=3, epochs=2))
    assert model.block_weights.shape == (1, 2, 2)
    assert model.report["valid"] == {"ndcg_at_10": None, "ndcg_at_20": None, "recall_at_20": None, "users": 0}
    assert all(
        np.isfinite(each).all() for each in (model.user_vectors, model.item_tables, model.block_weights)
    )


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
    found = [ndcg_at_budget(*synthetic_model("kmeans"), budget) for budget in (0.03, 0.06, 1.0)]
    assert found[0] * 1.08 < found[1]
    assert found[1] * 1.01 < found[2]


@pytest.mark.data
def test_movielens_100k_is_learned(data_root: object) -> None:
    world = load(RecBole(path=f"{data_root}/ml-100k"))
    model = quietly(world, Training(epochs=40))
    found = model.report["test"]
    assert isinstance(found, dict)
    assert found["ndcg_at_20"] > 1.5 * popularity_ndcg(world)


@pytest.mark.data
def test_movielens_1m_reaches_the_recipes_figure_half_trained(data_root: object) -> None:
    world = load(LightGCN(path=f"{data_root}/ml-1m"))
    model = quietly(
        world,
        Training(
            epochs=30, evaluate_every=10, refine=Refinement(enabled=False), controller=Controller(steps=20)
        ),
    )
    found = model.report["test"]
    assert isinstance(found, dict)
    assert found["ndcg_at_20"] > 0.36
