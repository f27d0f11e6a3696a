"""Head items only: the most popular items in full width, nothing of the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from cloud.training.baselines.precision import Precision, longest, read_back, table_bytes


@dataclass(frozen=True)
class HeadItems:
    """The most popular items, as many as fit, at one precision.

    Bytes: the numbers, and a scale per column of int8 or int4. Which items are held needs no index:
    they are the first of the catalogue.
    """

    name: str
    precision: Precision

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Do nothing yet: how many items are held depends on the budget."""

        def options(budget_bytes: int) -> Iterator[Candidate]:
            rows, columns = full.items.shape
            count = longest(self.precision, rows, columns, budget_bytes)
            if count:
                table = np.zeros_like(full.items)
                table[:count] = read_back(full.items[:count], self.precision)
                size = table_bytes(self.precision, count, columns)
                held = np.arange(rows) < count
                yield by_products(full.users, table, size, f"{self.precision}, {count} items", held)

        return Choice(interactions, options)
