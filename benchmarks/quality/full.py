"""The full model: what every method starts from and is measured against."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from cloud.config import Controller, Refinement, Training
from cloud.interactions import Interactions
from cloud.training import Progress, train
from wire.geometry import Float32Array

Tell = Callable[[str], None]
"""Told in a few words what is going on."""


@dataclass(frozen=True, eq=False)
class Full:
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


def global_only(training: Training) -> Training:
    """Return *training* with nothing but stage 1: one group, no refinement, no rotation, no controller."""
    return msgspec.structs.replace(
        training,
        clustering="off",
        refine=Refinement(enabled=False),
        controller=Controller(enabled=False),
        rotate=False,
    )


def learn_full(interactions: Interactions, training: Training, tell: Tell) -> Full:
    """Train the global model: with the same seed, the one that PEEL's stages start from."""
    model = train(interactions, global_only(training), telling(tell))
    return Full(training, model.user_vectors, model.item_tables[0])


def telling(tell: Tell) -> Callable[[Progress], None]:
    """Return a listener to training that passes on what it hears as words."""
    return lambda now: tell(f"{now.stage} {now.done}/{now.total} {now.note}")
