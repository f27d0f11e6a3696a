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

from cloud.data.interactions import Interactions
from cloud.training.backbones.mf import dropout, multinomial_loss, user_weights
from cloud.training.config import Training
from cloud.training.evaluation import mean_or_nan, ndcg_per_user, number_or_none
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
from wire.geometry import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class RefinedGroup:
    """A group's refined table, shape (I, d), after *epoch* epochs, and what it does for those who judge.

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
