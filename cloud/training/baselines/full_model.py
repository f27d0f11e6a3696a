"""The full model: what every method starts from and is measured against."""

from dataclasses import dataclass

from cloud.training.config import BackbonePlugin, Training
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
