"""Guards: what a stage made of a user group is tried on validation users, and kept where they prefer it.

The rule, fixed before any outcome is seen. A stage has a *prior* choice, with it or without it. First
all users that judge decide together: the joint choice is the prior one unless they prefer the other by
more than so many standard errors of the mean difference (`cloud.training.config.Guard.standard_errors`). Then
each group of at least `MIN_VALIDATION_USERS` such users may depart from the joint choice, if its own users
prefer the other by more than so many of their standard errors. A group has some fifty users, too few to
choose by the sign of a difference; all groups together are enough. Where a trial at small budgets
decides and tables are large, only a sample of the groups judges (`sample_groups`), and the others
follow the joint choice.

Letters: I items, d dimensions, M item groups, N slices, n users that judge.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cloud.blocks.encoding import GroupTable, PlannedBlock, rank_embedded, scale_for_embedding
from cloud.data.interactions import Interactions
from cloud.training.evaluation import ndcg_per_user
from wire.geometry import Float32Array, Geometry
from wire.planes import dequantise
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

EVALUATION_BUDGETS = (0.005, 0.01, 0.03)  # shares of the fp32 table's bytes, ascending
MIN_VALIDATION_USERS = 10  # users below which the spread of their differences says too little
MAX_EVALUATED_NUMBERS = 50_000_000
"""A stage is tried on so many groups that their tables together have at most so many numbers: on all 128
of MovieLens-1M, and on 19, with the full catalogue each, where there are 40,000 items of 64 dimensions."""


@dataclass(frozen=True, eq=False)
class ValidationUsers:
    """Users of one group who judge: ``users`` (n,) are their numbers, the lists are theirs in that order."""

    users: IntArray
    known: ItemLists
    wanted: ItemLists


Evaluator = Callable[[GroupTable, Float32Array, ValidationUsers], FloatArray]
"""NDCG@20 of the jury, whose vectors (n, d) are given, averaged over trial budgets, shape (n,)."""


@dataclass(frozen=True)
class StageReport:
    """What a stage did: a ``summary``, and an entry for each of ``groups``; JSON types only."""

    summary: dict[str, object]
    groups: list[dict[str, object]]

    @classmethod
    def off(cls) -> "StageReport":
        """Return the report of a stage that is switched off."""
        return cls({"enabled": False}, [])


@dataclass(frozen=True)
class GuardDecisions:
    """What all users choose together, and what each group ends up with: whether the stage is kept."""

    jointly: bool
    kept: list[bool]
    judged: int
    """How many groups had users who judge; the others follow the joint choice."""
    gain: float | None
    """Mean of all users' differences, with the stage less without it."""
    standard_error: float | None

    def report(self) -> dict[str, object]:
        """Return the verdicts in JSON types."""
        return {
            "kept_jointly": self.jointly,
            "kept_in_groups": sum(self.kept),
            "judged_in_groups": self.judged,
            "mean_gain": self.gain,
            "standard_error": self.standard_error,
        }


def decide(gains: Sequence[FloatArray], *, prior: bool, standard_errors: float) -> GuardDecisions:
    """Decide by the rule at the head of this file.

    Args:
        gains: for each group, what each user who judges gains by the stage, shape (n,); (0,) for none.
        prior: whether the stage is kept where nothing speaks against it.
        standard_errors: how many it takes to change a choice.
    """
    everyone = np.concatenate([*gains, np.empty(0)])
    judged = sum(len(each) > 0 for each in gains)
    if len(everyone) < 2:
        return GuardDecisions(prior, [prior] * len(gains), judged, None, None)
    jointly = _prefers(everyone, prior, standard_errors)
    kept = [
        _prefers(each, jointly, standard_errors) if len(each) >= MIN_VALIDATION_USERS else jointly
        for each in gains
    ]
    return GuardDecisions(jointly, kept, judged, float(everyone.mean()), _standard_error(everyone))


def keep_all(n_groups: int) -> GuardDecisions:
    """Return the verdicts where no guard is asked: every group keeps what the stage made."""
    return GuardDecisions(True, [True] * n_groups, 0, None, None)


def sample_groups(tables: Sequence[Float32Array], seed: int) -> list[int]:
    """Return the groups, ascending, on which stages are tried: all, or a sample that *seed* draws.

    It is the same for every stage, at least one group, and no more than `MAX_EVALUATED_NUMBERS` allows.
    """
    most = max(1, MAX_EVALUATED_NUMBERS // tables[0].size)
    if len(tables) <= most:
        return list(range(len(tables)))
    drawn: list[int] = stream(seed, "judging groups").choice(len(tables), most, replace=False).tolist()
    return sorted(drawn)


def gain(trial: tuple[FloatArray, FloatArray] | None) -> FloatArray:
    """Return what each user gains by a stage, from how good it was without and with it; (0,) for no trial."""
    return np.empty(0) if trial is None else np.asarray(trial[1] - trial[0])


def validation_users(members: IntArray, interactions: Interactions) -> ValidationUsers:
    """Return those of *members* that have validation interactions, as judges."""
    asking = members[interactions.valid.counts()[members] > 0]
    return ValidationUsers(asking, interactions.train.take(asking), interactions.valid.take(asking))


def split_validation(
    members: IntArray, interactions: Interactions, seed: int, group: int
) -> tuple[ValidationUsers, ValidationUsers]:
    """Divide the judges among *members* in two at random: one half to learn from, one to judge.

    Every stage gets the same halves, so that no stage has learned from those who judge a later one.
    """
    asking = members[interactions.valid.counts()[members] > 0]
    asking = stream(seed, "halves", group).permutation(asking)
    middle = len(asking) // 2
    return validation_users(np.sort(asking[:middle]), interactions), validation_users(
        np.sort(asking[middle:]), interactions
    )


def small_budget_evaluator(geometry: Geometry) -> Evaluator:
    """Return the trial that holds what embedded blocks hold at small budgets, as they will be ranked.

    Args:
        geometry: how tables are cut; its codec is embedded. No more planes than the trial budgets reach
            need to be tried.
    """

    def trial(group: GroupTable, vectors: Float32Array, judges: ValidationUsers) -> FloatArray:
        values, stretch = scale_for_embedding(group)
        users = (vectors * stretch).astype(np.float32)
        found = [
            ndcg_per_user(users, table, judges.known, judges.wanted)
            for table in _prefixes(geometry, values, rank_embedded(geometry, values, group))
        ]
        return np.asarray(np.mean(found, axis=0))

    return trial


def _prefixes(
    geometry: Geometry, values: Float32Array, steps: Sequence[PlannedBlock]
) -> Iterator[Float32Array]:
    """Yield the table, shape (I, d), as it is known at each trial budget, the floor included.

    It is one array, which grows: a budget's table is gone when the next one is asked for.
    """
    ends = np.cumsum([step.bytes for step in steps])
    known, done = np.zeros_like(values), 0
    for share in EVALUATION_BUDGETS:
        count = max(int(np.searchsorted(ends, share * values.size * 4, side="right")), geometry.item_groups)
        planes = {(step.item_group, step.slice): step.planes for step in steps[done:count]}
        for (m, n), held in planes.items():
            block = (m * geometry.slices + n) * geometry.planes
            cell = geometry.rows(block), geometry.columns(block)
            known[cell] = dequantise(values[cell], held - 1)
        done = count
        yield known


def _prefers(gains: FloatArray, choice: bool, standard_errors: float) -> bool:
    """Return *choice*, or the other one if *gains* prefer it by more than so many standard errors."""
    margin = standard_errors * _standard_error(gains)
    return bool(gains.mean() >= -margin) if choice else bool(gains.mean() > margin)


def _standard_error(gains: FloatArray) -> float:
    return float(gains.std(ddof=1) / np.sqrt(len(gains)))
