"""The quality of a PEE for a user: exact, and cheap because a PEE is a pair of group and layer.

All users of a group are evaluated at a layer with one matrix product, layer after layer. After that, the
quality of (user, layer) is a lookup.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from wire.arrays import Float32Array
from wire.layers import Layers
from wire.messages import QualityReport, encode
from wire.ranking_metrics import FloatArray, IntArray, ItemLists, rank

CUT_OFF = 20


class Quality(NamedTuple):
    """Metrics of one user's recommendations."""

    ndcg_at_10: float
    recall_at_20: float
    hit_rate_at_10: float


NOTHING = Quality(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class HeldOut:
    """Interactions of the users: known ones, which are masked, and held-out ones, which should be found."""

    known: ItemLists
    test: ItemLists


def evaluate_layers(shelf: BlockPrefix, users: IntArray, vectors: Float32Array, truth: HeldOut) -> FloatArray:
    """Return the quality of each layer of a group for its users, shape (layers + 1, users, 3); 0 at layer 0.

    Layers are evaluated in rising order, so each block is decoded once.

    Args:
        shelf: the group's complete ranking.
        users: user numbers.
        vectors: their vectors in the group's basis, shape (users, d).
        truth: of all users, by user number.
    """
    layers = shelf.layers
    qualities = np.zeros((layers.top + 1, len(users), len(NOTHING)))
    if not len(users):
        return qualities
    table, known, test = ItemTable(shelf), truth.known.take(users), truth.test.take(users)
    for layer in range(1, layers.top + 1):
        table.hold(layers.blocks[layer])
        ranking = rank(table.scores(vectors), known, test, CUT_OFF)
        qualities[layer] = np.stack([ranking.ndcg(10), ranking.recall(20), ranking.hit_rate(10)], axis=1)
    return qualities


class GroupQuality:
    """The quality of one group's layers, for those of its users that were evaluated.

    Args:
        number: of the group.
        layers: the layer table of the group.
        qualities: as `evaluate_layers` returns them.
    """

    def __init__(self, number: int, layers: Layers, qualities: FloatArray) -> None:
        self.number = number
        self.layers = layers
        self._qualities = qualities
        self._layers: dict[int, list[Quality]] = {}

    def at(self, layer: int) -> list[Quality]:
        """Return the quality of *layer* for each of the users, in their order."""
        quality = self._layers.get(layer)
        if quality is None:
            quality = self._layers[layer] = [Quality(*row) for row in self._qualities[layer].tolist()]
        return quality


class UserQuality:
    """The quality of each layer for one user."""

    __slots__ = ("_blocks", "_group", "_index", "_known", "_sizes", "best_layer")

    def __init__(self, group: GroupQuality, index: int) -> None:
        self.best_layer = group.layers.best
        """Returns the highest layer that fits into so many bytes."""
        self._blocks = group.layers.blocks
        self._group = group
        self._index = index
        self._known: dict[int, Quality] = {}
        self._sizes: dict[int, int] = {}

    def at(self, layer: int) -> Quality:
        """Return the quality of *layer* for this user."""
        try:
            return self._known[layer]
        except KeyError:
            quality = self._known[layer] = self._group.at(layer)[self._index]
            return quality

    def message(self, model: str, layer: int, held: int) -> QualityReport:
        """Return the message of a device of this user that holds *held* blocks and uses *layer*."""
        ndcg, recall, hit_rate = self.at(layer)
        return QualityReport(
            model=model,
            layer=layer,
            held=held,
            ndcg_at_10=ndcg,
            recall_at_20=recall,
            hit_rate_at_10=hit_rate,
        )

    def message_bytes(self, model: str, layer: int, held: int) -> int:
        """Return the size of that message."""
        if held != self._blocks[layer]:
            return len(encode(self.message(model, layer, held)))
        key = layer if model else -1
        try:
            return self._sizes[key]
        except KeyError:
            size = self._sizes[key] = len(encode(self.message(model, layer, held)))
            return size

    @property
    def user_group(self) -> int:
        """The number of the user's group."""
        return self._group.number

    @property
    def layers(self) -> Layers:
        """The layer table of the user's group."""
        return self._group.layers

    @property
    def top(self) -> int:
        """The last layer: the complete ranking."""
        return self._group.layers.top

    @property
    def full(self) -> Quality:
        """The quality with the complete ranking held."""
        return self.at(self.top)


@dataclass(frozen=True)
class QualityTable:
    """The quality of all layers for some users of a model version: numbers, which can be kept and sent."""

    users: IntArray
    """User numbers, ascending."""
    groups: IntArray
    """The user group of each of them."""
    by_group: Mapping[int, FloatArray]
    """For each user group, the quality of its layers for its users, as `evaluate_layers` returns it."""

    def by_user(self, layers: Mapping[int, Layers]) -> dict[int, UserQuality]:
        """Return the quality of each user by user number.

        Args:
            layers: the layer table of each user group.
        """
        qualities: dict[int, UserQuality] = {}
        for number, values in self.by_group.items():
            group = GroupQuality(number, layers[number], values)
            members = self.users[self.groups == number].tolist()
            qualities |= {user: UserQuality(group, index) for index, user in enumerate(members)}
        return qualities


def evaluate_users(
    shelves: Mapping[int, BlockPrefix],
    users: IntArray,
    user_groups: IntArray,
    user_vectors: Float32Array,
    truth: HeldOut,
) -> QualityTable:
    """Return the quality of all layers for *users*.

    Args:
        shelves: the complete ranking of each user group.
        users: numbers of the users.
        user_groups: the group of every user of the model, shape (U,).
        user_vectors: the vector of every user, shape (U, d).
        truth: of every user.
    """
    users = np.unique(users)
    groups = user_groups[users]
    by_group = {}
    for number, shelf in shelves.items():
        members = users[groups == number]
        by_group[number] = evaluate_layers(shelf, members, user_vectors[members], truth)
    return QualityTable(users, groups, by_group)


def user_qualities(
    shelves: Mapping[int, BlockPrefix],
    users: IntArray,
    user_groups: IntArray,
    user_vectors: Float32Array,
    truth: HeldOut,
) -> dict[int, UserQuality]:
    """Return the quality of all layers for each of *users*, with the arguments of `evaluate_users`."""
    table = evaluate_users(shelves, users, user_groups, user_vectors, truth)
    return table.by_user({number: shelf.layers for number, shelf in shelves.items()})
