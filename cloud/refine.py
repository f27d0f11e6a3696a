"""Stage 3: each user group gets an item table of its own, in a basis of its own.

Refinement trains a group's copy of the item table on the group's own interactions, held back by a
pull toward the global table. Rotation then turns a group's user vectors and item table together, so
that the first dimensions carry as much of the score as any can. Letters: U users, I items, d
dimensions, G user groups, B users in a batch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from cloud.backbones.mf import dropped, multinomial_loss, user_weights
from cloud.config import Training
from cloud.descent import BestSoFar, Factors, Tick, batches, descend, generator
from cloud.interactions import Interactions
from cloud.ranking import mean_or_nan, ndcg_per_user, number_or_none
from wire.geometry import Float32Array
from wire.metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class GroupTables:
    """The model of all groups: ``users`` (U, d), ``groups`` (U,), ``tables`` (G, I, d).

    User u's score of item i is ``users[u] @ tables[groups[u], i]``.
    """

    users: Float32Array
    groups: IntArray
    tables: Float32Array

    def members(self, group: int) -> IntArray:
        """Return the users of *group*, ascending."""
        return np.flatnonzero(self.groups == group)


@dataclass(frozen=True, eq=False)
class RefinedGroup:
    """A group's refined table, shape (I, d), and validation NDCG@20 before and after."""

    table: Float32Array
    before: float
    after: float
    epoch: int


def unrefined(factors: Factors, groups: IntArray) -> GroupTables:
    """Return the model in which every group has the global table."""
    copies = np.repeat(factors.items[None], int(groups.max()) + 1, axis=0)  # (G, I, d)
    return GroupTables(factors.users, groups, copies)


def refine(
    model: GroupTables, interactions: Interactions, config: Training, tick: Tick
) -> tuple[GroupTables, dict[str, object]]:
    """Refine the table of every group on the training interactions of its members.

    A group without validation interactions, or without a gain on them, keeps its table.

    Returns:
        The refined model, and what happened.
    """
    n_groups = len(model.tables)
    refined: list[RefinedGroup] = []
    for group in range(n_groups):
        refined.append(_refine_group(model, group, interactions, config))
        tick(group + 1, n_groups, f"group {group}: best after {refined[-1].epoch} epochs")
    tables = np.stack([each.table for each in refined])
    return GroupTables(model.users, model.groups, tables), {
        "enabled": True,
        "best_epochs": [each.epoch for each in refined],
        "valid_ndcg_at_20_before": [number_or_none(each.before) for each in refined],
        "valid_ndcg_at_20_after": [number_or_none(each.after) for each in refined],
    }


def _refine_group(
    model: GroupTables, group: int, interactions: Interactions, config: Training
) -> RefinedGroup:
    """Refine one group's table; the table it starts from is a candidate too."""
    settings, members = config.refine, model.members(group)
    train, valid = interactions.train.take(members), interactions.valid.take(members)
    vectors = torch.from_numpy(model.users[members])  # (n_g, d)
    start = torch.from_numpy(model.tables[group])  # (I, d)
    before = mean_or_nan(ndcg_per_user(vectors.numpy(), start.numpy(), train, valid))
    best = BestSoFar(settings.patience)
    best.look(before, 0, start)
    if math.isnan(before):
        return RefinedGroup(best.tables[0], before, before, 0)
    rng = generator(config.seed, "refine", group)
    weights = user_weights(train.counts(), config.user_weight_exponent)
    table = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([table], lr=settings.learning_rate)
    steps = math.ceil(len(members) / config.batch_size) * settings.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(1, settings.epochs + 1):
        for batch in batches(np.arange(len(members)), config.batch_size, rng):  # (B,)
            scores = dropped(vectors[batch], config.dropout, rng) @ table.T  # (B, I)
            loss = multinomial_loss(scores, train.take(batch), weights[batch])
            loss = loss + settings.pull * (table - start).square().sum() / len(members)
            descend(optimizer, loss, f"refinement of group {group}", settings.learning_rate)
            decay.step()
        if epoch % settings.evaluate_every and epoch < settings.epochs:
            continue
        score = mean_or_nan(ndcg_per_user(vectors.numpy(), table.detach().numpy(), train, valid))
        if best.look(score, epoch, table):
            break
    return RefinedGroup(best.tables[0], before, best.score, best.epoch)


def rotate(model: GroupTables) -> tuple[GroupTables, dict[str, object]]:
    """Turn each group's vectors into the basis of the singular vectors of its score matrix.

    Returns:
        The same scores in new coordinates, up to a constant per user, and what happened.
    """
    users, tables = np.zeros_like(model.users), np.zeros_like(model.tables)
    for group in range(len(tables)):
        members = model.members(group)
        users[members], tables[group] = singular_basis(model.users[members], model.tables[group])
    shares = [_leading_share(users[model.members(group)], table) for group, table in enumerate(tables)]
    return GroupTables(users, model.groups, tables), {
        "enabled": True,
        "score_energy_in_first_quarter": shares,
    }


def singular_basis(users: Float32Array, items: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return user vectors and item rows in the basis in which few dimensions say most.

    The centred score matrix S = users @ (items - mean item).T has the singular value decomposition
    P diag(s) Q'. The new vectors are P diag(sqrt(s)) and Q diag(sqrt(s)): their first k dimensions
    are the best approximation of S of rank k (Eckart, Young 1936), all of them are S. Taking the
    mean item away moves all scores of a user by one constant, so no ranking changes.

    Args:
        users: shape (n, d).
        items: shape (I, d).

    Returns:
        Shapes (n, d) and (I, d); where n or I is below d, the last columns are 0.
    """
    centred = items.astype(np.float64) - items.mean(axis=0, dtype=np.float64)
    # S is n times I; its decomposition follows from that of a d times d matrix.
    user_basis, user_parts = np.linalg.qr(users.astype(np.float64))  # (n, d), (d, d)
    item_basis, item_parts = np.linalg.qr(centred)  # (I, d), (d, d)
    left, sizes, right = np.linalg.svd(user_parts @ item_parts.T)
    rank = len(sizes)
    signs = _signs(right[:rank].T)
    new_users = user_basis @ (left[:, :rank] * np.sqrt(sizes) * signs)
    new_items = item_basis @ (right[:rank].T * np.sqrt(sizes) * signs)
    return _widened(new_users, users.shape[1]), _widened(new_items, items.shape[1])


def _signs(columns: FloatArray) -> FloatArray:
    """Return +1 or -1 per column, so that its largest entry becomes positive: SVD leaves it open."""
    largest = np.abs(columns).argmax(axis=0)
    return np.where(columns[largest, np.arange(columns.shape[1])] < 0, -1.0, 1.0)


def _widened(vectors: FloatArray, dim: int) -> Float32Array:
    return np.pad(vectors, ((0, 0), (0, dim - vectors.shape[1]))).astype(np.float32)


def _leading_share(users: Float32Array, table: Float32Array) -> float:
    """Return the part of the scores' energy that the first quarter of the dimensions carries."""
    energy = (users.astype(np.float64) ** 2).mean(axis=0) * (table.astype(np.float64) ** 2).sum(axis=0)
    leading = energy[: max(1, len(energy) // 4)].sum()
    return float(leading / energy.sum()) if energy.any() else 1.0
