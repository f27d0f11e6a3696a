"""Settings of the backbone `cosine`, see `cloud.training.backbones.cosine`."""

from typing import Annotated

from msgspec import Meta

from cloud.settings import Count, Rate, Setting

Exponent = Annotated[float, Meta(ge=-2.0, le=2.0)]
"""A power."""


class CosineSoftmax(Setting, frozen=True, kw_only=True):
    """The backbone `cosine`: vectors spread along the graph, learned by a sampled softmax over cosines."""

    layers: Annotated[int, Meta(ge=0, le=16)] = 2
    """Number K of times that vectors are spread."""

    rounds: Count = 12
    """Rounds of 15 steps each."""

    learning_rate: Rate = 0.02
    """Adam's rate at the start; it decays to 0 along a cosine."""

    batch_size: Count = 2048
    """Users in a step, with all their training interactions."""

    sampled_items: Count = 2048
    """Items in a step that a user's items compete with; each stands for equally many."""

    temperature: Annotated[float, Meta(gt=0.0, le=10.0)] = 0.1
    """Divisor of cosines in the softmax: a small one tells items apart that are nearly alike."""

    exponents: tuple[Exponent, ...] = (0.1, 0.0, 0.05, 0.15, 0.2)
    """Powers of an item's number of interactions that are compared as the length of its vector; 0 gives
    popular items no advantage. Validation chooses; without it, the first is taken."""

    def __post_init__(self) -> None:
        if not self.exponents:
            raise ValueError("exponents(=[]) must have a value at least")
