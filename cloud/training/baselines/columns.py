"""Fewer dimensions of the full table: the first k as trained, or after an SVD of the score matrix."""

from collections.abc import Iterator
from dataclasses import dataclass

from cloud.data.interactions import Interactions
from cloud.training.baselines.basis import rotate_tables
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from cloud.training.baselines.precision import Precision, read_back, table_bytes, widest
from wire.arrays import Float32Array


@dataclass(frozen=True)
class FirstColumns:
    """The first k dimensions, as wide as fits; the precision is chosen on validation.

    Bytes: the numbers, and a scale per column of int8 or int4.
    """

    name: str
    rotate: bool
    precisions: tuple[Precision, ...] = tuple(Precision)

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Rotate once, if at all."""
        users, items = rotate_tables(full) if self.rotate else (full.users, full.items)
        return Choice(interactions, lambda budget: truncations(users, items, self.precisions, budget))


def truncations(
    users: Float32Array, items: Float32Array, precisions: tuple[Precision, ...], budget_bytes: int
) -> Iterator[Candidate]:
    """Yield, for each precision, the first columns of a pair of tables, as many as fit."""
    for precision in precisions:
        width = widest(precision, len(items), items.shape[1], budget_bytes)
        if width:
            size = table_bytes(precision, len(items), width)
            table = read_back(items[:, :width], precision)
            yield by_products(users[:, :width], table, size, f"{precision} x {width}")
