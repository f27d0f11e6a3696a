"""Learning on the device: a user's vector follows what the user has met, with the blocks that are held.

The new vector u is near the delivered one u0 and brings the scores of the items met last near a target t:

    u = argmin  sum_j w_j (t - <u, v_j>)^2  +  (u - u0)' A (u - u0),    A = a / I V'V + l s / d 1

The sum is over the last items met, v_j their vectors, the latest with weight 1 and each one before it with
`decay` times the weight. A is a Gaussian prior: the first part keeps the scores of all items where they are,
as the unobserved pairs of implicit least squares do; the second part the vector itself, s = trace(V'V / I).
The target is `target` times the root mean square of the scores of u0, 1 if that is 0, so that it does not
matter in what unit a model scores. The solution is

    u = u0 + P W' (diag(1 / w) + W P W')^-1 (t - W u0),    P = A^-1

with the vectors of the n items met as the rows of W: a system of n unknowns. Nothing is kept but the numbers
of these items: the vector is computed anew from u0 and the blocks held, so a change of budget, group or model
version needs nothing else. Letters: I items, d dimensions, n items met.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np

from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.pee_file import Pee
from devices.recommender.scoring import decode_item_groups, score_factors
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray

Weight = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]

STATE_SHARE = 8
"""The numbers of the items met take at most one part in so many of a device's budget."""


class LearningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of learning on the device; the defaults were chosen by validation on two sets of ratings."""

    history: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 16
    """The most items met that a device remembers, the latest ones."""
    decay: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.9
    """The weight of an item met is that of the next one times this."""
    target: Weight = 64.0
    """The score that an item met should have, in root mean squares of the scores of the delivered vector."""
    unobserved: Weight = 300.0
    """The weight of all items together, beside 1 for the item met last, in keeping their scores."""
    prior: Weight = 100.0
    """The weight of the delivered vector."""


class LearningTable:
    """An item table to learn with: immutable, and the same for all devices that hold the same blocks.

    Args:
        factors: the vectors of all items, 0 for an item without a block, shape (I, d) (`score_factors`); not
            copied.
        settings: the settings of learning.
    """

    def __init__(self, factors: FloatArray | Float32Array, settings: LearningSettings) -> None:
        self._factors = factors
        self._history = settings.history
        vectors = factors.astype(np.float64)
        self._update = _VectorUpdate(vectors.T @ vectors / len(vectors), settings)

    def learn(self, start: Float32Array, history: Sequence[int] | IntArray) -> Float32Array:
        """Return the vector, shape (d,), of a user who was delivered *start* and then met items.

        Args:
            start: the delivered vector, shape (d,).
            history: the numbers of the items met, the latest last; the table may lack some of them.
        """
        items = _latest(history, len(self._factors), self._history)
        return self._update.apply(start, self._factors[items].astype(np.float64))


class _VectorUpdate:
    """The solution in the head of this file.

    Args:
        second_moment: V'V / I, shape (d, d).
        settings: the settings of learning.
    """

    def __init__(self, second_moment: FloatArray, settings: LearningSettings) -> None:
        dim = len(second_moment)
        spread = float(np.trace(second_moment)) / dim
        self._second_moment = second_moment
        self._settings = settings
        self._covariance: FloatArray | None = None  # P; none where the table is 0
        if spread > 0:
            precision = settings.unobserved * second_moment + settings.prior * spread * np.eye(dim)
            self._covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)

    def apply(self, start: Float32Array, met: FloatArray) -> Float32Array:
        """Return the learned vector; *met* are the vectors of the items met, the latest last, (n, d)."""
        if self._covariance is None or not len(met):
            return start
        vector, ages = start.astype(np.float64), np.arange(len(met))[::-1]
        size = float(np.sqrt(vector @ self._second_moment @ vector))
        target = self._settings.target * size if size > 0 else 1.0
        roots = self._settings.decay ** (ages / 2)  # of the weights: with them an old item cannot overflow
        weighted = met * roots[:, None]
        gain = weighted @ self._covariance  # (n, d)
        system = gain @ weighted.T + np.eye(len(met))
        vector += np.linalg.solve(system, roots * target - weighted @ vector) @ gain
        return vector.astype(np.float32)


def learn_from_blocks(
    shelf: BlockPrefix,
    blocks: int,
    start: Float32Array,
    history: Sequence[int] | IntArray,
    settings: LearningSettings,
) -> Float32Array:
    """Return the learned vector of a user, decoding one item group at a time.

    Args:
        shelf: the blocks.
        blocks: the number of blocks held, the first of the ranking.
        start: the delivered vector, shape (d,).
        history: the numbers of the items met, the latest last.
        settings: the settings of learning.

    Raises:
        RemoteProtocolError: the bytes of a block are not valid in its codec.
    """
    geometry = shelf.geometry
    items = _latest(history, geometry.items, settings.history)
    met, squares = np.zeros((len(items), geometry.dim)), np.zeros((geometry.dim, geometry.dim))
    for rows, values, held in decode_item_groups(shelf, blocks):
        factors = score_factors(values, held, geometry)
        squares += factors.T @ factors
        numbers = np.arange(geometry.items)[rows]
        inside = np.isin(items, numbers)
        met[inside] = factors[np.searchsorted(numbers, items[inside])]
    return _VectorUpdate(squares / geometry.items, settings).apply(start, met)


def learn_pee(pee: Pee, history: Sequence[int], settings: LearningSettings) -> Pee:
    """Return *pee* with the vector of its user after the items of *history*, which are known from then on.

    Raises:
        RemoteProtocolError: the bytes of a block are not valid in its codec.
    """
    vector = learn_from_blocks(pee.shelf, pee.blocks, pee.user_vector, history, settings)
    known = np.union1d(pee.known_items, np.asarray(history, dtype=np.int64))
    return replace(pee, user_vector=vector, known_items=known)


def _latest(history: Sequence[int] | IntArray, items: int, most: int) -> IntArray:
    """Return the *most* latest of the items met that are among the first *items*."""
    numbers = np.asarray(history, dtype=np.int64)
    return numbers[numbers < items][-most:]


def item_number_bytes(items: int) -> int:
    """Return the bytes that the number of one of *items* items takes in a device's state."""
    return 2 if items <= 2**16 else 4


def history_length(settings: LearningSettings, items: int, budget_bytes: int) -> int:
    """Return the number of items met that a device remembers inside *budget_bytes*."""
    return min(settings.history, budget_bytes // STATE_SHARE // item_number_bytes(items))


def history_bytes(settings: LearningSettings, items: int, budget_bytes: int) -> int:
    """Return the bytes of a device's budget that are set aside for the items that it has met."""
    return history_length(settings, items, budget_bytes) * item_number_bytes(items)


def whole_budget(settings: LearningSettings, items: int, blocks_bytes: int) -> int:
    """Return the budget that leaves *blocks_bytes* for blocks; of some small ones the largest that does."""
    size = item_number_bytes(items)
    budgets = (blocks_bytes + count * size for count in range(settings.history, -1, -1))
    return next(
        budget for budget in budgets if budget - history_bytes(settings, items, budget) == blocks_bytes
    )
