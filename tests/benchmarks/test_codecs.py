"""The codecs' costs on a small model: every codec at every budget, and figures that hang together."""

import pytest

from benchmarks.codecs import SMALL, SMALL_TRAINING, as_table, largest_group, measure, peak_bytes
from cloud.blocks.trained_model import TrainedModel
from cloud.data.load import load
from cloud.training.train import train
from wire.codecs import Codec


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return largest_group(train(load(SMALL), SMALL_TRAINING, lambda _: None))


def test_the_largest_group_stands_alone(model: TrainedModel) -> None:
    assert (len(model.item_tables), model.item_weights.shape, model.corrections.shape[0]) == (1, (1, 200), 1)
    assert len(model.user_vectors) == len(model.user_groups) >= 100


@pytest.mark.parametrize("codec", Codec)
def test_a_codec_costs_more_at_larger_budgets_and_less_memory_when_lean(
    model: TrainedModel, codec: Codec
) -> None:
    costs = list(measure(model, SMALL_TRAINING, codec, 1, (0.0005, 0.05, 1.0)))
    assert [cost.budget_share for cost in costs] == [0.05, 1.0]  # 6 bytes are no block
    few, all_ = costs
    assert few.held_bytes <= few.budget_bytes == 640
    assert (few.blocks < all_.blocks, few.held_bytes < all_.held_bytes) == (True, True)
    table_bytes = 4 * 200 * 16
    for cost in costs:
        assert 0 < cost.grow_blocks <= cost.blocks
        assert cost.table_working_bytes >= table_bytes
        assert cost.lean_working_bytes < cost.table_working_bytes
    assert as_table(costs, codec).row_count == 2


def test_the_peak_counts_what_was_held_at_once() -> None:
    def one_after_the_other() -> None:
        for _ in range(4):
            bytearray(100_000)

    def together() -> None:
        assert len([bytearray(100_000) for _ in range(4)]) == 4

    assert 100_000 <= peak_bytes(one_after_the_other) < 200_000
    assert 400_000 <= peak_bytes(together) < 500_000
