"""The block weights themselves, as in the paper: one network per user group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.controller.common import (
    broadcast,
    item_group_popularity,
    validation_loss,
)
from cloud.training.group_loss import GroupLoss
from cloud.training.group_tables import GroupTables
from cloud.training.loop import Tick, generator, gradient_step
from cloud.training.validation_guard import (
    ValidationUsers,
)
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, ItemLists

MIN_WEIGHT = 1e-30  # smallest weight: corrections must be positive


@dataclass(frozen=True, eq=False)
class WeightNet:
    """The paper's controller: ``inner`` (2 M + 1, H) with a bias row, ``outer`` (H, M * N).

    Its input is the popularity and the training loss of every item group; its output layer is a softmax.
    """

    inner: Tensor
    outer: Tensor

    def __call__(self, popularity: Tensor, losses: Tensor) -> Tensor:
        """Return the weight of every block, shape (M, N), from two features of shape (M,).

        The mean is 1 instead of the softmax's 1 / (M N): the same weights up to a constant, which the table
        would have to compensate.
        """
        features = torch.cat([popularity, _standardise(losses)])  # (2 M,)
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
    partition: Partition,
    tick: Tick,
) -> list[FloatArray]:
    """Learn each group's weights, in turns with a copy of its table; the table itself stays as it is.

    The closed form is not used; the corrections turn the closed-form weights into the learned ones.
    """
    popularity = np.log(item_group_popularity(item_weights, partition))  # (G, M)
    corrections = []
    for group, validation in enumerate(learning):
        features = _standardise(torch.from_numpy(popularity[group].astype(np.float32)))
        weights = _alternate(model, group, features, validation, interactions, config, partition)
        corrections.append(np.maximum(weights / weights.sum(), MIN_WEIGHT) / closed[group])
        tick(group + 1, len(learning), f"group {group}: {len(validation.users)} users to learn from")
    return corrections


def _alternate(
    model: GroupTables,
    group: int,
    popularity: Tensor,
    validation: ValidationUsers,
    interactions: Interactions,
    config: Training,
    partition: Partition,
) -> FloatArray:
    """Return the weights of one group's blocks, shape (M, N)."""
    settings, members = config.controller, model.members(group)
    rng = generator(config.seed, "controller", "weights", group)
    weight_net = _new_weight_net(partition.shape, settings.hidden, rng)
    train = interactions.train.take(members)
    vectors = torch.from_numpy(model.users[members])  # (n_g, d)
    loss_of = GroupLoss.of(model.users[members], train, partition.n_items, config, rng)
    validation_vectors = torch.from_numpy(model.users[validation.users])  # (n, d)
    table = torch.from_numpy(model.tables[group]).clone().requires_grad_()  # (I, d)
    inner = torch.optim.Adam([table], lr=settings.table_learning_rate)
    outer = torch.optim.Adam([weight_net.inner, weight_net.outer], lr=settings.learning_rate)
    losses = torch.zeros(partition.shape[0])  # (M,)
    for step in range(1, settings.steps + 1):
        doing = f"the controller of group {group} in step {step}"
        batch = torch.randperm(len(members), generator=rng).numpy()[: settings.batch_size]  # (B,)
        entries = broadcast(weight_net(popularity, losses).detach(), partition)  # (I, d)
        gradient_step(inner, loss_of(table * entries, batch), doing, settings.table_learning_rate)
        scores = vectors[batch] @ (table.detach() * entries).T  # (B, I)
        losses = _losses_by_item_group(scores, train.take(batch), partition)
        if not len(validation.users):
            continue
        batch = torch.randperm(len(validation_vectors), generator=rng).numpy()[: settings.batch_size]
        entries = broadcast(weight_net(popularity, losses), partition)
        scores = validation_vectors[batch] @ (table.detach() * entries).T
        loss = validation_loss(scores, validation.known.take(batch), validation.relevant.take(batch))
        gradient_step(outer, loss, doing, settings.learning_rate)
    return weight_net(popularity, losses).detach().numpy().astype(np.float64)


def _losses_by_item_group(scores: Tensor, targets: ItemLists, partition: Partition) -> Tensor:
    """Return the mean of -log softmax(score) of *targets* by item group, 0 for none, shape (M,)."""
    users, items = targets.pairs()
    log_losses = -torch.log_softmax(scores, dim=1).numpy()[users, items]
    item_groups = partition.item_groups()[items]
    counts = np.bincount(item_groups, minlength=partition.shape[0])
    sums = np.bincount(item_groups, log_losses, minlength=partition.shape[0])
    return torch.from_numpy((sums / np.maximum(counts, 1)).astype(np.float32))


def _new_weight_net(shape: tuple[int, int], hidden: int, rng: torch.Generator) -> WeightNet:
    n_features = 2 * shape[0]
    inner = torch.randn(n_features + 1, hidden, generator=rng) / (n_features + 1) ** 0.5
    outer = torch.zeros(hidden, shape[0] * shape[1])  # equal weights at first
    return WeightNet(inner.requires_grad_(), outer.requires_grad_())


def _standardise(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std(correction=0).clamp(min=1e-6)
