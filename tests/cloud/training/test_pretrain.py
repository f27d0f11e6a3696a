import dataclasses
import math
from typing import Literal

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from cloud.training.backbones.mf import dropout, mean_square_length, multinomial_loss, user_weights
from cloud.training.config import LeastSquares
from cloud.training.cosine_settings import CosineSoftmax
from cloud.training.diversity import diversity_term, neighbour_distance, slice_similarity
from cloud.training.evaluation import ValidationQuality, ndcg_per_user, prefer
from cloud.training.loop import EarlyStopping, batches, generator, gradient_step
from cloud.training.pretrain import CANDIDATES, fix_settings, pretrain
from tests.cloud.worlds import SMALL, checkerboard, ignore
from wire.errors import RunError
from wire.ranking_metrics import ItemLists


def test_the_checkerboard_is_learned() -> None:
    world = checkerboard()
    factors, _ = pretrain(world, SMALL, ignore)
    scores = factors.users @ factors.items.T
    likes = np.add.outer(np.arange(40), np.arange(40)) % 2 == 0
    assert (scores[likes].reshape(40, 20).min(axis=1) > scores[~likes].reshape(40, 20).max(axis=1)).all()
    assert ndcg_per_user(factors.users, factors.items, world.known, world.test).tolist() == [1.0] * 40


def test_progress_is_told_in_order() -> None:
    heard: list[tuple[int, int]] = []
    config = replace(SMALL, epochs=7, evaluate_every=3)
    pretrain(checkerboard(), config, lambda done, total, note: heard.append((done, total)))
    assert heard == [(3, 7), (6, 7), (7, 7)]


def test_a_loss_that_is_no_number_stops_training() -> None:
    table = torch.ones(3, requires_grad=True)
    for factor, actual in ((math.nan, "nan"), (math.inf, "inf")):
        with pytest.raises(RunError, match=rf"epoch 3: the loss is {actual}; learning_rate\(=7.0\) may be"):
            gradient_step(torch.optim.Adam([table]), (table * factor).sum(), "pretraining in epoch 3", 7.0)
    assert table.tolist() == [1, 1, 1]


def test_the_loss_is_the_mean_surprise_of_the_wanted() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3), 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    wanted = ItemLists.of_pairs(np.array([0, 0, 1]), np.array([1, 2, 1]), 3)
    weights = user_weights(wanted.counts(), 1.0)  # 2, 1, 0
    expected = (2 * math.log(4) + 1 * math.log(2)) / 3
    assert multinomial_loss(scores, wanted, weights).item() == pytest.approx(expected)


def test_the_gradient_of_the_loss_is_that_of_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(rng.random((5, 9)) < 0.3)
    wanted, weights = ItemLists.of_pairs(rows, columns, 6), torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 0.0])
    actual, expected = (torch.randn(6, 9, generator=generator(0, "s")).requires_grad_() for _ in range(2))
    multinomial_loss(actual, wanted, weights).backward()  # type: ignore[no-untyped-call]
    targets = torch.zeros(6, 9)
    targets[rows, columns] = torch.from_numpy(1 / wanted.counts()[rows]).float()
    losses = torch.nn.functional.cross_entropy(expected, targets, reduction="none")
    ((losses * weights).sum() / weights.sum()).backward()  # type: ignore[no-untyped-call]
    assert actual.grad is not None
    assert expected.grad is not None
    torch.testing.assert_close(actual.grad, expected.grad)
    assert actual.grad.abs().max() > 0.01


def test_slices_that_are_the_same_are_similar_and_orthogonal_ones_are_not() -> None:
    column = torch.tensor([1.0, 2.0, 3.0])
    other = torch.tensor([3.0, 0.0, -1.0])
    assert slice_similarity(torch.stack([column, 2 * column, -column], dim=1), 1).item() == pytest.approx(3)
    assert slice_similarity(torch.stack([column, other], dim=1), 1).item() == pytest.approx(0)
    assert slice_similarity(torch.stack([column, other, column], dim=1), 2).item() == pytest.approx(
        14 / 24 / 1
    )


def test_diversity_keeps_slices_apart() -> None:
    without, with_it = (
        pretrain(checkerboard(), replace(SMALL, diversity=strength), ignore)[1]["slice_similarity"]
        for strength in (0.0, 1.0)
    )
    assert isinstance(without, float)
    assert isinstance(with_it, float)
    assert with_it < 0.5 * without


def test_the_authors_form_is_the_squared_distance_of_neighbouring_slices() -> None:
    table = torch.tensor([[1.0, 2.0, 5.0], [0.0, 2.0, 5.0]])
    assert neighbour_distance(table, 1).item() == pytest.approx(((1 + 4) + (9 + 9)) / 2)
    assert neighbour_distance(table, 2).item() == pytest.approx(((1 - 5) ** 2 + 4 + 25 + 4) / 2)
    assert neighbour_distance(table, 3).item() == 0
    config = replace(SMALL, diversity=0.01, diversity_form="unbounded", slice_width=1)
    assert diversity_term(table, config).item() == pytest.approx(-0.01 * 11.5)
    assert diversity_term(10 * table, config).item() == pytest.approx(-1.0 * 11.5)  # no lower bound


def test_within_its_limit_l2_holds_the_unbounded_form() -> None:
    table = torch.tensor([[1.0, -1.0] * 4])  # neighbours differ as much as their lengths allow
    config = replace(SMALL, diversity=SMALL.l2 / 4, diversity_form="unbounded", slice_width=1)
    for scale in (1.0, 10.0, 1000.0):
        held = config.l2 * mean_square_length(scale * table) + diversity_term(scale * table, config)
        assert held.item() > 0


def test_dropout_keeps_the_mean() -> None:
    actual = dropout(torch.ones(200, 200), 0.45, generator(0, "dropout"))
    assert sorted(set(actual.flatten().tolist())) == pytest.approx([0.0, 1 / 0.55])
    assert actual.mean().item() == pytest.approx(1.0, abs=0.02)


def test_batches_are_every_user_once() -> None:
    actual = list(batches(np.arange(10), 4, generator(0, "batches")))
    assert [len(batch) for batch in actual] == [4, 4, 2]
    assert sorted(np.concatenate(actual).tolist()) == list(range(10))


def test_the_best_is_kept_until_patience_ends() -> None:
    best = EarlyStopping(patience=2)
    stops = [
        best.update(score, epoch, torch.tensor([score])) for epoch, score in enumerate([1.0, 3.0, 2.0, 3.0])
    ]
    assert (stops, best.epoch, best.tables[0].tolist()) == ([False, False, False, True], 1, [3.0])


def test_without_validation_the_last_is_kept() -> None:
    best = EarlyStopping(patience=1)
    stops = [best.update(math.nan, epoch, torch.tensor([float(epoch)])) for epoch in range(3)]
    assert (stops, best.epoch, best.tables[0].tolist()) == ([False] * 3, 2, [2.0])


def test_least_squares_double_their_regularization_while_validation_gains() -> None:
    """Little l2 lets forty users be learned by heart; the outcome is that of the best attempt alone."""
    world = checkerboard()
    start = LeastSquares(l2=1e-4, epochs=8, l2_doublings=12)
    factors, report = pretrain(world, replace(SMALL, backbone="ials", ials=start), ignore)
    tried = report["tried"]
    assert isinstance(tried, list)
    assert [each["l2"] for each in tried] == [1e-4 * 2**doubling for doubling in range(len(tried))]
    scores = [each["valid_ndcg_at_20"] for each in tried]
    assert report["valid_ndcg_at_20"] == max(scores)
    assert scores[:-1] == sorted(scores[:-1])
    alone = LeastSquares(l2=report["l2"], epochs=8, l2_doublings=0)  # type: ignore[arg-type]  # a number
    again, _ = pretrain(world, replace(SMALL, backbone="ials", ials=alone), ignore)
    np.testing.assert_array_equal(factors.items, again.items)


# --- what validation chooses ------------------------------------------------------------------------

SEARCH = replace(
    SMALL, backbone="auto", ials=LeastSquares(epochs=4, l2=0.1), cosine=CosineSoftmax(rounds=2, batch_size=32)
)


def quality(ndcg: list[float], tail_recall: float) -> ValidationQuality:
    return ValidationQuality(np.array(ndcg), tail_recall)


def test_of_those_as_good_as_the_best_the_better_tail_is_preferred() -> None:
    best = quality([0.5, 0.7, 0.6, 0.8], 0.1)
    as_good = quality([0.7, 0.5, 0.8, 0.5], 0.2)  # .025 less, with a standard error of .11
    worse = quality([0.4, 0.6, 0.5, 0.7], 0.9)  # .1 less for every user
    assert prefer([best, as_good, worse]) == 1
    assert prefer([worse, best]) == 1
    assert prefer([best, best]) == 0
    assert prefer([quality([], 0.0), quality([], 1.0)]) == 0  # nobody to ask


def test_auto_is_the_backbone_that_validation_prefers() -> None:
    world = checkerboard()
    factors, report = pretrain(world, SEARCH, ignore)
    compared = report["compared"]
    assert isinstance(compared, list)
    assert [each["backbone"] for each in compared] == list(CANDIDATES)
    chosen = next(each for each in compared if each["backbone"] == report["backbone"])
    assert chosen["valid_ndcg_at_20"] == report["valid_ndcg_at_20"]
    alone, _ = pretrain(world, replace(SEARCH, backbone=chosen["backbone"]), ignore)
    np.testing.assert_array_equal(factors.items, alone.items)
    np.testing.assert_array_equal(factors.users, alone.users)


@pytest.mark.parametrize("backbone", ["ials", "cosine", "mf"])
def test_to_refit_is_to_learn_from_all_known_with_what_was_chosen(
    backbone: Literal["ials", "cosine", "mf"],
) -> None:
    world = checkerboard()
    config = replace(SEARCH, backbone=backbone, epochs=8, evaluate_every=2)
    searched = pretrain(world, config, ignore)[1]
    factors, report = pretrain(world, replace(config, refit=True), ignore)
    assert report == searched | {"refit": True}
    fixed = fix_settings(config, searched)
    nothing = ItemLists.of_pairs(np.empty(0, np.int64), np.empty(0, np.int64), world.n_users)
    more = dataclasses.replace(world, train=world.known, valid=nothing)
    expected, _ = pretrain(more, fixed, ignore)
    np.testing.assert_array_equal(factors.items, expected.items)
