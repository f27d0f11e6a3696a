"""Stage 3: refinement of each user group's copy of the item table on the group's own interactions.

A pull toward the global table holds it back. Validation users decide whether a group keeps its refined table
(`cloud.training.validation_guard`). Letters: U users, I items, d dimensions, G user groups, B users in a
batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cloud.data.interactions import Interactions
from cloud.training.config import Refinement, Training
from cloud.training.evaluation import mean_or_nan, ndcg_per_user, number_or_none
from cloud.training.group_loss import GroupLoss
from cloud.training.group_tables import GroupTables
from cloud.training.loop import EarlyStopping, Tick, batches, generator, gradient_step
from cloud.training.validation_guard import (
    StageReport,
    ValidationUsers,
    decide,
    gain,
    keep_all,
    split_validation,
    validation_users,
)
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class RefinedGroup:
    """A group's refined table, shape (I, d), after *epoch* epochs, and its effect on the users who decide.

    ``before`` and ``after`` are their validation NDCG@20, shape (n,).
    """

    table: Float32Array
    epoch: int
    before: FloatArray
    after: FloatArray


def refine(
    model: GroupTables, interactions: Interactions, config: Training, tick: Tick
) -> tuple[GroupTables, StageReport]:
    """Refine the table of every group on the training interactions of its members.

    With early stop and guard, one half of a group's validation users decides when to stop, and the other
    half whether the result is kept: users would overrate their own choice. The prior choice is the old
    table.

    Returns:
        The refined model, and the report.
    """
    n_groups = len(model.tables)
    refined: list[RefinedGroup] = []
    for group in range(n_groups):
        refined.append(_refine_group(model, group, interactions, config))
        tick(group + 1, n_groups, f"group {group}: {refined[-1].epoch} epochs")
    decisions = keep_all(n_groups)
    if config.guard.enabled:
        gains = [gain((result.before, result.after)) for result in refined]
        decisions = decide(gains, prior=False, standard_errors=config.guard.standard_errors)
    # A group that is best without any epoch has no result to keep.
    kept = [keep and result.epoch > 0 for keep, result in zip(decisions.keep, refined, strict=True)]
    decisions = replace(decisions, keep=kept)
    report = StageReport(
        {"enabled": True, **decisions.report()},
        [
            _refinement_entry(start, result, keep)
            for start, result, keep in zip(model.tables, refined, kept, strict=True)
        ],
    )
    tables = tuple(
        result.table if keep else start
        for start, result, keep in zip(model.tables, refined, kept, strict=True)
    )
    return replace(model, tables=tables), report


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
    """Refine one group's table; with early stop the old table is a candidate too."""
    settings, start = config.refine, model.tables[group]
    stopping, deciding = _split_users(model.members(group), interactions, config, group)
    best = EarlyStopping(settings.patience if settings.early_stop else settings.epochs)
    best.update(_validation_score(model, start, stopping), 0, torch.from_numpy(start))
    if not settings.early_stop or math.isfinite(best.score):
        _train_from(start, model, group, interactions, config, stopping, best)
    # Unchanged group tables share one array: do not replace it by a copy.
    table = best.tables[0] if best.epoch else start
    before, after = (
        ndcg_per_user(model.users[deciding.users], candidate, deciding.known, deciding.relevant)
        for candidate in (start, table)
    )
    return RefinedGroup(table, best.epoch, before, after)


def _split_users(
    members: IntArray, interactions: Interactions, config: Training, group: int
) -> tuple[ValidationUsers, ValidationUsers]:
    """Return the users who decide when to stop, and those who decide whether the result is kept."""
    if config.refine.early_stop and config.guard.enabled:
        return split_validation(members, interactions, config.seed, group)
    all_users = validation_users(members, interactions)
    return all_users, all_users


def _validation_score(model: GroupTables, table: Float32Array, stopping: ValidationUsers) -> float:
    vectors = model.users[stopping.users]
    return mean_or_nan(ndcg_per_user(vectors, table, stopping.known, stopping.relevant))


def _train_from(
    start: Float32Array,
    model: GroupTables,
    group: int,
    interactions: Interactions,
    config: Training,
    stopping: ValidationUsers,
    best: EarlyStopping,
) -> None:
    """Train a copy of *start*, shape (I, d), with early stopping by *best*."""
    settings, members = config.refine, model.members(group)
    rng = generator(config.seed, "refine", group)
    loss_of = GroupLoss.of(model.users[members], interactions.train.take(members), len(start), config, rng)
    origin = torch.from_numpy(start)  # (I, d)
    learned = _start_table(origin, settings, rng)
    optimizer = torch.optim.Adam(learned.parameters, lr=settings.learning_rate, fused=True)
    steps = math.ceil(len(members) / config.batch_size) * settings.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(1, settings.epochs + 1):
        for batch in batches(np.arange(len(members)), config.batch_size, rng):  # (B,)
            table = learned.table()
            loss = loss_of(table, batch) + _pull(table, origin, settings.pull / len(members))
            gradient_step(optimizer, loss, f"refinement of group {group}", settings.learning_rate)
            decay.step()
        if not settings.early_stop:
            continue
        at_evaluation = epoch % settings.evaluate_every == 0 or epoch == settings.epochs
        if at_evaluation and best.update(
            _validation_score(model, learned.table().detach().numpy(), stopping), epoch, learned.table()
        ):
            return
    if not settings.early_stop:
        best.update(
            math.inf, settings.epochs, learned.table()
        )  # the last table, without a look at validation


@dataclass(frozen=True, eq=False)
class LearnedTable:
    """A group's table while it is refined: a function of the numbers that are learned."""

    parameters: list[Tensor]
    table: Callable[[], Tensor]
    """Returns the table, shape (I, d)."""


def _start_table(origin: Tensor, settings: Refinement, rng: torch.Generator) -> LearnedTable:
    """Return the table that is refined, equal to *origin*, shape (I, d), at first.

    With a network its output for an item, at first 0, is added to the item's vector.
    """
    if settings.through == "table":
        table = origin.clone().requires_grad_()
        return LearnedTable([table], lambda: table)
    dim = origin.shape[1]
    inner = (
        torch.randn(dim + 1, settings.hidden, generator=rng) / (dim + 1) ** 0.5
    )  # the last row is the bias
    outer = torch.zeros(settings.hidden, dim)
    parameters = [inner.requires_grad_(), outer.requires_grad_()]
    return LearnedTable(parameters, lambda: origin + torch.tanh(origin @ inner[:-1] + inner[-1]) @ outer)


def _pull(table: Tensor, origin: Tensor, strength: float) -> Tensor:
    return strength * (table - origin).square().sum() if strength else table.new_zeros(())
