"""The full model: what every method starts from and is measured against."""

import functools
from dataclasses import dataclass

from cloud.data.interactions import Interactions
from cloud.training.config import BackbonePlugin, Training
from cloud.training.train import GlobalModel, learn_global
from wire.arrays import Float32Array


@dataclass(frozen=True, eq=False)
class FullModel:
    """One global model: ``users`` (U, d), ``items`` (I, d), learned as ``training`` says."""

    training: Training
    users: Float32Array
    items: Float32Array

    @property
    def seed(self) -> int:
        """The seed it was trained with; a method draws from streams of this seed."""
        return self.training.seed

    @property
    def bytes(self) -> int:
        """Bytes of the item table in fp32: 100 % of a budget."""
        return 4 * self.items.size


STAGE_ONE = (
    "backbone",
    "lightgcn",
    "ials",
    "file",
    "dim",
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
"""The keys of training that pretraining reads; and `slice_width`, for the diversity term."""


def pretrain_once(interactions: Interactions, training: Training) -> GlobalModel:
    """Return the pretrained tables; the last two are cached."""
    return _start_of(interactions, stage_one(training))


def stage_one(training: Training) -> Training:
    """Return *training* with every key that pretraining does not read at its default.

    The backbone of a plug-in may read all of them.
    """
    if isinstance(training.backbone, BackbonePlugin):
        return training
    read = {name: getattr(training, name) for name in STAGE_ONE}
    if training.diversity:
        read["slice_width"] = training.slice_width
    return Training(**{"slice_width": min(Training().slice_width, training.dim)} | read)


@functools.lru_cache(maxsize=2)
def _start_of(interactions: Interactions, training: Training) -> GlobalModel:
    return learn_global(interactions, training, lambda _: None)


def learn_full(interactions: Interactions, training: Training) -> FullModel:
    """Train the global model that PEEL's stages start from."""
    start = pretrain_once(interactions, training)
    return FullModel(training, start.factors.users, start.factors.items)
