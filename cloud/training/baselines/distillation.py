"""Two other ways to train small: taught by the full model, and with every prefix trained to do alone."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import msgspec
import torch
from torch import Tensor

from cloud.data.interactions import Interactions
from cloud.training.baselines.columns import truncations
from cloud.training.baselines.fitting import FitTask, Targets, fit_tables, plain_targets
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from cloud.training.baselines.precision import Precision, read_back, table_bytes, widest
from wire.arrays import Float32Array
from wire.ranking_metrics import IntArray


@dataclass(frozen=True)
class DistilledModel:
    """A narrow model whose targets are half the user's items, half the full model's softmax.

    Bytes: the numbers, and a scale per column. Precision, int8 or int4, and dropout are chosen on validation.
    """

    name: str = "retrained:distilled"
    precisions: tuple[Precision, ...] = (Precision.INT8, Precision.INT4)
    dropouts: tuple[float, ...] = ()
    """Dropouts to try beside the full model's: a narrow model wants less."""

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Prepare to train; a width that comes again is not trained again."""
        targets = distillation_targets(full, plain_targets(interactions))
        rows, most = full.items.shape

        @functools.cache
        def trained(width: int, dropout: float) -> tuple[Float32Array, Float32Array]:
            training = msgspec.structs.replace(full.training, dropout=dropout)
            return fit_tables(FitTask(interactions, training, targets, (width,)), self.name)

        def options(budget_bytes: int) -> Iterator[Candidate]:
            for precision, dropout in product(self.precisions, (full.training.dropout, *self.dropouts)):
                width = widest(precision, rows, most, budget_bytes)
                if width:
                    users, items = trained(width, dropout)
                    size = table_bytes(precision, rows, width)
                    note = f"{precision} x {width}, dropout {dropout:g}"
                    yield by_products(users, read_back(items, precision), size, note)

        return Choice(interactions, options)


@dataclass(frozen=True)
class MatryoshkaModel:
    """One table each of whose prefixes is trained to rank alone; a budget gets a prefix.

    Bytes: the numbers, and a scale per column. Precision and dropout are chosen on validation.
    """

    name: str = "matryoshka"
    dropouts: tuple[float, ...] = ()
    """Dropouts to try beside the full model's."""

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Train once for all budgets, with each dropout."""
        dim = full.items.shape[1]
        nested = (*(2**power for power in range(dim.bit_length()) if 2**power < dim), dim)
        trainings = [
            msgspec.structs.replace(full.training, dropout=dropout)
            for dropout in (full.training.dropout, *self.dropouts)
        ]
        models = [
            fit_tables(FitTask(interactions, training, plain_targets(interactions), nested), self.name)
            for training in trainings
        ]

        def options(budget_bytes: int) -> Iterator[Candidate]:
            for users, items in models:
                yield from truncations(users, items, tuple(Precision), budget_bytes)

        return Choice(interactions, options)


def distillation_targets(full: FullModel, own: Targets) -> Targets:
    """Return targets that mix a user's own with the full model's softmax, half and half."""
    users, items = torch.from_numpy(full.users), torch.from_numpy(full.items)

    def targets(batch: IntArray) -> Tensor:
        return 0.5 * own(batch) + 0.5 * torch.softmax(users[batch] @ items.T, dim=1)

    return targets
