"""Head items only: the most popular items in full width, nothing of the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.codes import Precision, decoded, longest, table_bytes
from benchmarks.quality.full import Full
from benchmarks.quality.method import Candidate, Choice, factored
from cloud.data.interactions import Interactions


@dataclass(frozen=True)
class Head:
    """The most popular items, as many as fit, at one precision.

    Bytes: the numbers, and a scale per column of int8 or int4. Which items are held needs no index:
    they are the first of the catalogue.
    """

    name: str
    precision: Precision

    def fit(self, full: Full, interactions: Interactions) -> Choice:
        """Do nothing yet: how many items are held depends on the budget."""

        def options(budget_bytes: int) -> Iterator[Candidate]:
            rows, columns = full.items.shape
            count = longest(self.precision, rows, columns, budget_bytes)
            if count:
                table = np.zeros_like(full.items)
                table[:count] = decoded(full.items[:count], self.precision)
                size = table_bytes(self.precision, count, columns)
                held = np.arange(rows) < count
                yield factored(full.users, table, size, f"{self.precision}, {count} items", held)

        return Choice(interactions, options)
