"""The full table itself, and the full table in fewer bits: each has one size only."""

from dataclasses import dataclass

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from cloud.training.baselines.precision import Precision, read_back, table_bytes


@dataclass(frozen=True)
class WholeTable:
    """All items, all dimensions, at one precision. Bytes: the numbers, and a scale per column."""

    name: str
    precision: Precision

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Encode the table."""
        rows, columns = full.items.shape
        size = table_bytes(self.precision, rows, columns)
        only = by_products(full.users, read_back(full.items, self.precision), size, self.precision.value)

        def options(budget_bytes: int) -> list[Candidate]:
            return [only] if size <= budget_bytes else []

        return Choice(interactions, options, (size,))
