"""Stage 4: weights of blocks, learned by a small network on validation interactions.

The closed-form weight of a block is the energy of the scores that is lost without it
(`cloud.blocks.block_weights`). The network learns either a *correction* of it or, as in the paper, the
*weights* themselves. Letters: I items, d dimensions, G user groups, M item groups, N slices, F features of a
block, B users in a batch.

The problem of the paper has two levels: min over phi of L_val(W*(phi), phi), where W*(phi) are the tables
that are best for training under the weights of phi.

For a correction the inner problem is training at the full budget with every gate open, because the same
tables must serve every budget and be exact at the largest. Its solution does not depend on phi, so the
derivative of W* is zero, and the first-order gradient used here is the whole gradient of this problem.
Compared with the paper, tables do not adapt to the weights, as they would if refinement ran with partly
closed gates.

For weights the two levels take turns, one step each: a copy of the table on training data under the current
weights, the weights on validation data with the current copy. This ignores how the copy will respond to the
weights, as first-order methods do. The weights choose blocks; the table that is cut into blocks stays as
refinement left it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.blocks.block_weights import closed_form_weights
from cloud.blocks.group_table import GroupTable
from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.controller.correction import learn_corrections
from cloud.training.controller.weights import learn_weights
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
    split_validation,
    validation_users,
)
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray


@dataclass(frozen=True, eq=False)
class ControllerResult:
    """The result of the controller.

    ``corrections``, shape (G, M, N), positive and finite: factors for the closed-form weights of the blocks;
    1 if the closed form is kept.
    """

    corrections: Float32Array
    report: StageReport


def learn_block_weights(
    model: GroupTables,
    item_weights: Float32Array,
    interactions: Interactions,
    config: Training,
    partition: Partition,
    evaluate: Evaluator,
    tick: Tick,
) -> ControllerResult:
    """Learn the weights of blocks, and keep them in groups whose held-out users prefer them.

    The prior choice is the closed form. One half of a group's validation users is learned from, the other
    half decides; without the guard all are learned from.

    Args:
        model: the groups' tables.
        item_weights: the weight of each item in each group, shape (G, I).
        interactions: training interactions for the tables, validation interactions for the weights.
        config: settings.
        partition: the blocks of the tables.
        evaluate: quality of a table and corrections at small budgets.
        tick: called with the progress.

    Raises:
        RunError: learning diverged.
    """
    n_groups, guard = len(model.tables), config.guard
    if not config.controller.enabled:
        return ControllerResult(np.ones((n_groups, *partition.shape), dtype=np.float32), StageReport.off())
    halves = [_split_users(model, group, interactions, config) for group in range(n_groups)]
    closed = [
        closed_form_weights(table, model.second_moments[group], item_weights[group], partition)
        for group, table in enumerate(model.tables)
    ]
    learns = learn_corrections if config.controller.learns == "correction" else learn_weights
    learning = [half for half, _ in halves]
    learned = learns(model, np.stack(closed), item_weights, learning, interactions, config, partition, tick)
    comparisons: dict[int, tuple[FloatArray, FloatArray]] = {}
    decisions = keep_all(n_groups)
    if guard.enabled:
        sampled = sample_groups(model.tables, config.seed)
        for group in sampled:
            _, deciding = halves[group]
            comparisons[group] = _evaluate_group(
                model, learned, group, item_weights[group], deciding, evaluate
            )
            tick(len(comparisons), len(sampled), f"evaluated in group {group}")
        gains = [gain(comparisons.get(group)) for group in range(n_groups)]
        decisions = decide(gains, prior=False, standard_errors=guard.standard_errors)
    summary = {"enabled": True, "learns": config.controller.learns, **decisions.report()}
    entries = [
        _group_entry(factors, kept, comparisons.get(group))
        for group, (factors, kept) in enumerate(zip(learned, decisions.keep, strict=True))
    ]
    pairs = zip(learned, decisions.keep, strict=True)
    corrections = np.stack([factors if kept else np.ones_like(factors) for factors, kept in pairs])
    return ControllerResult(corrections.astype(np.float32), StageReport(summary, entries))


def _evaluate_group(
    model: GroupTables,
    learned: Sequence[FloatArray],
    group: int,
    item_weights: Float32Array,
    validation: ValidationUsers,
    evaluate: Evaluator,
) -> tuple[FloatArray, FloatArray]:
    """Return the deciding users' quality with the closed form and with the learned weights, shapes (n,)."""
    moment, vectors = model.second_moments[group], model.users[validation.users]
    factors = learned[group].astype(np.float32)
    before = GroupTable(model.tables[group], moment, item_weights)
    after = GroupTable(model.tables[group], moment, item_weights, factors)
    return evaluate(before, vectors, validation), evaluate(after, vectors, validation)


def _group_entry(
    factors: FloatArray, kept: bool, comparisons: tuple[FloatArray, FloatArray] | None
) -> dict[str, object]:
    """Return the report of one group."""
    logarithms = np.log(factors)
    # Relative to the geometric mean: a common factor of all blocks changes nothing.
    largest = float(np.abs(logarithms - logarithms.mean()).max())
    entry: dict[str, object] = {"largest_change_of_logarithm": largest, "kept": kept}
    if comparisons:
        before, after = comparisons
        entry |= {
            "judges": len(before),
            "valid_ndcg_at_20_closed_form": number_or_none(mean_or_nan(before)),
            "valid_ndcg_at_20_learned": number_or_none(mean_or_nan(after)),
        }
    return entry


def _split_users(
    model: GroupTables, group: int, interactions: Interactions, config: Training
) -> tuple[ValidationUsers, ValidationUsers]:
    members = model.members(group)
    if config.guard.enabled:
        return split_validation(members, interactions, config.seed, group)
    all_users = validation_users(members, interactions)
    return all_users, all_users
