"""A head of items for each user group, entropy-coded: the strongest rival of all that share tables.

It has PEEL's own groups, rotation and weights of items, an ideal code, and a new table at each budget. What
it lacks are the tail, and a smaller table inside a larger one. Letters: U users, I items, d dimensions.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln  # type: ignore[import-untyped]

from cloud.blocks.fold_in import KnownUsers
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.baselines.coded_head import StepSearch, dequantize, longest_prefix, quantize
from cloud.training.baselines.full_model import FullModel, members_of
from cloud.training.baselines.method import Candidate
from cloud.training.baselines.newcomers import place_users
from cloud.training.config import Training
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray

Learner = Callable[[Interactions, Training], TrainedModel]
"""Trains a model, or takes it from a cache."""


@dataclass(frozen=True, eq=False)
class HeadOfGroup:
    """The vectors of one group: ``users`` (n, d) and ``table`` (I, d), scaled so that one step suits all."""

    members: IntArray
    users: Float32Array
    table: Float32Array
    order: IntArray
    """The items, those that the group keeps first in front, shape (I,)."""
    unit: float
    """Root mean square of the table."""


@dataclass(frozen=True)
class GroupHeads:
    """The items that each of PEEL's groups wants most, quantized with one step, chosen on validation.

    A group's own order takes an index: which n of the I items are held, as log2 of the number of ways. The
    order of all users takes none. Bytes: the ideal code of `CodedHeadItems`, and the index; what is
    reported is the largest of all groups.
    """

    learn: Learner
    name: str = "head:groups"
    own_order: bool = True
    """False: every group keeps the items that all users want most."""

    def fit(self, full: FullModel, interactions: Interactions) -> StepSearch:
        """Take PEEL's groups and rotated tables."""
        trained = members_of(interactions, full)
        model = self.learn(trained, full.training)
        members = KnownUsers(model.user_vectors, model.user_groups, trained.train.counts().mean())
        vectors, groups = place_users(full, members, model.item_tables.__getitem__)
        heads = [
            _head_of_group(model, number, vectors, groups, own_order=self.own_order)
            for number in range(len(model.item_tables))
        ]
        at = functools.partial(_heads_at, heads, groups, own_order=self.own_order)
        return StepSearch(interactions, at)


def _head_of_group(
    model: TrainedModel, number: int, vectors: Float32Array, groups: IntArray, *, own_order: bool
) -> HeadOfGroup:
    trained = model.user_vectors[model.user_groups == number]
    spread = np.sqrt(np.square(trained).mean(axis=0)).clip(1e-12)  # (d,)
    table, members = model.item_tables[number] * spread, np.flatnonzero(groups == number)
    demand = -model.item_weights[number] if own_order else np.arange(len(table))
    return HeadOfGroup(
        members,
        vectors[members] / spread,
        table,
        np.argsort(demand, kind="stable"),
        float(np.sqrt(np.square(table).mean())),
    )


def _heads_at(
    heads: Sequence[HeadOfGroup], groups: IntArray, budget_bytes: int, step: float, *, own_order: bool
) -> Candidate | None:
    kept, sizes = [], []
    index = functools.partial(index_bits, len(heads[0].order)) if own_order else _no_index
    for head in heads:
        levels = quantize(head.table[head.order], step * head.unit)
        count, size = longest_prefix(levels, budget_bytes, index)
        kept.append((head.order[:count], dequantize(levels[:count], step * head.unit)))
        sizes.append(size)
    rows = np.empty(len(groups), dtype=np.int64)  # the row of each user among those of the group
    for head in heads:
        rows[head.members] = np.arange(len(head.members))

    def scores(batch: IntArray) -> FloatArray:
        scores = np.full((len(batch), len(heads[0].order)), -np.inf)
        for group in np.unique(groups[batch]).tolist():
            items, table = kept[group]
            asking = np.flatnonzero(groups[batch] == group)
            users = heads[group].users[rows[batch[asking]]]
            scores[np.ix_(asking, items)] = users.astype(np.float64) @ table.T.astype(np.float64)
        return scores

    if not any(len(items) for items, _ in kept):
        return None
    mean = sum(len(items) for items, _ in kept) / len(kept)
    return Candidate(max(sizes), scores, f"step {step:.3g}, {mean:.0f} items a group")


def _no_index(held: int) -> float:
    return 0.0


def index_bits(items: int, held: int) -> float:
    """Return the bits that say which *held* of *items* are held, all choices equally likely."""
    ways = gammaln(items + 1) - gammaln(held + 1) - gammaln(items - held + 1)
    return float(ways / np.log(2))
