"""Guard: a group keeps the result of a stage only if validation users prefer it.

The rule was fixed before any result was seen. A stage has a *prior* choice, with it or without it. First all
validation users decide together: the joint choice is the prior one unless they prefer the other by more than
a number of standard errors of the mean difference (`cloud.training.config.Guard.standard_errors`). Then each
group with at least `MIN_VALIDATION_USERS` such users may choose differently, if its own users prefer the
other by more than so many of their standard errors. A group has about fifty users, too few to choose by the
sign of a difference; all groups together have enough. If small budgets are evaluated and tables are large,
only a sample of the groups decides (`sample_groups`), and the others follow the joint choice.

Letters: I items, d dimensions, M item groups, N slices, n validation users.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cloud.blocks.embedded_table import PlannedBlock, rank_embedded, scale_for_embedding
from cloud.blocks.group_table import GroupTable
from cloud.data.interactions import Interactions
from cloud.training.evaluation import ndcg_per_user
from wire.arrays import Float32Array
from wire.codecs.planes import dequantise
from wire.geometry import Geometry
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

EVALUATION_BUDGETS = (0.005, 0.01, 0.03)  # shares of the fp32 table's bytes, ascending
MIN_VALIDATION_USERS = 10  # with fewer users the standard error is not reliable
MAX_EVALUATED_NUMBERS = 50_000_000
"""Largest number of table entries of the groups on which a stage is evaluated.

It allows all 128 groups of MovieLens-1M, and 19 groups with 40,000 items of 64 dimensions."""


@dataclass(frozen=True, eq=False)
class ValidationUsers:
    """Users of one group with validation items: numbers ``users`` (n,), and lists in that order."""

    users: IntArray
    known: ItemLists
    relevant: ItemLists


Evaluator = Callable[[GroupTable, Float32Array, ValidationUsers], FloatArray]
"""Returns NDCG@20 of the validation users, whose vectors (n, d) are given, mean over budgets, shape (n,)."""


@dataclass(frozen=True)
class StageReport:
    """The report of a stage: a ``summary``, and an entry for each of ``groups``; JSON types only."""

    summary: dict[str, object]
    groups: list[dict[str, object]]

    @classmethod
    def off(cls) -> "StageReport":
        """Return the report of a stage that is switched off."""
        return cls({"enabled": False}, [])


@dataclass(frozen=True)
class GuardDecisions:
    """Decisions of all users together and of each group: True keeps the result of the stage."""

    joint: bool
    keep: list[bool]
    deciding_groups: int
    """Number of groups with users who decide; the others follow the joint choice."""
    gain: float | None
    """Mean difference of all users, with the stage minus without it."""
    standard_error: float | None

    def report(self) -> dict[str, object]:
        """Return the decisions in JSON types."""
        return {
            "kept_jointly": self.joint,
            "kept_in_groups": sum(self.keep),
            "judged_in_groups": self.deciding_groups,
            "mean_gain": self.gain,
            "standard_error": self.standard_error,
        }


def decide(gains: Sequence[FloatArray], *, prior: bool, standard_errors: float) -> GuardDecisions:
    """Decide by the rule of this module.

    Args:
        gains: per group, the gain of each validation user by the stage, shape (n,); (0,) for none.
        prior: True if the stage is kept without evidence against it.
        standard_errors: the number of standard errors that changes a choice.
    """
    all_gains = np.concatenate([*gains, np.empty(0)])
    deciding_groups = sum(len(group_gains) > 0 for group_gains in gains)
    if len(all_gains) < 2:
        return GuardDecisions(prior, [prior] * len(gains), deciding_groups, None, None)
    joint = _prefers(all_gains, prior, standard_errors)
    keep = [
        _prefers(group_gains, joint, standard_errors) if len(group_gains) >= MIN_VALIDATION_USERS else joint
        for group_gains in gains
    ]
    return GuardDecisions(joint, keep, deciding_groups, float(all_gains.mean()), _standard_error(all_gains))


def keep_all(n_groups: int) -> GuardDecisions:
    """Return decisions without a guard: every group keeps the result of the stage."""
    return GuardDecisions(True, [True] * n_groups, 0, None, None)


def sample_groups(tables: Sequence[Float32Array], seed: int) -> list[int]:
    """Return the groups, ascending, on which stages are evaluated: all, or a sample drawn by *seed*.

    It is the same for every stage, and has at least one group and at most as many as `MAX_EVALUATED_NUMBERS`
    allows.
    """
    most = max(1, MAX_EVALUATED_NUMBERS // tables[0].size)
    if len(tables) <= most:
        return list(range(len(tables)))
    sample: list[int] = stream(seed, "judging groups").choice(len(tables), most, replace=False).tolist()
    return sorted(sample)


def gain(evaluate: tuple[FloatArray, FloatArray] | None) -> FloatArray:
    """Return each user's gain by a stage, given (quality without, quality with); (0,) for None."""
    return np.empty(0) if evaluate is None else np.asarray(evaluate[1] - evaluate[0])


def validation_users(members: IntArray, interactions: Interactions) -> ValidationUsers:
    """Return the *members* that have validation interactions."""
    with_items = members[interactions.valid.counts()[members] > 0]
    return ValidationUsers(
        with_items, interactions.train.take(with_items), interactions.valid.take(with_items)
    )


def split_validation(
    members: IntArray, interactions: Interactions, seed: int, group: int
) -> tuple[ValidationUsers, ValidationUsers]:
    """Divide the validation users among *members* at random: one half to learn from, one to decide.

    All stages use the same halves, so that no stage learns from users who decide about a later one.
    """
    with_items = members[interactions.valid.counts()[members] > 0]
    with_items = stream(seed, "halves", group).permutation(with_items)
    middle = len(with_items) // 2
    return validation_users(np.sort(with_items[:middle]), interactions), validation_users(
        np.sort(with_items[middle:]), interactions
    )


def small_budget_evaluator(geometry: Geometry) -> Evaluator:
    """Return the evaluator that uses the blocks held at small budgets, in ranking order.

    Args:
        geometry: with an embedded codec, and a score of items without a block; no more planes are needed than
            the budgets reach.
    """

    def evaluate(group: GroupTable, vectors: Float32Array, validation: ValidationUsers) -> FloatArray:
        values, user_scale = scale_for_embedding(group.centred())
        users = (vectors * user_scale).astype(np.float32)
        scores = [
            ndcg_per_user(users, table, validation.known, validation.relevant)
            for table in _prefixes(geometry, values, rank_embedded(geometry, values, group))
        ]
        return np.asarray(np.mean(scores, axis=0))

    return evaluate


def _prefixes(
    geometry: Geometry, values: Float32Array, steps: Sequence[PlannedBlock]
) -> Iterator[Float32Array]:
    """Yield the table, shape (I, d), as decoded at each evaluation budget; one block is held at least.

    All are one array that is changed in place.
    """
    ends = np.cumsum([step.bytes for step in steps])
    known, count_before = np.zeros_like(values), 0
    for share in EVALUATION_BUDGETS:
        count = max(1, int(np.searchsorted(ends, share * values.size * 4, side="right")))
        planes = {(step.item_group, step.slice): step.planes for step in steps[count_before:count]}
        for (m, n), held in planes.items():
            block = (m * geometry.slices + n) * geometry.planes
            cell = geometry.rows(block), geometry.columns(block)
            known[cell] = dequantise(values[cell], held - 1)
        count_before = count
        yield known


def _prefers(gains: FloatArray, choice: bool, standard_errors: float) -> bool:
    """Return *choice*, or the other one if *gains* prefer it by more than so many standard errors."""
    margin = standard_errors * _standard_error(gains)
    return bool(gains.mean() >= -margin) if choice else bool(gains.mean() > margin)


def _standard_error(gains: FloatArray) -> float:
    return float(gains.std(ddof=1) / np.sqrt(len(gains)))
