"""Rotation: the first dimensions of a group's vectors carry as much of the score as possible.

Each group's user vectors and item table are rotated together. All users together count beside the members,
with a small weight: the members of a small group span few directions, and who joins it later would lose what
lies outside these. Validation users decide whether a group keeps the rotation
(`cloud.training.validation_guard`). Letters: U users, I items, d dimensions, G user groups.
"""

import numpy as np

from cloud.blocks.block_weights import second_moment
from cloud.blocks.group_table import GroupTable
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.evaluation import mean_or_nan, number_or_none
from cloud.training.group_tables import GroupTables
from cloud.training.loop import Tick
from cloud.training.validation_guard import (
    Evaluator,
    StageReport,
    decide,
    gain,
    keep_all,
    sample_groups,
    validation_users,
)
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray


def rotate(
    model: GroupTables,
    item_weights: Float32Array,
    interactions: Interactions,
    config: Training,
    evaluate: Evaluator,
    tick: Tick,
) -> tuple[GroupTables, StageReport]:
    """Rotate each group's vectors into the basis of the singular vectors of its score matrix.

    The prior choice is to rotate: the scores of the full table do not change, so only quality at small
    budgets can suffer, and there rotation was far better when measured.

    Args:
        model: the groups' tables.
        item_weights: the weight of each item in each group, shape (G, I).
        interactions: their validation part decides.
        config: settings.
        evaluate: quality of a table at small budgets, with closed-form weights.
        tick: called with the progress.

    Returns:
        The same scores in new coordinates, up to a constant per user, and the report.
    """
    n_groups, users, tables = len(model.tables), model.users.copy(), list(model.tables)
    moments, everybody, weight = (
        model.second_moments.copy(),
        _summary_of(model.users),
        config.all_users_weight,
    )
    deciding = sample_groups(model.tables, config.seed) if config.guard.enabled else []
    comparisons: dict[int, tuple[FloatArray, FloatArray]] = {}
    for group, table in enumerate(model.tables):
        members = model.members(group)
        if not group or table is not model.tables[group - 1]:
            basis = item_basis(table)  # expensive: once for groups that share a table
        users[members], tables[group], moments[group] = _turn(model.users[members], everybody, weight, basis)
        if group in deciding:
            validation = validation_users(members, interactions)
            without = GroupTable(table, model.second_moments[group], item_weights[group])
            with_it = GroupTable(tables[group], moments[group], item_weights[group])
            comparisons[group] = (
                evaluate(without, model.users[validation.users], validation),
                evaluate(with_it, users[validation.users], validation),
            )
        tick(group + 1, n_groups, f"group {group}")
    decisions = keep_all(n_groups)
    if config.guard.enabled:
        gains = [gain(comparisons.get(group)) for group in range(n_groups)]
        decisions = decide(gains, prior=True, standard_errors=config.guard.standard_errors)
    entries = []
    for group, kept in enumerate(decisions.keep):
        rotated = (users, tables[group])
        entries.append(_rotation_entry(model, rotated, group, kept, comparisons.get(group)))
        if not kept:
            members = model.members(group)
            users[members], tables[group] = model.users[members], model.tables[group]
            moments[group] = model.second_moments[group]
    report = StageReport({"enabled": True, **decisions.report()}, entries)
    return GroupTables(users, model.groups, tuple(tables), moments), report


def _summary_of(users: Float32Array) -> FloatArray:
    """Return R, shape (d, d) or smaller, with R'R = users' users / U: it stands for all users (U, d)."""
    return np.asarray(np.linalg.qr(users.astype(np.float64), mode="r") / np.sqrt(len(users)))


def _turn(
    members: Float32Array, everybody: FloatArray, weight: float, items: tuple[FloatArray, FloatArray]
) -> tuple[Float32Array, Float32Array, FloatArray]:
    """Return vectors, table and second moments of a group in its own basis, shapes (n, d), (I, d), (d,).

    Args:
        members: the vectors of the group's users, shape (n, d).
        everybody: the `_summary_of` all users.
        weight: of all users, as a part of that of the members.
        items: the `item_basis` of the group's table.
    """
    n = len(members)
    rows = np.concatenate([members, np.sqrt(weight * n) * everybody]) if weight else members
    users, table = singular_basis(rows, items)
    return users[:n], table, np.square(users, dtype=np.float64).sum(axis=0) / (n * (1 + weight))


def _rotation_entry(
    model: GroupTables,
    rotated: tuple[Float32Array, Float32Array],
    group: int,
    kept: bool,
    comparisons: tuple[FloatArray, FloatArray] | None,
) -> dict[str, object]:
    """Return the report of one group; *rotated* are all users (U, d) and its table (I, d)."""
    members, (users, table) = model.members(group), rotated
    entry: dict[str, object] = {
        "score_energy_in_first_quarter_without": _leading_share(model.users[members], model.tables[group]),
        "score_energy_in_first_quarter_with": _leading_share(users[members], table),
        "kept": kept,
    }
    if comparisons:
        without, with_it = comparisons
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
    users: Float32Array | FloatArray, items: tuple[FloatArray, FloatArray]
) -> tuple[Float32Array, Float32Array]:
    """Return user vectors and item rows in the basis of the singular vectors of the scores.

    The centred score matrix S = users @ (items - mean item).T has the singular value decomposition P diag(s)
    Q'. The new vectors are P diag(sqrt(s)) and Q diag(sqrt(s)): their first k dimensions are the best
    approximation of S of rank k (Eckart, Young 1936), all of them are S. To subtract the mean item changes
    all scores of a user by one constant, so no ranking changes.

    Args:
        users: shape (n, d).
        items: the `item_basis` of a table, shape (I, d).

    Returns:
        Shapes (n, d) and (I, d); if n or I is below d, the last columns are 0.
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
    """Return +1 or -1 per column that makes its largest entry positive: SVD leaves the sign open."""
    largest = np.abs(columns).argmax(axis=0)
    return np.where(columns[largest, np.arange(columns.shape[1])] < 0, -1.0, 1.0)


def _pad_columns(vectors: FloatArray, dim: int) -> Float32Array:
    return np.pad(vectors, ((0, 0), (0, dim - vectors.shape[1]))).astype(np.float32)


def _leading_share(users: Float32Array, table: Float32Array) -> float:
    """Return the share of the scores' energy in the first quarter of the dimensions."""
    energy = second_moment(users) * second_moment(table)
    leading = energy[: max(1, len(energy) // 4)].sum()
    return float(leading / energy.sum()) if energy.any() else 1.0
