import numpy as np
import pytest
import torch
from msgspec.structs import replace

from cloud.blocks.block_weights import closed_form_weights, second_moment
from cloud.data.interactions import Interactions
from cloud.training.config import Controller, Guard, Training
from cloud.training.controller.correction import soft_gates
from cloud.training.controller.learn import ControllerResult, learn_block_weights
from cloud.training.group_tables import GroupTables, share_global_table
from cloud.training.item_weights import group_item_weights, partition_table
from cloud.training.loop import Factors
from tests.cloud.worlds import an_evaluator, checkerboard, ignore
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray


def test_gates_open_with_the_budget_and_never_shut_the_floor() -> None:
    logits = torch.tensor([[0.0, -1.0, -2.0], [-5.0, -6.0, -9.0]])
    narrow, wide = (soft_gates(logits, budget, 0.5) for budget in (0.2, 0.7))
    assert narrow[:, 0].tolist() == [1.0, 1.0]
    assert (wide >= narrow).all()
    assert soft_gates(logits, 0.5, 1e-3).round().tolist() == [[1, 1, 1], [1, 0, 0]]


def test_opening_all_gates_alike_changes_nothing_and_is_not_rewarded() -> None:
    logits = torch.tensor([[3.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]], requires_grad=True)
    gates = soft_gates(logits, 0.4, 0.5)
    torch.testing.assert_close(soft_gates(logits + 7, 0.4, 0.5), gates)
    (slope,) = torch.autograd.grad(gates[:, 1:].sum(), logits)
    assert slope.sum().item() == pytest.approx(0, abs=1e-5)
    (slope,) = torch.autograd.grad(soft_gates(logits, 0.4, 0.5)[0, 2], logits)
    assert [value > 0 for value in slope[0].tolist()] == [False, False, True, False, False, False, False]


def misleading_model(world: Interactions) -> GroupTables:
    """Dimension 0 is loud and means nothing; dimension 1 is quiet and knows who likes what."""
    parity = np.arange(40) % 2
    noise = stream(0, "noise").normal(0, 2, 40)
    users = np.stack([np.ones(40), np.where(parity == 0, 1, -1)], axis=1)
    table = np.stack([noise, np.where(np.arange(world.n_items) % 2 == 0, 1, -1)], axis=1)
    factors = Factors(users.astype(np.float32), table.astype(np.float32))
    return share_global_table(factors, np.zeros(40, np.int64), 0.0)


CONFIG = Training(
    dim=2, slice_width=1, item_groups=1, controller=Controller(enabled=True, steps=200, reach=3.0)
)


def weighed(model: GroupTables, config: Training) -> tuple[ControllerResult, FloatArray]:
    """Return what the controller leaves, and the weights of the only group that follow from it."""
    world = checkerboard()
    partition = partition_table(40, model.users.shape[1], config)
    items = group_item_weights(model.groups, world)
    actual = learn_block_weights(model, items, world, config, partition, an_evaluator(partition), ignore)
    closed = closed_form_weights(model.tables[0], second_moment(model.users), items[0], partition)
    return actual, np.asarray(closed * actual.corrections[0])


def test_the_controller_learns_what_validation_likes_where_energy_misleads() -> None:
    model = misleading_model(checkerboard())
    actual, weights = weighed(model, CONFIG)
    off, closed = weighed(model, replace(CONFIG, controller=Controller(enabled=False)))
    assert closed[0].argmax() == 0
    assert weights[0].argmax() == 1
    (entry,) = actual.report.groups
    assert (entry["kept"], entry["judges"]) == (True, 20)
    before, after = entry["valid_ndcg_at_20_closed_form"], entry["valid_ndcg_at_20_learned"]
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert after > before + 0.2
    assert (off.report.summary, off.report.groups) == ({"enabled": False}, [])
    assert (off.corrections == 1).all()


def test_a_correction_that_does_not_convince_is_not_kept() -> None:
    actual, weights = weighed(
        misleading_model(checkerboard()), replace(CONFIG, guard=Guard(standard_errors=100))
    )
    assert actual.report.groups[0]["kept"] is False
    assert (actual.corrections == 1).all()
    assert weights[0].argmax() == 0


def test_weights_are_learned_from_nothing() -> None:
    world = checkerboard()
    model = misleading_model(world)
    still = Controller(
        enabled=True, learns="weights", steps=200, learning_rate=0.05, table_learning_rate=1e-6
    )
    _, weights = weighed(model, replace(CONFIG, controller=still, guard=Guard(enabled=False)))
    assert weights[0].argmax() == 1
    assert weights.sum() == pytest.approx(1)


def test_weights_that_begin_alike_need_a_step_to_differ() -> None:
    model = misleading_model(checkerboard())
    controller = Controller(
        enabled=True, learns="weights", steps=1, learning_rate=1e-6, table_learning_rate=1e-6
    )
    _, weights = weighed(model, replace(CONFIG, controller=controller, guard=Guard(enabled=False)))
    np.testing.assert_allclose(weights, [[0.5, 0.5]], atol=1e-4)


def test_weights_see_how_the_table_would_learn() -> None:
    """The copy of the table unlearns its noise on training data, which makes the noisy block less bad."""
    model, before = misleading_model(checkerboard()), misleading_model(checkerboard()).tables[0]
    weights = {}
    for rate in (1e-6, 0.05):
        controller = Controller(enabled=True, learns="weights", steps=60, table_learning_rate=rate)
        _, weights[rate] = weighed(model, replace(CONFIG, controller=controller, guard=Guard(enabled=False)))
    assert weights[0.05][0, 1] > 0.6
    assert weights[1e-6][0, 1] > weights[0.05][0, 1]
    np.testing.assert_array_equal(model.tables[0], before)  # the table that ships is as it was


def test_corrections_of_blocks_that_say_nothing_are_positive_and_finite() -> None:
    nothing = np.zeros((40, 4), np.float32)
    empty = share_global_table(Factors(nothing, nothing), np.zeros(40, np.int64), 0.0)
    for learns in ("correction", "weights"):
        controller = Controller(enabled=True, learns=learns, steps=3)
        actual, _ = weighed(
            empty,
            Training(dim=4, slice_width=2, item_groups=4, controller=controller, guard=Guard(enabled=False)),
        )
        assert actual.corrections.shape == (1, 4, 2)
        assert actual.corrections.dtype == np.float32
        assert (actual.corrections > 0).all()
        assert np.isfinite(actual.corrections).all()
