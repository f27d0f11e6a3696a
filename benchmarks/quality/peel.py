"""PEEL itself: each user's group has its own ranking of blocks, and a budget gets a prefix of it."""

import functools
from dataclasses import dataclass

import msgspec
import numpy as np

from benchmarks.quality.full import Full, start_of
from benchmarks.quality.method import Candidate, Choice
from cloud.blocks.store import BlockStore
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.train import personalize
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import Model
from wire.arrays import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True)
class Peel:
    """All stages of PEEL, stored and ranked by the code that devices run.

    Bytes: what `wire.layers` counts: numbers, ids, scales and sizes of the blocks held. Groups hold
    different prefixes; what is reported is the largest, so the budget holds for every user.
    """

    name: str
    model: Model
    """Its training's seed is that of the full model."""
    shuffled: bool = False
    """A control: once all is trained, users are dealt to groups anew, sizes kept."""

    def fit(self, full: Full, interactions: Interactions) -> "FittedPeel":
        """Train, or take what a method that differs in the codec alone has trained."""
        model = msgspec.structs.replace(
            self.model, training=msgspec.structs.replace(self.model.training, seed=full.training.seed)
        )
        trained = train_cached(interactions, model.training)
        if self.shuffled:
            trained = shuffled(trained, start_of(interactions, model.training).factors.items)
        store = encode_store(trained, model, lambda _done, _total: None)
        shelves = full_prefixes(store)
        return FittedPeel(
            Choice(interactions, lambda budget: [prefix_candidate(store, shelves, budget)]), store
        )


@dataclass(frozen=True)
class FittedPeel:
    """A store that is ready to rank."""

    choice: Choice
    store: BlockStore
    sizes: tuple[int, ...] = ()

    def at(self, budget_bytes: int) -> Candidate | None:
        """Return the longest prefixes within *budget_bytes*."""
        return self.choice.at(budget_bytes)


@functools.lru_cache(maxsize=1)
def train_cached(interactions: Interactions, training: Training) -> TrainedModel:
    """Return the trained model; the last one is cached, for any codec."""
    return personalize(start_of(interactions, training), interactions, training, lambda _: None)


def shuffled(model: TrainedModel, items: Float32Array) -> TrainedModel:
    """Return *model* with its users dealt to groups at random, the sizes of groups kept.

    A user's vector is put into the basis of the new group: what is lost at small budgets is what knowing
    the user's group is worth. With everything held as much is lost as lies outside what the new group's
    table spans, which has no more directions than the group has users.

    Args:
        model: every group's table is the same table in another basis, up to a constant per user.
        items: that table, shape (I, d).
    """
    centred = items.astype(np.float64) - items.mean(axis=0, dtype=np.float64)
    # Group g's table is centred @ turns[g], so a plain vector is turns[g] times that in the group's basis.
    turns = [np.linalg.lstsq(centred, table.astype(np.float64), rcond=None)[0] for table in model.item_tables]
    groups = stream(0, "shuffled").permutation(model.user_groups)
    vectors = np.empty_like(model.user_vectors)
    for user, (before, after) in enumerate(zip(model.user_groups, groups, strict=True)):
        plain = turns[before] @ model.user_vectors[user]
        vectors[user] = np.linalg.lstsq(turns[after], plain, rcond=None)[0]
    return TrainedModel(
        vectors, groups, model.item_tables, model.item_weights, model.corrections, model.report
    )


def prefix_candidate(store: BlockStore, shelves: dict[int, BlockPrefix], budget_bytes: int) -> Candidate:
    """Return the tables with which devices score, each with its own group's prefix."""
    tables = {number: _table(shelf, budget_bytes) for number, shelf in shelves.items()}
    layers = [shelf.layers for shelf in shelves.values()]
    size = max(table.bytes[table.best(budget_bytes)] for table in layers)
    return Candidate(size, lambda batch: _scores(store, tables, batch), f"{len(tables)} groups")


def _table(shelf: BlockPrefix, budget_bytes: int) -> ItemTable:
    table = ItemTable(shelf)
    table.hold(shelf.layers.blocks[shelf.layers.best(budget_bytes)])
    return table


def _scores(store: BlockStore, tables: dict[int, ItemTable], batch: IntArray) -> FloatArray:
    scores = np.empty((len(batch), store.geometry.items))
    vectors: Float32Array = store.user_vectors[batch]
    groups = store.user_groups[batch]
    for group in np.unique(groups).tolist():
        members = groups == group
        scores[members] = tables[group].scores(vectors[members])
    return scores
