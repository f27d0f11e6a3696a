"""Rotation: the first dimensions of a group's vectors carry as much of the score as possible."""

import numpy as np

from cloud.blocks.block_weights import second_moment
from cloud.blocks.encoding import GroupTable
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.evaluation import mean_or_nan, number_or_none
from cloud.training.group_tables import GroupTables
from cloud.training.loop import Tick
from cloud.training.validation_guard import (
    Evaluator,
    StageReport,
    ValidationUsers,
    decide,
    gain,
    keep_all,
    sample_groups,
    validation_users,
)
from wire.geometry import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


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
