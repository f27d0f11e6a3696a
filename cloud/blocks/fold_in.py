"""Fold-in: group and vector of a user whom training did not see, from what the user has met.

Each group has an item table in a basis of its own, and all of them stand for one global table, which a store
does not have. So the first step finds a table B, shape (I, r), with orthonormal columns, in which all groups'
scores are (`SharedTable`): those directions, at most d, in which the scores of all users vary most. There a
user who met some items is the most probable one, if the model's users are a Gaussian with mean m and
covariance C:

    z = argmin  sum over items met (1 - <z, b>)^2  +  a / I |B z|^2  +  n (z - m)' C^-1 (z - m)

The first two terms are those of implicit least squares (`cloud.training.backbones.ials`): a target of 1 for
what was met, of 0 for all items, whose weight is a together. The group is the one whose users' mean direction
is nearest to that of z, as in clustering; the vector there has the scores nearest to B z. Neither depends on
the bases of the groups. Constants that a user's scores have in common change no ranking: tables are centred.
Letters: I items, d dimensions, U users.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from cloud.blocks.store import BlockStore, build_store
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

UNOBSERVED = 10.0
"""The weight a, as a multiple of the mean number of interactions of a user of the training."""
NOISE = 0.03
"""The noise n: the mean square of what keeps a score from its target."""
SHRINKAGE = 0.02
"""The part of a covariance that is the same in all directions: there may be fewer users than dimensions."""
LEAST_ENERGY = 1e-12
"""Directions with a smaller part of the scores' energy are rounding errors."""


@dataclass(frozen=True, eq=False)
class KnownUsers:
    """The users of a trained model: ``vectors`` (U, d), each in the basis of its group, ``groups`` (U,)."""

    vectors: Float32Array
    groups: IntArray
    interactions: float
    """The mean number of interactions that training had of one of them."""

    @classmethod
    def of(cls, store: BlockStore) -> Self:
        """Return the users of a store; 100 interactions of each where the store does not say it."""
        counted, mean = store.report.get("interactions"), 100.0
        if isinstance(counted, dict) and counted.get("users") and counted.get("train"):
            mean = float(counted["train"]) / float(counted["users"])
        return cls(store.user_vectors, store.user_groups, mean)


@dataclass(frozen=True, eq=False)
class FoldedUsers:
    """Groups and vectors of users, shapes (n,) and (n, d)."""

    groups: IntArray
    vectors: Float32Array


@dataclass(frozen=True, eq=False)
class SharedTable:
    """One table for all groups.

    Shapes: ``items`` (I, r), centred, with orthonormal columns; ``into`` (r, d), from a group's vectors to
    those with nearly the same scores here; ``out_of`` (d, r), the way back.
    """

    items: FloatArray
    into: Mapping[int, FloatArray]
    out_of: Mapping[int, FloatArray]

    @classmethod
    def of(cls, known: KnownUsers, table: Callable[[int], Float32Array]) -> Self:
        """Return the table that stands for those of all groups of *known* users; each is asked for once.

        Group after group, the table becomes the strongest d directions of itself and of the group's scores.
        """
        items, into = np.zeros((0, 0)), dict[int, FloatArray]()
        squares = dict[int, FloatArray]()
        for group in np.unique(known.groups).tolist():
            own = table(group).astype(np.float64)
            own -= own.mean(axis=0)
            members = known.vectors[known.groups == group].astype(np.float64)
            weights = np.sqrt(np.square(members).sum(axis=0))  # (d,)
            before = items.shape[1]
            joined = np.hstack([items.reshape(len(own), before), own * weights])
            energy, directions = np.linalg.eigh(joined.T @ joined)
            strongest = np.argsort(-energy)[: own.shape[1]]
            turn = directions[:, strongest[energy[strongest] > LEAST_ENERGY * energy.max()]]
            items = joined @ turn
            into = {number: turn[:before].T @ each for number, each in into.items()}
            into[group] = turn[before:].T / np.where(weights > 0, weights, np.inf)
            squares[group] = own.T @ own
        lengths = np.linalg.norm(items, axis=0)
        into = {group: each * lengths[:, None] for group, each in into.items()}
        out_of = {
            group: np.linalg.pinv(squares[group], rcond=LEAST_ENERGY, hermitian=True) @ each.T
            for group, each in into.items()
        }
        return cls(items / lengths, into, out_of)


def fold_in(known: KnownUsers, table: Callable[[int], Float32Array], met: ItemLists) -> FoldedUsers:
    """Return group and vector of users whom a model does not know.

    Args:
        known: the model's users.
        table: returns the whole item table of a group, shape (I, d).
        met: the items that each new user has met.
    """
    shared = SharedTable.of(known, table)
    users = np.zeros((len(known.groups), shared.items.shape[1]))
    for group, into in shared.into.items():
        users[known.groups == group] = known.vectors[known.groups == group].astype(np.float64) @ into.T
    found = _most_probable(shared.items, users, met, UNOBSERVED * known.interactions)
    groups = _nearest_groups(found, users, known.groups)
    vectors = np.zeros((len(met), known.vectors.shape[1]))
    for group in np.unique(groups).tolist():
        vectors[groups == group] = found[groups == group] @ shared.out_of[group].T
    return FoldedUsers(groups, vectors.astype(np.float32))


def _most_probable(items: FloatArray, users: FloatArray, met: ItemLists, unobserved: float) -> FloatArray:
    """Return the vector of each user who has *met* some items, shape (n, r)."""
    mean = users.mean(axis=0)
    pull = NOISE * np.linalg.inv(_covariance(users))
    base = unobserved / len(items) * items.T @ items + pull
    found = np.zeros((len(met), items.shape[1]))
    for user in range(len(met)):
        own = items[met[user]]
        found[user] = np.linalg.solve(own.T @ own + base, own.sum(axis=0) + pull @ mean)
    return found


def _nearest_groups(found: FloatArray, users: FloatArray, groups: IntArray) -> IntArray:
    """Return the group of each of *found*: the one whose mean direction is nearest, as in clustering."""
    numbers, rows = np.unique(groups, return_inverse=True)
    known = _directions(users)
    centres = np.stack([known[rows == row].mean(axis=0) for row in range(len(numbers))])
    distances = np.square(centres).sum(axis=1) - 2 * _directions(found) @ centres.T  # and a constant per user
    return np.asarray(numbers[distances.argmin(axis=1)], dtype=np.int64)


def _directions(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


def _covariance(users: FloatArray) -> FloatArray:
    """Return the covariance of users, shape (r, r), shrunk toward the same in all directions."""
    deviations = users - users.mean(axis=0)
    covariance = deviations.T @ deviations / len(users)
    even = float(np.trace(covariance)) / len(covariance) or 1.0
    return np.asarray((1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(len(covariance)))


def add_users(store: BlockStore, users: FoldedUsers) -> BlockStore:
    """Return *store* with more users, numbered after those that it has; all blocks stay as they are."""
    return build_store(
        store.geometry,
        groups=store.groups,
        user_vectors=np.concatenate([store.user_vectors, users.vectors]),
        user_groups=np.concatenate([store.user_groups, users.groups]),
        report=store.report,
    )
