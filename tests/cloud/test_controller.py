import numpy as np
import pytest
import torch
from msgspec.structs import replace

from cloud.config import Controller, Training
from cloud.controller import closed_form_weights, cut_table, group_popularity, soft_gates, weigh
from cloud.interactions import Interactions, item_group_bounds
from cloud.refine import GroupTables
from tests.cloud.worlds import checkerboard, ignore
from wire.streams import stream


def test_the_closed_form_is_the_sum_it_says() -> None:
    world, rng = checkerboard(40, 10), stream(0, "controller")
    groups = np.arange(40) % 2
    model = GroupTables(
        rng.normal(size=(40, 5)).astype(np.float32), groups, rng.normal(size=(2, 10, 5)).astype(np.float32)
    )
    config = Training(dim=5, slice_width=2, item_groups=3)
    weights = closed_form_weights(model, world, cut_table(10, 5, config))
    popularity, bounds = group_popularity(model, world), item_group_bounds(10, 3)
    expected = np.zeros((2, 3, 3))
    for g, m, n in np.ndindex(2, 3, 3):
        for i in range(bounds[m], bounds[m + 1]):
            for k in range(2 * n, min(2 * n + 2, 5)):
                energy = np.mean(model.users[groups == g, k].astype(np.float64) ** 2)
                expected[g, m, n] += popularity[g, i] * energy * float(model.tables[g, i, k]) ** 2
    np.testing.assert_allclose(weights, expected / expected.sum(axis=(1, 2), keepdims=True), rtol=1e-9)


def test_popularity_is_the_groups_own_and_a_little_of_all() -> None:
    world = checkerboard()
    parity = np.arange(40) % 2
    model = GroupTables(np.ones((40, 2), np.float32), parity, np.ones((2, 40, 2), np.float32))
    shares = group_popularity(model, world)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[0, parity == 0].sum() == pytest.approx((1 + 0.5 * 0.5) / 1.5, abs=0.01)
    assert (shares > 0).all()


def test_blocks_that_say_nothing_still_have_a_positive_weight() -> None:
    model = GroupTables(
        np.zeros((40, 4), np.float32), np.zeros(40, np.int64), np.zeros((1, 40, 4), np.float32)
    )
    config = Training(dim=4, item_groups=4, min_group_size=5, threads=1)
    weights, _ = weigh(model, checkerboard(), config, ignore)
    assert weights.shape == (1, 4, 2)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert np.isfinite(weights).all()


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
    return GroupTables(users.astype(np.float32), np.zeros(40, np.int64), table[None].astype(np.float32))


def test_the_controller_learns_what_validation_likes_where_energy_misleads() -> None:
    world = checkerboard()
    config = Training(dim=2, slice_width=1, item_groups=1, controller=Controller(steps=200, reach=3.0))
    learned, report = weigh(misleading_model(world), world, config, ignore)
    closed, off = weigh(
        misleading_model(world), world, replace(config, controller=Controller(enabled=False)), ignore
    )
    assert closed[0, 0].argmax() == 0
    assert learned[0, 0].argmax() == 1
    assert learned[0].sum() == pytest.approx(1)
    assert (report["kept_in_groups"], off) == (1, {"enabled": False})


def test_a_correction_that_does_not_pay_is_not_kept() -> None:
    world = checkerboard()
    config = Training(
        dim=2, slice_width=1, item_groups=1, controller=Controller(steps=200, standard_errors=100)
    )
    weights, report = weigh(misleading_model(world), world, config, ignore)
    assert report["kept_in_groups"] == 0
    assert weights[0, 0].argmax() == 0
