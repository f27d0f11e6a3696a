"""The comparison of policies on a small model: all policies, fair budgets, and an exact that is the best."""

import numpy as np
import pytest

from benchmarks.selection import EXACT, FEW_LAYERS, Exact, Row, compare, cut_into_slices, full_ndcg
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import Synthetic
from cloud.training.config import Training
from cloud.training.train import train
from wire.codecs import Codec

WORLD = Synthetic(users=160, items=120, interactions_per_user=15, user_groups=2, item_kinds=4)
TRAINING = Training(dim=16, epochs=4, user_groups=2, item_groups=4)
SHARES = (0.001, 0.02, 0.05, 1.0)


@pytest.fixture(scope="module")
def world() -> tuple[Interactions, TrainedModel]:
    data = load(WORLD)
    return data, train(data, TRAINING, lambda _: None)


def compared(world: tuple[Interactions, TrainedModel], codec: Codec) -> tuple[list[Row], Exact]:
    data, trained = world
    return compare(data, *cut_into_slices(trained, TRAINING, codec), SHARES)


@pytest.mark.parametrize(
    ("codec", "policies"),
    [
        (Codec.CODED, ["weight", "popularity", "prefix", "random"]),
        (Codec.INT8, ["weight_per_byte", "popularity", "prefix", "random"]),
    ],
)
def test_policies_differ_between_nothing_and_everything(
    world: tuple[Interactions, TrainedModel], codec: Codec, policies: list[str]
) -> None:
    rows, exact = compared(world, codec)
    assert [row.policy for row in rows] == ["peel", FEW_LAYERS, EXACT, *policies]
    for row in rows:
        everything, full = row.ndcg[-1].mean(), full_ndcg(world[1])
        assert everything == pytest.approx(full, rel=0.05)  # int8 against fp32
    assert [store is None for store in exact.stores] == [True, False, False, False]
    assert np.isnan(rows[2].ndcg[0]).all()  # 7 bytes hold no block
    assert all(np.array_equal(row.ndcg[0], np.zeros_like(row.ndcg[0])) for row in [*rows[:2], *rows[3:]])


@pytest.mark.parametrize("codec", [Codec.CODED, Codec.INT8])
def test_the_best_subsets_fit_and_nothing_outweighs_them(
    world: tuple[Interactions, TrainedModel], codec: Codec
) -> None:
    _, exact = compared(world, codec)
    for share, store in zip(SHARES, exact.stores, strict=True):
        for group in store.groups if store else ():
            assert group.layers.bytes[-1] <= int(share * 120 * 16 * 4)
    assert exact.gaps
    for gap in exact.gaps:
        assert 0 < gap.layers_least <= gap.layers_mean <= gap.prefix_mean <= 1 + 1e-9
        assert gap.prefix_least <= gap.prefix_mean
        assert gap.floor_mean <= 1 + 1e-9
    assert exact.gaps[-1].prefix_least == pytest.approx(1.0)
