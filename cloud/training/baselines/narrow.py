"""A smaller model trained from the start: the plainest rival."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from cloud.training.baselines.precision import Precision, read_back, table_bytes, widest
from cloud.training.config import Training
from cloud.training.train import learn_global
from wire.arrays import Float32Array

Factors = tuple[Float32Array, Float32Array]
Backbone = Literal["auto", "cosine", "mf", "lightgcn", "ials"]
Variant = tuple[Backbone, float]
"""A backbone and its dropout, which only `mf` has."""

Trainer = Callable[[int, Variant], Factors]
"""From a width and a variant to user and item tables."""


@dataclass(frozen=True)
class NarrowModel:
    """A model of fewer dimensions, as many as fit; its recipe is chosen on validation.

    Bytes: the numbers, and a scale per column of int8 or int4.
    """

    name: str
    precision: Precision
    variants: tuple[Variant, ...] = ()
    """Recipes to try beside the full model's: a narrow model wants another."""

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Prepare to train; a width that comes again is not trained again."""
        trainer = _trainer(interactions, full.training)
        learned = full.training.backbone
        repeated: Backbone = "ials" if learned == "file" or not isinstance(learned, str) else learned
        variants = ((repeated, full.training.dropout), *self.variants)
        rows, most = full.items.shape

        def options(budget_bytes: int) -> Iterator[Candidate]:
            width = widest(self.precision, rows, most, budget_bytes)
            size = table_bytes(self.precision, rows, width)
            for variant in variants if width else ():
                users, items = trainer(width, variant)
                note = f"{self.precision} x {width}, {variant[0]}, dropout {variant[1]:g}"
                yield by_products(users, read_back(items, self.precision), size, note)

        return Choice(interactions, options)


@functools.lru_cache(maxsize=4)
def _trainer(interactions: Interactions, training: Training) -> Trainer:
    """Return a trainer that remembers: methods that differ in precision alone share its models."""

    @functools.cache
    def trained(width: int, variant: Variant) -> Factors:
        config = msgspec.structs.replace(
            training, backbone=variant[0], dropout=variant[1], dim=width, slice_width=1, diversity=0.0
        )
        factors = learn_global(interactions, config, lambda _: None).factors
        return factors.users, factors.items

    return trained
