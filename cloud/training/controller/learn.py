"""Stage 4: how much each block is worth.

The closed-form weight of a block is the energy that its absence takes out of the scores
(`cloud.blocks.block_weights`). A small network learns, on validation interactions, either a *correction*
to it or, as the paper has it, the *weights* themselves. Letters: I items, d dimensions, G user groups, M item
groups, N slices, F features of a block, B users in a batch.

The paper's problem has two levels: min over phi of L_val(W*(phi), phi), where W*(phi) are the tables
that are best for training under the weights of phi.

For a correction the inner problem is training at the full budget, where every gate is open, because
the same tables must serve every budget and be exact at the largest. Its solution does not depend on
phi, so the derivative of W* is zero and the first-order gradient used below is the whole gradient of
this problem. What is given up against the paper: tables do not adapt to the weights, as they would if
refinement ran with gates half closed.

For weights the two levels take turns, a step each: the table on training data under the present
weights, the weights on validation data with the present table. That ignores how the table will answer
to the weights, as first-order methods do.
"""

from dataclasses import dataclass

import numpy as np

from cloud.blocks.block_weights import closed_form_weights
from cloud.blocks.encoding import GroupTable
from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.controller.common import (
    LearnedWeights,
    group_second_moment,
)
from cloud.training.controller.correction import learn_corrections
from cloud.training.controller.weights import learn_weights
from cloud.training.evaluation import mean_or_nan, number_or_none
from cloud.training.group_tables import GroupTables
from cloud.training.loop import Tick
from cloud.training.validation_guard import (
    Evaluator,
    GuardDecisions,
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
from wire.ranking_metrics import FloatArray


@dataclass(frozen=True, eq=False)
class ControllerResult:
    """What the controller leaves.

    ``corrections``, shape (G, M, N), positive and finite: by what the closed-form weight of a block of
    ``model`` is to be multiplied; 1 where the closed form is kept.
    """

    model: GroupTables
    corrections: Float32Array
    report: StageReport


def learn_block_weights(
    model: GroupTables,
    item_weights: Float32Array,
    interactions: Interactions,
    config: Training,
    cut: Partition,
    trial: Evaluator,
    tick: Tick,
) -> ControllerResult:
    """Learn what blocks are worth, and keep it in the groups whose held-out users prefer it.

    The prior choice is the closed form. One half of a group's validation users is learned from, the
    other judges; with the guard off all are learned from.

    Args:
        model: the groups' tables.
        item_weights: how much each item counts in each group, shape (G, I).
        interactions: training interactions for the tables, validation interactions for the weights.
        config: settings.
        cut: where blocks begin.
        trial: how a table and corrections are tried at small budgets.
        tick: told how far it is.

    Raises:
        RunError: learning diverged.
    """
    n_groups, guard = len(model.tables), config.guard
    if not config.controller.enabled:
        return ControllerResult(model, np.ones((n_groups, *cut.shape), dtype=np.float32), StageReport.off())
    sides = [_split_users(model, group, interactions, config) for group in range(n_groups)]
    closed = [
        closed_form_weights(table, group_second_moment(model, group), item_weights[group], cut)
        for group, table in enumerate(model.tables)
    ]
    learns = learn_corrections if config.controller.learns == "correction" else learn_weights
    learning = [half for half, _ in sides]
    learned = learns(model, np.stack(closed), item_weights, learning, interactions, config, cut, tick)
    trials: dict[int, tuple[FloatArray, FloatArray]] = {}
    verdict = keep_all(n_groups)
    if guard.enabled:
        trying = sample_groups(model.tables, config.seed)
        for group in trying:
            _, judging = sides[group]
            trials[group] = _evaluate_group(model, learned, group, item_weights[group], judging, trial)
            tick(len(trials), len(trying), f"tried in group {group}")
        gains = [gain(trials.get(group)) for group in range(n_groups)]
        verdict = decide(gains, prior=False, standard_errors=guard.standard_errors)
    summary = {"enabled": True, "learns": config.controller.learns, **verdict.report()}
    entries = [
        _group_entry(factors, kept, trials.get(group))
        for group, (factors, kept) in enumerate(zip(learned.corrections, verdict.kept, strict=True))
    ]
    return _apply_decisions(model, learned, verdict, StageReport(summary, entries))


def _evaluate_group(
    model: GroupTables,
    learned: LearnedWeights,
    group: int,
    item_weights: Float32Array,
    judges: ValidationUsers,
    trial: Evaluator,
) -> tuple[FloatArray, FloatArray]:
    """Return what those who judge a group make of the closed form and of what was learned, shape (n,)."""
    moment, vectors = group_second_moment(model, group), model.users[judges.users]
    factors = learned.corrections[group].astype(np.float32)
    before = GroupTable(model.tables[group], moment, item_weights)
    after = GroupTable(learned.tables[group], moment, item_weights, factors)
    return trial(before, vectors, judges), trial(after, vectors, judges)


def _group_entry(
    factors: FloatArray, kept: bool, trials: tuple[FloatArray, FloatArray] | None
) -> dict[str, object]:
    """Return what the report says of one group."""
    logarithms = np.log(factors)
    # Against the geometric mean: a factor that all blocks share changes nothing.
    largest = float(np.abs(logarithms - logarithms.mean()).max())
    entry: dict[str, object] = {"largest_change_of_logarithm": largest, "kept": kept}
    if trials:
        before, after = trials
        entry |= {
            "judges": len(before),
            "valid_ndcg_at_20_closed_form": number_or_none(mean_or_nan(before)),
            "valid_ndcg_at_20_learned": number_or_none(mean_or_nan(after)),
        }
    return entry


def _apply_decisions(
    model: GroupTables, learned: LearnedWeights, verdict: GuardDecisions, report: StageReport
) -> ControllerResult:
    """Return the model with what was learned where it is kept."""
    triples = zip(model.tables, learned.tables, verdict.kept, strict=True)
    tables = tuple(new if kept else old for old, new, kept in triples)
    pairs = zip(learned.corrections, verdict.kept, strict=True)
    corrections = np.stack([factors if kept else np.ones_like(factors) for factors, kept in pairs])
    return ControllerResult(
        GroupTables(model.users, model.groups, tables), corrections.astype(np.float32), report
    )


def _split_users(
    model: GroupTables, group: int, interactions: Interactions, config: Training
) -> tuple[ValidationUsers, ValidationUsers]:
    members = model.members(group)
    if config.guard.enabled:
        return split_validation(members, interactions, config.seed, group)
    everyone = validation_users(members, interactions)
    return everyone, everyone
