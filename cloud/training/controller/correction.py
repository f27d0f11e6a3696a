"""A correction of the closed-form weights: one network for all user groups."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.blocks.block_weights import second_moment
from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.training.config import Controller, Training
from cloud.training.controller.common import (
    broadcast,
    item_group_popularity,
    validation_loss,
)
from cloud.training.evaluation import SCORES_PER_BATCH
from cloud.training.group_tables import GroupTables
from cloud.training.loop import Tick, generator, gradient_step
from cloud.training.validation_guard import (
    ValidationUsers,
)
from wire.arrays import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray

MIN_ENERGY = 1e-12  # keeps the logarithm of an empty slice finite


@dataclass(frozen=True, eq=False)
class CorrectionNet:
    """The network of a correction: ``inner`` (F + 1, H) with a bias row, ``outer`` (H,)."""

    inner: Tensor
    outer: Tensor
    reach: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return the term to add to the logarithm of a weight, shape (..., F) to (...)."""
        hidden = torch.tanh(features @ self.inner[:-1] + self.inner[-1])  # (..., H)
        return self.reach * torch.tanh(hidden @ self.outer)


def learn_corrections(
    model: GroupTables,
    closed: FloatArray,
    item_weights: Float32Array,
    learning: Sequence[ValidationUsers],
    interactions: Interactions,
    config: Training,
    partition: Partition,
    tick: Tick,
) -> list[FloatArray]:
    """Learn one network of corrections on the *learning* half of each group's validation users."""
    settings = config.controller
    features = block_features(model, closed, item_weights, interactions, partition)  # (G, M, N, F)
    correction_net = _new_correction_net(features.shape[-1], settings, generator(config.seed, "controller"))
    rng = stream(config.seed, "controller", "tasks")
    open_groups = [group for group, validation in enumerate(learning) if len(validation.users)]
    optimizer = torch.optim.Adam([correction_net.inner, correction_net.outer], lr=settings.learning_rate)
    log_closed = torch.from_numpy(np.log(closed).astype(np.float32))  # (G, M, N)
    steps = settings.steps if open_groups else 0
    for step in range(1, steps + 1):
        group = int(rng.choice(open_groups))
        budget = float(np.exp(rng.uniform(np.log(settings.least_budget), np.log(settings.most_budget))))
        logits = log_closed[group] + correction_net(features[group])  # (M, N)
        gates = broadcast(soft_gates(logits, budget, settings.temperature), partition)  # (I, d)
        validation, table = learning[group], torch.from_numpy(model.tables[group])
        batch = rng.permutation(len(validation.users))[: settings.batch_size]  # (B,)
        scores = torch.from_numpy(model.users[validation.users[batch]]) @ (table * gates).T  # (B, I)
        loss = validation_loss(scores, validation.known.take(batch), validation.relevant.take(batch))
        gradient_step(optimizer, loss, f"the controller in step {step}", settings.learning_rate)
        if step % 20 == 0 or step == steps:
            tick(step, steps, f"validation loss {loss.item():.3f}")
    logarithms = correction_net(features).detach().numpy().astype(np.float64)  # (G, M, N)
    return list(np.exp(logarithms))


def block_features(
    model: GroupTables,
    closed: FloatArray,
    item_weights: Float32Array,
    interactions: Interactions,
    partition: Partition,
) -> Tensor:
    """Return the features of each block, shape (G, M, N, F), each standardised.

    In order: the logarithm of the closed form; of the item group's popularity in the user group; of the
    slice's energy in the whole table; the training loss on the item group; the index of the item group and
    of the slice; the logarithm of the user group's size.
    """
    n_groups, (n_rows, n_columns) = len(model.tables), partition.shape
    everywhere = np.ones((n_groups, n_rows, n_columns))
    popularity = item_group_popularity(item_weights, partition)  # (G, M)
    moments = [second_moment(table) * model.second_moments[group] for group, table in enumerate(model.tables)]
    energy = np.add.reduceat(np.stack(moments), partition.column_starts, axis=1)  # (G, N)
    sizes = np.bincount(model.groups, minlength=n_groups)
    features = [
        np.log(closed),
        np.log(popularity)[:, :, None] * everywhere,
        np.log(energy + MIN_ENERGY * (energy.sum() + 1))[:, None, :] * everywhere,
        item_group_losses(model, interactions, partition)[:, :, None] * everywhere,
        np.arange(n_rows)[None, :, None] * everywhere,
        np.arange(n_columns)[None, None, :] * everywhere,
        np.log(sizes)[:, None, None] * everywhere,
    ]
    return torch.from_numpy(
        np.stack([_standardise(group_result) for group_result in features], axis=-1).astype(np.float32)
    )


def item_group_losses(model: GroupTables, interactions: Interactions, partition: Partition) -> FloatArray:
    """Return the mean of -log softmax(score) of training interactions, by item group, shape (G, M)."""
    rows = partition.item_groups()
    losses = np.zeros((len(model.tables), partition.shape[0]))
    for group, table in enumerate(model.tables):
        batches = [
            (rows[items], values)
            for items, values in _log_losses(model, group, torch.from_numpy(table), interactions)
        ]
        item_groups, values = (np.concatenate(group_result) for group_result in zip(*batches, strict=True))
        counts = np.bincount(item_groups, minlength=partition.shape[0])
        losses[group] = np.bincount(item_groups, values, minlength=partition.shape[0]) / np.maximum(counts, 1)
    return losses


def _log_losses(
    model: GroupTables, group: int, table: Tensor, interactions: Interactions
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield, for batches of a group's members, their training items and -log softmax(score) of each."""
    members = model.members(group)
    size = max(1, SCORES_PER_BATCH // len(table))
    for start in range(0, len(members), size):
        batch = members[start : start + size]
        scores = torch.from_numpy(model.users[batch]) @ table.T  # (B, I)
        users, items = interactions.train.take(batch).pairs()
        yield items, -torch.log_softmax(scores, dim=1).numpy()[users, items].astype(np.float64)


def soft_gates(logits: Tensor, budget: float, temperature: float) -> Tensor:
    """Return the openness of each block at a budget, from 0 to 1, shape (M, N).

    sigmoid((logit - threshold) / temperature), with the threshold at which the gates sum to the budget; the
    floor, the best block of each item group, is open besides. The threshold depends on the logits, so that
    opening one block closes others a little. By the implicit function theorem its derivative is the mean of
    theirs, weighted by the slopes of the gates.

    Args:
        logits: logarithms of weights, shape (M, N).
        budget: share of all blocks that fit, between 0 and 1.
        temperature: softness.
    """
    detached = logits.detach()
    threshold = _threshold(detached, budget, temperature)
    gates = torch.sigmoid((detached - threshold) / temperature)
    slopes = gates * (1 - gates)
    moves = (slopes / slopes.sum().clamp(min=1e-12) * (logits - detached)).sum()  # 0, but its gradient is not
    gates = torch.sigmoid((logits - threshold - moves) / temperature)
    floor = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1])
    return torch.maximum(gates, floor.to(gates.dtype))


def _threshold(logits: Tensor, budget: float, temperature: float) -> float:
    """Return the threshold at which the mean of the soft gates is *budget*, by bisection."""
    low = logits.min().item() - 30 * temperature
    high = logits.max().item() + 30 * temperature
    for _ in range(50):
        middle = (low + high) / 2
        too_open = torch.sigmoid((logits - middle) / temperature).mean().item() > budget
        low, high = (middle, high) if too_open else (low, middle)
    return (low + high) / 2


def _new_correction_net(n_features: int, settings: Controller, rng: torch.Generator) -> CorrectionNet:
    inner = torch.randn(n_features + 1, settings.hidden, generator=rng) / (n_features + 1) ** 0.5
    outer = torch.zeros(settings.hidden)  # no correction at first: the closed form
    return CorrectionNet(inner.requires_grad_(), outer.requires_grad_(), settings.reach)


def _standardise(values: FloatArray) -> FloatArray:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6))
