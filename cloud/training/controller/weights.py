"""The block weights themselves, as in the paper: one network per user group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.blocks.block_weights import closed_form_weights
from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.training.backbones.mf import dropout, multinomial_loss, user_weights
from cloud.training.config import Training
from cloud.training.controller.common import (
    LearnedWeights,
    broadcast,
    group_second_moment,
    item_group_popularity,
    validation_loss,
)
from cloud.training.group_tables import GroupTables
from cloud.training.loop import Tick, generator, gradient_step
from cloud.training.validation_guard import (
    ValidationUsers,
)
from wire.geometry import Float32Array
from wire.ranking_metrics import FloatArray, ItemLists

MIN_WEIGHT = 1e-30  # of a correction: a weight that was learned to be 0 stays positive


@dataclass(frozen=True, eq=False)
class WeightNet:
    """The paper's controller: ``inner`` (2 M + 1, H) with a bias row, ``outer`` (H, M * N).

    It sees the popularity and the training loss of every item group, and ends in a softmax.
    """

    inner: Tensor
    outer: Tensor

    def __call__(self, popularity: Tensor, losses: Tensor) -> Tensor:
        """Return the weight of every block, shape (M, N), from two features of shape (M,).

        The mean is 1 in place of the softmax's 1 / (M N): the same weights up to a constant that the
        table would have to make up for.
        """
        features = torch.cat([popularity, _centred(losses)])  # (2 M,)
        hidden = torch.tanh(features @ self.inner[:-1] + self.inner[-1])  # (H,)
        weights = torch.softmax(hidden @ self.outer, dim=0) * self.outer.shape[1]
        return weights.reshape(len(popularity), -1)


def learn_weights(
    model: GroupTables,
    closed: FloatArray,
    item_weights: Float32Array,
    learning: Sequence[ValidationUsers],
    interactions: Interactions,
    config: Training,
    cut: Partition,
    tick: Tick,
) -> LearnedWeights:
    """Learn each group's weights and table in turns, and fold the weights into the table.

    The closed form is not used; corrections are what makes learned weights of the folded table's own.
    """
    popularity = np.log(item_group_popularity(item_weights, cut))  # (G, M)
    tables, corrections = [], []
    for group, task in enumerate(learning):
        features = _centred(torch.from_numpy(popularity[group].astype(np.float32)))
        table, weights = _alternate(model, group, features, task, interactions, config, cut)
        again = closed_form_weights(table, group_second_moment(model, group), item_weights[group], cut)
        tables.append(table)
        corrections.append(np.maximum(weights / weights.sum(), MIN_WEIGHT) / again)
        tick(group + 1, len(learning), f"group {group}: {len(task.users)} users to learn from")
    return LearnedWeights(tuple(tables), corrections)


def _alternate(
    model: GroupTables,
    group: int,
    popularity: Tensor,
    task: ValidationUsers,
    interactions: Interactions,
    config: Training,
    cut: Partition,
) -> tuple[Float32Array, FloatArray]:
    """Return one group's table with its weights folded in, shape (I, d), and the weights, (M, N)."""
    settings, members = config.controller, model.members(group)
    rng = generator(config.seed, "controller", "weights", group)
    weigher = _new_weight_net(cut.shape, settings.hidden, rng)
    train = interactions.train.take(members)
    importance = user_weights(train.counts(), config.user_weight_exponent)
    vectors = torch.from_numpy(model.users[members])  # (n_g, d)
    judges = torch.from_numpy(model.users[task.users])  # (n, d)
    table = torch.from_numpy(model.tables[group]).clone().requires_grad_()  # (I, d)
    inner = torch.optim.Adam([table], lr=settings.table_learning_rate)
    outer = torch.optim.Adam([weigher.inner, weigher.outer], lr=settings.learning_rate)
    losses = torch.zeros(cut.shape[0])  # (M,)
    for step in range(1, settings.steps + 1):
        doing = f"the controller of group {group} in step {step}"
        batch = torch.randperm(len(members), generator=rng).numpy()[: settings.batch_size]  # (B,)
        entries = broadcast(weigher(popularity, losses).detach(), cut)  # (I, d)
        scores = dropout(vectors[batch], config.dropout, rng) @ (table * entries).T  # (B, I)
        loss = multinomial_loss(scores, train.take(batch), importance[batch])
        gradient_step(inner, loss, doing, settings.table_learning_rate)
        losses = _losses_by_item_group(scores.detach(), train.take(batch), cut)
        if not len(task.users):
            continue
        batch = torch.randperm(len(judges), generator=rng).numpy()[: settings.batch_size]
        entries = broadcast(weigher(popularity, losses), cut)
        scores = judges[batch] @ (table.detach() * entries).T
        loss = validation_loss(scores, task.known.take(batch), task.wanted.take(batch))
        gradient_step(outer, loss, doing, settings.learning_rate)
    weights = weigher(popularity, losses).detach()
    folded = (table.detach() * broadcast(weights, cut)).numpy()
    return folded, weights.numpy().astype(np.float64)


def _losses_by_item_group(scores: Tensor, wanted: ItemLists, cut: Partition) -> Tensor:
    """Return the mean of -log softmax(score) of *wanted* items by item group, 0 for none, shape (M,)."""
    users, items = wanted.pairs()
    surprises = -torch.log_softmax(scores, dim=1).numpy()[users, items]
    places = cut.item_groups()[items]
    counts = np.bincount(places, minlength=cut.shape[0])
    sums = np.bincount(places, surprises, minlength=cut.shape[0])
    return torch.from_numpy((sums / np.maximum(counts, 1)).astype(np.float32))


def _new_weight_net(shape: tuple[int, int], hidden: int, rng: torch.Generator) -> WeightNet:
    n_features = 2 * shape[0]
    inner = torch.randn(n_features + 1, hidden, generator=rng) / (n_features + 1) ** 0.5
    outer = torch.zeros(hidden, shape[0] * shape[1])  # all blocks weigh alike at first
    return WeightNet(inner.requires_grad_(), outer.requires_grad_())


def _centred(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std(correction=0).clamp(min=1e-6)
