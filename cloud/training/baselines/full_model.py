"""The full model: what every method starts from and is measured against."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.config import BackbonePlugin, Training
from wire.arrays import Float32Array
from wire.geometry import Score
from wire.ranking_metrics import ItemLists


@dataclass(frozen=True, eq=False)
class FullModel:
    """One global model: ``users`` (U, d), ``items`` (I, d), learned as ``training`` says."""

    training: Training
    users: Float32Array
    items: Float32Array
    newcomers: ItemLists | None = None
    """The items of each of the last users, who were no part of training: nothing may be learned from them.

    Their validation items count as known: the interactions with such a model have none of theirs.
    """

    @property
    def seed(self) -> int:
        """The seed it was trained with; a method draws from streams of this seed."""
        return self.training.seed

    @property
    def members(self) -> Float32Array:
        """The vectors of the users who were part of training."""
        return self.users if self.newcomers is None else self.users[: -len(self.newcomers)]

    @property
    def bytes(self) -> int:
        """Bytes of the item table in fp32: 100 % of a budget."""
        return 4 * self.items.size


STAGE_ONE = (
    "backbone",
    "lightgcn",
    "ials",
    "cosine",
    "file",
    "refit",
    "dim",
    "score",
    "epochs",
    "learning_rate",
    "dropout",
    "l2",
    "user_weight_exponent",
    "batch_size",
    "evaluate_every",
    "patience",
    "diversity",
    "diversity_form",
    "seed",
    "threads",
)
"""The keys of training that pretraining reads; and `slice_width`, for diversity and the tiled score."""


def stage_one(training: Training) -> Training:
    """Return *training* with every key that pretraining does not read at its default.

    The backbone of a plug-in may read all of them.
    """
    if isinstance(training.backbone, BackbonePlugin):
        return training
    read = {name: getattr(training, name) for name in STAGE_ONE}
    if training.diversity or training.score is Score.TILED:
        read["slice_width"] = training.slice_width
    read["rotate"] = training.score is not Score.TILED
    return Training(**{"slice_width": min(Training().slice_width, training.dim)} | read)


@functools.lru_cache(maxsize=4)
def first_users(interactions: Interactions, count: int) -> Interactions:
    """Return the interactions of the first *count* users, the same object each time."""
    first = np.arange(count)
    return replace(
        interactions,
        train=interactions.train.take(first),
        valid=interactions.valid.take(first),
        test=interactions.test.take(first),
        user_ids=interactions.user_ids[:count],
    )


def members_of(interactions: Interactions, full: FullModel) -> Interactions:
    """Return the interactions of the users who were part of training, the same object each time."""
    return first_users(interactions, len(full.members)) if full.newcomers is not None else interactions
