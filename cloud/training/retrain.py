"""Retraining: the next version of a model, near the version before it, with the interactions known by then.

All versions of a lineage share the user groups, the order of the items, the basis of each group and the
scales of its table, so that versions differ by the change of the numbers alone:

1. the global tables are solved again, from those of the version before, in a few turns;
2. the new item table is aligned: multiplied by the matrix (d, d) that brings it nearest to the one before,
   items weighted by their interactions. The users are multiplied by its inverse, so no score changes;
3. each group's table moves by the change of the aligned table, in the basis of the group;
4. a user's group stays. Who had no interactions before joins the group with the nearest mean direction.

Items without interactions have rows already, and stay where they are until somebody meets them. Letters: U
users, I items, d dimensions, G user groups.
"""

from dataclasses import dataclass, replace
from typing import Self

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from cloud.blocks.embedded_table import scale_for_embedding
from cloud.blocks.group_table import group_table
from cloud.blocks.next_version import NextNumbers
from cloud.blocks.trained_model import TrainedModel
from cloud.training.backbones.ials import check_finite, solve_table, transpose
from cloud.training.config import LeastSquares, Training
from cloud.training.loop import Factors
from cloud.training.threads import limit_threads
from cloud.training.train import GlobalModel
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

LEAST_SINGULAR = 1e-3
"""Smallest singular value, as a part of the largest, of a matrix that is inverted.

What is smaller adds next to nothing to a score. It may be rounding noise of a dimension that training has
left empty, and its inverse would then make vectors that are a million times too long.
"""


@dataclass(frozen=True, eq=False)
class GroupBasis:
    """The basis of a user group: the change of its table, and of its users' vectors, from the global ones.

    Shapes: ``table`` (I, d) of the first version; ``of_items`` and ``of_users`` (d, d); ``item_scale`` and
    ``user_scale`` (d,), of the store; ``centre`` (d,), the mean direction of its users.
    """

    table: Float32Array
    of_items: FloatArray
    of_users: FloatArray
    item_scale: FloatArray
    user_scale: FloatArray
    centre: FloatArray

    def table_after(self, change: FloatArray) -> Float32Array:
        """Return the group's table, in the scale of the store, after a *change* (I, d) of the global one."""
        return ((self.table + change @ self.of_items) * self.item_scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Lineage:
    """The state from which the next version is trained.

    Shapes: ``items`` (I, d), the last global table; ``aligned`` (I, d), the same aligned and centred;
    ``first`` (I, d), that of the first version; ``seen`` (U,), True for users who had interactions.
    """

    settings: LeastSquares
    items: Float32Array
    aligned: FloatArray
    first: FloatArray
    groups: tuple[GroupBasis, ...]
    seen: tuple[bool, ...]

    @classmethod
    def begin(cls, start: GlobalModel, model: TrainedModel, known: ItemLists, config: Training) -> Self:
        """Return the lineage whose first version is *model*.

        Args:
            start: the global tables behind it, learned by `ials`.
            model: the first version.
            known: the interactions that it was trained with.
            config: its settings.
        """
        l2 = start.report["l2"]  # doubled, perhaps
        assert isinstance(l2, float)
        factors, settings = start.factors, msgspec.structs.replace(config.ials, l2=l2)
        centred = _centre(factors.items)
        groups = tuple(
            _group_basis(model, number, factors, centred) for number in range(len(model.item_tables))
        )
        seen = tuple((known.counts() > 0).tolist())
        return cls(settings, factors.items, centred, centred, groups, seen)

    def retrain(
        self, known: ItemLists, vectors: Float32Array, groups: IntArray, turns: int
    ) -> tuple["Lineage", NextNumbers]:
        """Return the lineage with one version more, and the numbers of that version.

        Args:
            known: all interactions known now, of each user; there may be more users than before.
            vectors: the users' vectors in the store of the version before, shape (U, d).
            groups: the users' groups there, shape (U,).
            turns: the number of times that users and items are solved.

        Raises:
            RunError: a table has an entry that is not a finite number.
        """
        with limit_threads(1):
            users, items = self._solve(known, turns)
        weights = np.sqrt(np.bincount(known.items, minlength=len(items)) + 1.0)[:, None]
        centred = _centre(items)
        alignment = np.linalg.lstsq(centred * weights, self.aligned * weights, rcond=LEAST_SINGULAR)[0]
        aligned = centred @ alignment
        turned = users @ np.linalg.pinv(alignment, rcond=LEAST_SINGULAR).T  # (U, d)
        has_items = known.counts() > 0
        seen = np.zeros(len(known), dtype=np.bool_)
        seen[: len(self.seen)] = self.seen
        new_groups = self._assign(turned, groups, has_items & ~seen)
        numbers = NextNumbers(
            tables=[basis.table_after(aligned - self.first) for basis in self.groups],
            user_vectors=self._vectors(turned, vectors, new_groups, has_items),
            user_groups=new_groups,
        )
        return replace(self, items=items, aligned=aligned, seen=tuple((seen | has_items).tolist())), numbers

    def _solve(self, known: ItemLists, turns: int) -> tuple[Float32Array, Float32Array]:
        """Return the global tables after *turns*, begun from the items of the version before."""
        items, liked_by = torch.from_numpy(self.items), transpose(known, len(self.items))
        for turn in range(turns):
            users = solve_table(known, items, self.settings)
            items = solve_table(liked_by, users, self.settings)
            check_finite(users, items, turn, self.settings.l2)
        return solve_table(known, items, self.settings).numpy(), items.numpy()

    def _assign(self, users: FloatArray, groups: IntArray, newcomers: NDArray[np.bool_]) -> IntArray:
        """Return the groups, with each of *newcomers* in the group with the nearest mean direction."""
        centres = np.stack([basis.centre for basis in self.groups])  # (G, d)
        found = groups.copy()
        found[newcomers] = (users[newcomers] @ centres.T).argmax(axis=1)
        return found

    def _vectors(
        self, users: FloatArray, before: Float32Array, groups: IntArray, chosen: NDArray[np.bool_]
    ) -> Float32Array:
        """Return the vectors of the *chosen* users in the basis of their groups; the others stay."""
        vectors = before.copy()
        for number, basis in enumerate(self.groups):
            members = np.flatnonzero((groups == number) & chosen)
            vectors[members] = users[members] @ basis.of_users * basis.user_scale
        return vectors


def _group_basis(model: TrainedModel, number: int, factors: Factors, centred: FloatArray) -> GroupBasis:
    group = group_table(model, number)
    lengths = np.linalg.norm(factors.users, axis=1, keepdims=True)
    table = group.table.astype(np.float64)
    user_scale = scale_for_embedding(group)[1]
    of_items = np.asarray(np.linalg.lstsq(centred, _centre(table), rcond=LEAST_SINGULAR)[0], np.float64)
    # A user's scores stay as near as the group's basis allows: u' minimizes |T u' - V u| over all items.
    of_users = (np.linalg.pinv(_centre(table), rcond=LEAST_SINGULAR) @ centred).T
    item_scale = np.where(user_scale > 0, 1 / np.where(user_scale > 0, user_scale, 1.0), 0.0)
    directions = factors.users / np.where(lengths > 0, lengths, 1.0)
    mean = directions[model.user_groups == number].astype(np.float64).mean(axis=0)
    centre: FloatArray = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float64)
    return GroupBasis(group.table, of_items, of_users, item_scale, user_scale, centre)


def _centre(items: NDArray[np.floating]) -> FloatArray:
    """Return a table whose mean row is 0: that changes all scores of a user by one constant."""
    exact = items.astype(np.float64)
    return np.asarray(exact - exact.mean(axis=0))
