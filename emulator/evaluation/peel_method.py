"""PEEL as a method to compare: a user's group has its own ranking of blocks, and a budget gets a prefix."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from cloud.blocks.fold_in import KnownUsers
from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel, members_of
from cloud.training.baselines.group_heads import Learner
from cloud.training.baselines.method import Candidate, Choice
from cloud.training.baselines.newcomers import place_users
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable, whole_table
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import Model
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True)
class PeelMethod:
    """All stages of PEEL, stored and ranked by the code that devices run.

    Bytes: what `wire.layers` counts: numbers, ids, scales and sizes of the blocks held. Groups hold
    different prefixes; what is reported is the largest, so the budget holds for every user.
    """

    name: str
    model: Model
    """Its training's seed is that of the full model."""
    learn: Learner

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Train and encode."""
        training = msgspec.structs.replace(self.model.training, seed=full.seed)
        model = msgspec.structs.replace(self.model, training=training)
        trained = self.learn(members_of(interactions, full), training)
        store = encode_store(trained, model, lambda _done, _total: None)
        prefixes = full_prefixes(store)
        users = place_users(full, KnownUsers.of(store), lambda group: whole_table(prefixes[group]))
        return Choice(interactions, lambda budget: [_prefix_candidate(users, prefixes, budget)])


def _prefix_candidate(
    users: tuple[Float32Array, IntArray], prefixes: Mapping[int, BlockPrefix], budget_bytes: int
) -> Candidate:
    """Return the tables with which devices score, each with its own group's prefix.

    Args:
        users: vector and group of each.
        prefixes: the whole ranking of each group.
        budget_bytes: the budget.
    """
    tables = {number: _table(prefix, budget_bytes) for number, prefix in prefixes.items()}
    layers = [prefix.layers for prefix in prefixes.values()]
    size = max(table.bytes[table.best(budget_bytes)] for table in layers)
    return Candidate(size, lambda batch: score_users(users, tables, batch), f"{len(tables)} groups")


def _table(prefix: BlockPrefix, budget_bytes: int) -> ItemTable:
    table = ItemTable(prefix)
    table.hold(prefix.layers.blocks[prefix.layers.best(budget_bytes)])
    return table


def score_users(
    users: tuple[Float32Array, IntArray], tables: Mapping[int, ItemTable], batch: IntArray
) -> FloatArray:
    """Return the scores of the users *batch*, shape (B, I), each by the table of the user's group.

    Args:
        users: vectors (U, d) and groups (U,) of all users.
        tables: the table of each group.
        batch: numbers of users, shape (B,).
    """
    vectors, groups = users[0][batch], users[1][batch]
    scores = np.empty((len(batch), len(tables[0].values)))
    for group in np.unique(groups).tolist():
        members = groups == group
        scores[members] = tables[group].scores(vectors[members])
    return scores
