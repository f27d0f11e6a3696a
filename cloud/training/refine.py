"""Stage 3: each user group gets an item table of its own, in a basis of its own.

Refinement trains a group's copy of the item table on the group's own interactions, held back by a
pull toward the global table. Rotation then turns a group's user vectors and item table together, so
that the first dimensions carry as much of the score as any can. Whether a group keeps either is for
validation to say (`cloud.training.validation_guard`).
Letters: U users, I items, d dimensions, G user groups, B users in a batch.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cloud.blocks.block_weights import second_moment
from cloud.blocks.encoding import GroupTable
from cloud.data.interactions import Interactions
from cloud.training.backbones.mf import dropout, multinomial_loss, user_weights
from cloud.training.config import Training
from cloud.training.evaluation import mean_or_nan, ndcg_per_user, number_or_none
from cloud.training.loop import EarlyStopping, Factors, Tick, batches, generator, gradient_step
from cloud.training.validation_guard import (
    Evaluator,
    StageReport,
    ValidationUsers,
    decide,
    gain,
    keep_all,
    sample_groups,
    split_validation,
    validation_users,
)
from wire.geometry import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class GroupTables:
    """The model of all groups: ``users`` (U, d), ``groups`` (U,), ``tables``: (I, d) for each of G groups.

    User u's score of item i is ``users[u] @ tables[groups[u]][i]``. Groups whose tables are the same
    share one array, so that a group costs nothing until it differs.
    """

    users: Float32Array
    groups: IntArray
    tables: tuple[Float32Array, ...]

    def members(self, group: int) -> IntArray:
        """Return the users of *group*, ascending."""
        return np.flatnonzero(self.groups == group)


@dataclass(frozen=True, eq=False)
class RefinedGroup:
    """A group's refined table, shape (I, d), after *epoch* epochs, and what it does for those who judge.

    ``before`` and ``after`` are their validation NDCG@20, shape (n,).
    """

    table: Float32Array
    epoch: int
    before: FloatArray
    after: FloatArray


def share_global_table(factors: Factors, groups: IntArray) -> GroupTables:
    """Return the model in which every group has the global table."""
    return GroupTables(factors.users, groups, (factors.items,) * (int(groups.max()) + 1))


def refine(
    model: GroupTables, interactions: Interactions, config: Training, tick: Tick
) -> tuple[GroupTables, StageReport]:
    """Refine the table of every group on the training interactions of its members.

    With early stop and guard one half of a group's validation users says when to stop, the other
    whether it was worth it: the same users would praise their own choice. The prior choice is the
    table as it was.

    Returns:
        The refined model, and what happened.
    """
    n_groups = len(model.tables)
    refined: list[RefinedGroup] = []
    for group in range(n_groups):
        refined.append(_refine_group(model, group, interactions, config))
        tick(group + 1, n_groups, f"group {group}: {refined[-1].epoch} epochs")
    verdict = keep_all(n_groups)
    if config.guard.enabled:
        gains = [gain((each.before, each.after)) for each in refined]
        verdict = decide(gains, prior=False, standard_errors=config.guard.standard_errors)
    # A group that best fits its start has nothing to keep, whatever the others prefer.
    kept = [keep and each.epoch > 0 for keep, each in zip(verdict.kept, refined, strict=True)]
    verdict = replace(verdict, kept=kept)
    report = StageReport(
        {"enabled": True, **verdict.report()},
        [
            _refinement_entry(start, each, keep)
            for start, each, keep in zip(model.tables, refined, kept, strict=True)
        ],
    )
    tables = tuple(
        each.table if keep else start for start, each, keep in zip(model.tables, refined, kept, strict=True)
    )
    return GroupTables(model.users, model.groups, tables), report


def _refinement_entry(start: Float32Array, refined: RefinedGroup, kept: bool) -> dict[str, object]:
    length = max(float(np.linalg.norm(start)), 1e-12)
    return {
        "judges": len(refined.before),
        "best_epoch": refined.epoch,
        "moved_by": float(np.linalg.norm(refined.table - start)) / length,
        "valid_ndcg_at_20_before": number_or_none(mean_or_nan(refined.before)),
        "valid_ndcg_at_20_after": number_or_none(mean_or_nan(refined.after)),
        "kept": kept,
    }


def _refine_group(
    model: GroupTables, group: int, interactions: Interactions, config: Training
) -> RefinedGroup:
    """Refine one group's table; with early stop the table it starts from is a candidate too."""
    settings, start = config.refine, model.tables[group]
    watching, judging = _split_users(model.members(group), interactions, config, group)
    best = EarlyStopping(settings.patience if settings.early_stop else settings.epochs)
    best.look(_validation_score(model, start, watching), 0, torch.from_numpy(start))
    if not settings.early_stop or math.isfinite(best.score):
        _train_from(start, model, group, interactions, config, watching, best)
    # Group tables that stay are one array: a copy of the start would be a second one.
    table = best.tables[0] if best.epoch else start
    before, after = (
        ndcg_per_user(model.users[judging.users], each, judging.known, judging.wanted)
        for each in (start, table)
    )
    return RefinedGroup(table, best.epoch, before, after)


def _split_users(
    members: IntArray, interactions: Interactions, config: Training, group: int
) -> tuple[ValidationUsers, ValidationUsers]:
    """Return the users who say when to stop, and those who say what it was worth."""
    if config.refine.early_stop and config.guard.enabled:
        return split_validation(members, interactions, config.seed, group)
    everyone = validation_users(members, interactions)
    return everyone, everyone


def _validation_score(model: GroupTables, table: Float32Array, watching: ValidationUsers) -> float:
    vectors = model.users[watching.users]
    return mean_or_nan(ndcg_per_user(vectors, table, watching.known, watching.wanted))


def _train_from(
    start: Float32Array,
    model: GroupTables,
    group: int,
    interactions: Interactions,
    config: Training,
    watching: ValidationUsers,
    best: EarlyStopping,
) -> None:
    """Train a copy of *start*, shape (I, d), and let *best* look at it."""
    settings, members = config.refine, model.members(group)
    train = interactions.train.take(members)
    vectors = torch.from_numpy(model.users[members])  # (n_g, d)
    rng = generator(config.seed, "refine", group)
    weights = user_weights(train.counts(), config.user_weight_exponent)
    origin = torch.from_numpy(start)  # (I, d)
    table = origin.clone().requires_grad_()
    optimizer = torch.optim.Adam([table], lr=settings.learning_rate, fused=True)
    steps = math.ceil(len(members) / config.batch_size) * settings.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(1, settings.epochs + 1):
        for batch in batches(np.arange(len(members)), config.batch_size, rng):  # (B,)
            scores = dropout(vectors[batch], config.dropout, rng) @ table.T  # (B, I)
            loss = multinomial_loss(scores, train.take(batch), weights[batch])
            loss = loss + _pull(table, origin, settings.pull / len(members))
            gradient_step(optimizer, loss, f"refinement of group {group}", settings.learning_rate)
            decay.step()
        if not settings.early_stop:
            continue
        looks = epoch % settings.evaluate_every == 0 or epoch == settings.epochs
        if looks and best.look(_validation_score(model, table.detach().numpy(), watching), epoch, table):
            return
    if not settings.early_stop:
        best.look(math.inf, settings.epochs, table)  # whatever validation says


def _pull(table: Tensor, origin: Tensor, strength: float) -> Tensor:
    return strength * (table - origin).square().sum() if strength else table.new_zeros(())


# --- rotation -------------------------------------------------------------------------------------


def rotate(
    model: GroupTables,
    item_weights: Float32Array,
    interactions: Interactions,
    config: Training,
    trial: Evaluator,
    tick: Tick,
) -> tuple[GroupTables, StageReport]:
    """Turn each group's vectors into the basis of the singular vectors of its score matrix.

    The prior choice is to rotate: the full table's scores stay as they are, so the only question is
    what small budgets lose, and there rotation won by far where it was measured.

    Args:
        model: the groups' tables.
        item_weights: how much each item counts in each group, shape (G, I).
        interactions: whose validation part judges.
        config: settings.
        trial: how a table is tried at small budgets, closed-form weights both times.
        tick: told how far it is.

    Returns:
        The same scores in new coordinates, up to a constant per user, and what happened.
    """
    n_groups, users, tables = len(model.tables), model.users.copy(), list(model.tables)
    judging = sample_groups(model.tables, config.seed) if config.guard.enabled else []
    trials: dict[int, tuple[FloatArray, FloatArray]] = {}
    for group, table in enumerate(model.tables):
        members = model.members(group)
        if not group or table is not model.tables[group - 1]:
            basis = item_basis(table)  # what takes longest, once for groups that share the global table
        users[members], tables[group] = singular_basis(model.users[members], basis)
        if group in judging:
            judges, weights = validation_users(members, interactions), item_weights[group]
            without = _evaluate(trial, model.users, members, table, weights, judges)
            trials[group] = without, _evaluate(trial, users, members, tables[group], weights, judges)
        tick(group + 1, n_groups, f"group {group}")
    verdict = keep_all(n_groups)
    if config.guard.enabled:
        gains = [gain(trials.get(group)) for group in range(n_groups)]
        verdict = decide(gains, prior=True, standard_errors=config.guard.standard_errors)
    entries = []
    for group, kept in enumerate(verdict.kept):
        rotated = (users, tables[group])
        entries.append(_rotation_entry(model, rotated, group, kept, trials.get(group)))
        if not kept:
            members = model.members(group)
            users[members], tables[group] = model.users[members], model.tables[group]
    report = StageReport({"enabled": True, **verdict.report()}, entries)
    return GroupTables(users, model.groups, tuple(tables)), report


def _evaluate(
    trial: Evaluator,
    users: Float32Array,
    members: IntArray,
    table: Float32Array,
    item_weights: Float32Array,
    judges: ValidationUsers,
) -> FloatArray:
    contender = GroupTable(table, second_moment(users[members]), item_weights)
    return trial(contender, users[judges.users], judges)


def _rotation_entry(
    model: GroupTables,
    rotated: tuple[Float32Array, Float32Array],
    group: int,
    kept: bool,
    trials: tuple[FloatArray, FloatArray] | None,
) -> dict[str, object]:
    """Return what the report says of one group; *rotated* are all users (U, d) and its table (I, d)."""
    members, (users, table) = model.members(group), rotated
    entry: dict[str, object] = {
        "score_energy_in_first_quarter_without": _leading_share(model.users[members], model.tables[group]),
        "score_energy_in_first_quarter_with": _leading_share(users[members], table),
        "kept": kept,
    }
    if trials:
        without, with_it = trials
        entry |= {
            "judges": len(without),
            "valid_ndcg_at_20_without": number_or_none(mean_or_nan(without)),
            "valid_ndcg_at_20_with": number_or_none(mean_or_nan(with_it)),
        }
    return entry


def item_basis(items: Float32Array) -> tuple[FloatArray, FloatArray]:
    """Return Q, shape (I, d), with orthonormal columns, and R with Q R = items - mean item, shape (I, d)."""
    basis, parts = np.linalg.qr(items.astype(np.float64) - items.mean(axis=0, dtype=np.float64))
    return basis, parts


def singular_basis(
    users: Float32Array, items: tuple[FloatArray, FloatArray]
) -> tuple[Float32Array, Float32Array]:
    """Return user vectors and item rows in the basis in which few dimensions say most.

    The centred score matrix S = users @ (items - mean item).T has the singular value decomposition
    P diag(s) Q'. The new vectors are P diag(sqrt(s)) and Q diag(sqrt(s)): their first k dimensions
    are the best approximation of S of rank k (Eckart, Young 1936), all of them are S. Taking the
    mean item away moves all scores of a user by one constant, so no ranking changes.

    Args:
        users: shape (n, d).
        items: the `item_basis` of a table, shape (I, d).

    Returns:
        Shapes (n, d) and (I, d); where n or I is below d, the last columns are 0.
    """
    # S is n times I; its decomposition follows from that of a d times d matrix.
    user_basis, user_parts = np.linalg.qr(users.astype(np.float64))  # (n, d), (d, d)
    basis, item_parts = items  # (I, d), (d, d)
    left, sizes, right = np.linalg.svd(user_parts @ item_parts.T)
    rank = len(sizes)
    signs = _column_signs(right[:rank].T)
    new_users = user_basis @ (left[:, :rank] * np.sqrt(sizes) * signs)
    new_items = basis @ (right[:rank].T * np.sqrt(sizes) * signs)
    return _pad_columns(new_users, users.shape[1]), _pad_columns(new_items, users.shape[1])


def _column_signs(columns: FloatArray) -> FloatArray:
    """Return +1 or -1 per column, so that its largest entry becomes positive: SVD leaves it open."""
    largest = np.abs(columns).argmax(axis=0)
    return np.where(columns[largest, np.arange(columns.shape[1])] < 0, -1.0, 1.0)


def _pad_columns(vectors: FloatArray, dim: int) -> Float32Array:
    return np.pad(vectors, ((0, 0), (0, dim - vectors.shape[1]))).astype(np.float32)


def _leading_share(users: Float32Array, table: Float32Array) -> float:
    """Return the part of the scores' energy that the first quarter of the dimensions carries."""
    energy = second_moment(users) * second_moment(table)
    leading = energy[: max(1, len(energy) // 4)].sum()
    return float(leading / energy.sum()) if energy.any() else 1.0
