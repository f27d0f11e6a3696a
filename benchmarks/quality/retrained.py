"""A smaller model trained from the start: the plainest rival."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from benchmarks.quality.codes import Precision, decoded, table_bytes, widest
from benchmarks.quality.full import Full
from benchmarks.quality.method import Candidate, Choice, factored
from cloud.config import Training
from cloud.interactions import Interactions
from cloud.training import learn_global
from wire.geometry import Float32Array

Factors = tuple[Float32Array, Float32Array]
Trainer = Callable[[int, float], Factors]
"""From a width and a dropout to user and item tables."""


@dataclass(frozen=True)
class Retrained:
    """The full model's recipe with fewer dimensions, as many as fit; dropout is chosen on validation.

    Bytes: the numbers, and a scale per column of int8 or int4.
    """

    name: str
    precision: Precision
    dropouts: tuple[float, ...] = ()
    """Dropouts to try beside the full model's: a narrow model wants less."""

    def fit(self, full: Full, interactions: Interactions) -> Choice:
        """Prepare to train; a width that comes again is not trained again."""
        trainer = _trainer(interactions, full.training)
        dropouts = (full.training.dropout, *self.dropouts)
        rows, most = full.items.shape

        def options(budget_bytes: int) -> Iterator[Candidate]:
            width = widest(self.precision, rows, most, budget_bytes)
            size = table_bytes(self.precision, rows, width)
            for dropout in dropouts if width else ():
                users, items = trainer(width, dropout)
                note = f"{self.precision} x {width}, dropout {dropout:g}"
                yield factored(users, decoded(items, self.precision), size, note)

        return Choice(interactions, options)


@functools.lru_cache(maxsize=4)
def _trainer(interactions: Interactions, training: Training) -> Trainer:
    """Return a trainer that remembers: methods that differ in precision alone share its models."""

    @functools.cache
    def trained(width: int, dropout: float) -> Factors:
        config = msgspec.structs.replace(training, dim=width, dropout=dropout, slice_width=1, diversity=0.0)
        factors = learn_global(interactions, config, lambda _: None).factors
        return factors.users, factors.items

    return trained
