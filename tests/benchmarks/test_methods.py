import functools

import numpy as np
import pytest

from benchmarks.quality.compare import measure
from benchmarks.quality.peel import train_cached
from benchmarks.quality.populations import Population
from benchmarks.quality.pretraining import learn_full
from cloud.training.baselines.basis import rotate_tables
from cloud.training.baselines.columns import FirstColumns
from cloud.training.baselines.distillation import DistilledModel, MatryoshkaModel
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.head import HeadItems
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.narrow import NarrowModel
from cloud.training.baselines.precision import Precision
from cloud.training.baselines.pruning import PrunedTable
from cloud.training.baselines.score_list import ScoreList
from cloud.training.baselines.whole import WholeTable
from emulator.evaluation.peel_method import PeelMethod
from scenarios.language.schema import Model
from tests.benchmarks.worlds import SMALL, a_full, a_world
from wire.codecs import Codec
from wire.ranking_metrics import top_k

WORLD = a_world()
FULL = a_full(WORLD)
EVERYBODY = np.arange(WORLD.n_users)


def asked(full: FullModel) -> Population:
    return Population("members", full, WORLD, EVERYBODY, None)


@functools.cache
def learned() -> FullModel:
    return learn_full(WORLD, SMALL)


def order(method: CompressionMethod, full: FullModel, budget: int) -> list[list[int]]:
    candidate = method.fit(full, WORLD).at(budget)
    assert candidate is not None
    ranked: list[list[int]] = top_k(candidate.scores(EVERYBODY), 10).tolist()
    return ranked


@pytest.mark.parametrize(
    "method",
    [
        HeadItems("head:fp32", Precision.FP32),
        FirstColumns("first-k", rotate=False, precisions=(Precision.FP32,)),
        FirstColumns("svd", rotate=True, precisions=(Precision.FP32,)),
    ],
    ids=lambda method: method.name,
)
def test_a_full_budget_in_fp32_ranks_as_the_full_table(method: CompressionMethod) -> None:
    whole = order(WholeTable("full", Precision.FP32), FULL, FULL.bytes)
    assert order(method, FULL, FULL.bytes) == whole


def test_pruning_nothing_ranks_as_the_full_table() -> None:
    candidate = PrunedTable().fit(FULL, WORLD).at(2 * FULL.bytes)
    assert candidate is not None
    whole = order(WholeTable("full", Precision.FP32), FULL, FULL.bytes)
    agreeing = np.mean(np.array(whole) == top_k(candidate.scores(EVERYBODY), 10))
    assert agreeing > 0.9  # int8 may be chosen: validation decides


def test_rotation_keeps_rankings_and_orders_dimensions() -> None:
    users, items = rotate_tables(FULL)
    before, after = FULL.users @ FULL.items.T, users @ items.T
    shift = before - after  # the mean item's score: one number per user
    assert np.allclose(shift, shift[:, :1], atol=1e-4)
    energy = np.square(users).sum(axis=0)
    assert (np.diff(energy) <= 1e-3).all()


def test_rotation_puts_a_model_of_rank_two_into_two_columns() -> None:
    rng = np.random.default_rng(1)
    users, mix = rng.standard_normal((20, 2)), rng.standard_normal((2, 8))
    items = rng.standard_normal((30, 2))
    new_users, new_items = rotate_tables(
        FullModel(SMALL, (users @ mix).astype(np.float32), (items @ mix).astype(np.float32))
    )
    assert np.abs(new_users[:, 2:] @ new_items[:, 2:].T).max() < 1e-3


def test_head_items_leave_the_others_out() -> None:
    candidate = HeadItems("head:fp32", Precision.FP32).fit(FULL, WORLD).at(5 * 8 * 4 + 31)
    assert candidate is not None
    assert candidate.bytes == 5 * 8 * 4
    scores = candidate.scores(EVERYBODY)
    assert np.isfinite(scores[:, :5]).all()
    assert (scores[:, 5:] == -np.inf).all()


def test_a_method_of_one_size_has_one_row() -> None:
    rows = [(each.bytes, each.budget_share) for each in measure(ScoreList(), asked(FULL), (0.01, 0.5))]
    assert rows == [(48, 48 / FULL.bytes)]


def test_peel_with_everything_held_is_about_as_good_as_the_full_table() -> None:
    model = Model(training=SMALL, codec=Codec.FP32, layers=10_000)
    peel = PeelMethod("peel:fp32", model, train_cached)
    (ours,) = measure(peel, asked(learned()), (1.1,))
    (full,) = measure(WholeTable("full", Precision.FP32), asked(learned()), (1.0,))
    assert ours.scored.means()["ndcg_at_20"] > 0.95 * full.scored.means()["ndcg_at_20"]


@pytest.mark.parametrize(
    "method",
    [NarrowModel("retrained:int8", Precision.INT8), DistilledModel(), MatryoshkaModel()],
    ids=lambda method: method.name,
)
def test_trained_methods_learn_a_world_of_two_kinds_in_few_bytes(method: CompressionMethod) -> None:
    (result,) = measure(method, asked(learned()), (0.25,))
    assert result.scored.means()["ndcg_at_20"] > 0.6  # chance is about .3
