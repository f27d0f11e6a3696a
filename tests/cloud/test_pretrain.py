import math

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from cloud.backbones.mf import dropped, multinomial_loss, slice_similarity, user_weights
from cloud.descent import BestSoFar, batches, descend, generator
from cloud.pretrain import pretrain
from cloud.ranking import ndcg_per_user
from tests.cloud.worlds import SMALL, checkerboard, ignore
from wire.errors import RunError
from wire.metrics import ItemLists


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
    for factor, found in ((math.nan, "nan"), (math.inf, "inf")):
        with pytest.raises(RunError, match=rf"epoch 3: the loss is {found}; learning_rate\(=7.0\) may be"):
            descend(torch.optim.Adam([table]), (table * factor).sum(), "pretraining in epoch 3", 7.0)
    assert table.tolist() == [1, 1, 1]


def test_the_loss_is_the_mean_surprise_of_the_wanted() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3), 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    wanted = ItemLists.of_pairs(np.array([0, 0, 1]), np.array([1, 2, 1]), 3)
    weights = user_weights(wanted.counts(), 1.0)  # 2, 1, 0
    expected = (2 * math.log(4) + 1 * math.log(2)) / 3
    assert multinomial_loss(scores, wanted, weights).item() == pytest.approx(expected)


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


def test_dropout_keeps_the_mean() -> None:
    found = dropped(torch.ones(200, 200), 0.45, generator(0, "dropout"))
    assert sorted(set(found.flatten().tolist())) == pytest.approx([0.0, 1 / 0.55])
    assert found.mean().item() == pytest.approx(1.0, abs=0.02)


def test_batches_are_every_user_once() -> None:
    found = list(batches(np.arange(10), 4, generator(0, "batches")))
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert sorted(np.concatenate(found).tolist()) == list(range(10))


def test_the_best_is_kept_until_patience_ends() -> None:
    best = BestSoFar(patience=2)
    stops = [
        best.look(score, epoch, torch.tensor([score])) for epoch, score in enumerate([1.0, 3.0, 2.0, 3.0])
    ]
    assert (stops, best.epoch, best.tables[0].tolist()) == ([False, False, False, True], 1, [3.0])


def test_without_validation_the_last_is_kept() -> None:
    best = BestSoFar(patience=1)
    stops = [best.look(math.nan, epoch, torch.tensor([float(epoch)])) for epoch in range(3)]
    assert (stops, best.epoch, best.tables[0].tolist()) == ([False] * 3, 2, [2.0])
