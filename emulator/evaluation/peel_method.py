"""PEEL as a method to compare: a user's group has its own ranking of blocks, and a budget gets a prefix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from cloud.blocks.store import BlockStore
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice
from cloud.training.config import Training
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import Model
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray

Learner = Callable[[Interactions, Training], TrainedModel]
"""Trains a model, or takes it from a cache."""


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
        store = encode_store(self.learn(interactions, training), model, lambda _done, _total: None)
        prefixes = full_prefixes(store)
        return Choice(interactions, lambda budget: [_prefix_candidate(store, prefixes, budget)])


def _prefix_candidate(store: BlockStore, prefixes: Mapping[int, BlockPrefix], budget_bytes: int) -> Candidate:
    """Return the tables with which devices score, each with its own group's prefix."""
    tables = {number: _table(prefix, budget_bytes) for number, prefix in prefixes.items()}
    layers = [prefix.layers for prefix in prefixes.values()]
    size = max(table.bytes[table.best(budget_bytes)] for table in layers)
    return Candidate(size, lambda batch: _scores(store, tables, batch), f"{len(tables)} groups")


def _table(prefix: BlockPrefix, budget_bytes: int) -> ItemTable:
    table = ItemTable(prefix)
    table.hold(prefix.layers.blocks[prefix.layers.best(budget_bytes)])
    return table


def _scores(store: BlockStore, tables: Mapping[int, ItemTable], batch: IntArray) -> FloatArray:
    scores = np.empty((len(batch), store.geometry.items))
    vectors: Float32Array = store.user_vectors[batch]
    groups = store.user_groups[batch]
    for group in np.unique(groups).tolist():
        members = groups == group
        scores[members] = tables[group].scores(vectors[members])
    return scores
