"""A training loop for losses that PEEL does not have: softer targets, and nested widths.

It follows the recipe of the full model: multinomial likelihood, dropout on the user vector, Adam with
cosine decay, early stop on validation. Letters: U users, I items, d dimensions, B users in a batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.data.interactions import Interactions
from cloud.training.baselines.method import by_products
from cloud.training.baselines.scoring import mean_ndcg
from cloud.training.config import Training
from wire.arrays import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import IntArray

Targets = Callable[[IntArray], Tensor]
"""From user numbers to what their softmax should be, shape (B, I), each row a distribution."""


@dataclass(frozen=True)
class FitTask:
    """Tables to fit."""

    interactions: Interactions
    training: Training
    targets: Targets
    nested: Sequence[int]
    """Widths that have to do on their own, ascending; the last is the table's. One is drawn each step."""


def fit_tables(task: FitTask, name: str) -> tuple[Float32Array, Float32Array]:
    """Return user and item tables, the best on validation at full width."""
    config, interactions = task.training, task.interactions
    rng = torch.Generator().manual_seed(int(stream(config.seed, name, *task.nested).integers(2**63)))
    users = _start(interactions.n_users, task.nested[-1], rng)
    items = _start(interactions.n_items, task.nested[-1], rng)
    optimizer = torch.optim.Adam([users, items], lr=config.learning_rate)
    steps = math.ceil(interactions.n_users / config.batch_size) * config.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, since, tables = -1.0, 0, _copies(users, items)
    for epoch in range(1, config.epochs + 1):
        order = torch.randperm(interactions.n_users, generator=rng)
        for batch in torch.split(order, config.batch_size):  # (B,)
            loss = _loss(task, users, items, batch, rng)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            decay.step()
        if epoch % config.evaluate_every and epoch < config.epochs:
            continue
        score = _validation(*_copies(users, items), interactions)
        best, since, tables = (score, 0, _copies(users, items)) if score > best else (best, since + 1, tables)
        if since >= config.patience:
            break
    return tables


def plain_targets(interactions: Interactions) -> Targets:
    """Return the plain targets: a user's training items, all alike."""

    def targets(batch: IntArray) -> Tensor:
        targets = interactions.train.take(batch)
        rows, columns = targets.pairs()
        shares_of_items = torch.zeros(len(batch), interactions.n_items)
        shares = 1.0 / np.maximum(targets.counts(), 1)
        shares_of_items[rows, columns] = torch.from_numpy(shares[rows].astype(np.float32))
        return shares_of_items

    return targets


def _loss(task: FitTask, users: Tensor, items: Tensor, batch: Tensor, rng: torch.Generator) -> Tensor:
    config, numbers = task.training, batch.numpy()
    targets = task.targets(numbers)  # (B, I)
    counts = torch.from_numpy(task.interactions.train.counts()[numbers].astype(np.float32))
    weights = counts**config.user_weight_exponent * (counts > 0)  # (B,)
    vectors = users[batch]  # (B, d)
    kept = torch.rand(vectors.shape, generator=rng) >= config.dropout
    dropped = vectors * kept / (1 - config.dropout)
    loss = config.l2 * (vectors.square().sum(1).mean() + items.square().sum(1).mean())
    widths = _widths(task.nested, rng)
    for width in widths:
        scores = dropped[:, :width] @ items[:, :width].T  # (B, I)
        losses = torch.nn.functional.cross_entropy(scores, targets, reduction="none")  # (B,)
        loss = loss + (losses * weights).sum() / weights.sum() / len(widths)
    return loss


def _widths(nested: Sequence[int], rng: torch.Generator) -> list[int]:
    """Return the full width, and where there are narrower ones, one of them."""
    if len(nested) == 1:
        return [nested[0]]
    drawn = int(torch.randint(len(nested) - 1, (1,), generator=rng))
    return [nested[drawn], nested[-1]]


def _start(rows: int, dim: int, rng: torch.Generator) -> Tensor:
    return (torch.randn(rows, dim, generator=rng) * 0.1).requires_grad_()


def _copies(users: Tensor, items: Tensor) -> tuple[Float32Array, Float32Array]:
    return users.detach().numpy().copy(), items.detach().numpy().copy()


def _validation(users: Float32Array, items: Float32Array, interactions: Interactions) -> float:
    return mean_ndcg(by_products(users, items, 0, "").scores, interactions.train, interactions.valid)
