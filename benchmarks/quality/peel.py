"""PEEL itself: each user's group has its own ranking of blocks, and a budget gets a prefix of it."""

import functools
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from benchmarks.quality.full import Full
from benchmarks.quality.method import Candidate, Choice
from cloud.config import Training
from cloud.interactions import Interactions
from cloud.store import BlockStore
from cloud.training import TrainedModel, train
from devices.quality import Truth
from devices.recommender import ItemTable
from devices.shelf import Shelf
from emulator.model import store_of
from emulator.simulation import evaluate
from scenarios.schema import Model
from wire.geometry import Codec, Float32Array
from wire.metrics import FloatArray, IntArray


@dataclass(frozen=True)
class Peel:
    """All stages of PEEL, stored and ranked by the code that devices run.

    Bytes: what `wire.layers` counts: numbers, ids and scales of the blocks held. Groups hold
    different prefixes; what is reported is the largest, so the budget holds for every user.
    """

    name: str
    codec: Codec
    layers: int = Model().layers
    clustering: Literal["kmeans", "random", "off"] | None = None
    """In place of the training's own, where given: random groups are the control."""

    def fit(self, full: Full, interactions: Interactions) -> "FittedPeel":
        """Train, or take what a method that differs in the codec alone has trained."""
        training = full.training
        if self.clustering:
            training = msgspec.structs.replace(training, clustering=self.clustering)
        store = stored(trained(interactions, training), training, self.codec, self.layers)
        shelves, _ = evaluate(store, Truth(interactions.known, interactions.test), [])
        return FittedPeel(Choice(interactions, lambda budget: [held(store, shelves, budget)]), store)


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
def trained(interactions: Interactions, training: Training) -> TrainedModel:
    """Train, and remember the last model."""
    return train(interactions, training, lambda _: None)


def stored(model: TrainedModel, training: Training, codec: Codec, layers: int) -> BlockStore:
    """Return the block store of *model*."""
    return store_of(model, Model(training=training, codec=codec, layers=layers))


def held(store: BlockStore, shelves: dict[int, Shelf], budget_bytes: int) -> Candidate:
    """Return what devices score with, each with its own group's prefix."""
    tables = {number: _table(shelf, budget_bytes) for number, shelf in shelves.items()}
    layers = [shelf.layers for shelf in shelves.values()]
    size = max(each.bytes[each.best(budget_bytes)] for each in layers)
    return Candidate(size, lambda batch: _scores(store, tables, batch), f"{len(tables)} groups")


def _table(shelf: Shelf, budget_bytes: int) -> ItemTable:
    table = ItemTable(shelf)
    table.hold(shelf.layers.blocks[shelf.layers.best(budget_bytes)])
    return table


def _scores(store: BlockStore, tables: dict[int, ItemTable], batch: IntArray) -> FloatArray:
    found = np.empty((len(batch), store.geometry.items))
    vectors: Float32Array = store.user_vectors[batch]
    groups = store.user_groups[batch]
    for group in np.unique(groups).tolist():
        members = groups == group
        found[members] = tables[group].scores(vectors[members])
    return found
