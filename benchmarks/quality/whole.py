"""The full table itself, and the full table in fewer bits: each has one size only."""

from dataclasses import dataclass

from benchmarks.quality.codes import Precision, decoded, table_bytes
from benchmarks.quality.full import Full
from benchmarks.quality.method import Candidate, Choice, factored
from cloud.data.interactions import Interactions


@dataclass(frozen=True)
class Whole:
    """All items, all dimensions, at one precision. Bytes: the numbers, and a scale per column."""

    name: str
    precision: Precision

    def fit(self, full: Full, interactions: Interactions) -> Choice:
        """Encode the table."""
        rows, columns = full.items.shape
        size = table_bytes(self.precision, rows, columns)
        only = factored(full.users, decoded(full.items, self.precision), size, self.precision.value)

        def options(budget_bytes: int) -> list[Candidate]:
            return [only] if size <= budget_bytes else []

        return Choice(interactions, options, (size,))
