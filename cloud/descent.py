"""What every training loop is made of: named random streams, batches, steps, and when to stop.

Letters: U users, I items, d dimensions, B users in a batch.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wire.errors import RunError
from wire.geometry import Float32Array
from wire.metrics import IntArray
from wire.streams import stream

Tick = Callable[[int, int, str], None]
"""Told how far a stage is: steps done, steps in all, a note for people."""

START_SPREAD = 0.1  # standard deviation of the entries of a table before the first step


@dataclass(frozen=True, eq=False)
class Factors:
    """The global model: ``users`` (U, d) and ``items`` (I, d); a score is their inner product."""

    users: Float32Array
    items: Float32Array


@dataclass
class BestSoFar:
    """Keeps the best of a series of tables and says when to give up.

    A score that is not a number, for want of validation interactions, always counts as a gain: then
    the last tables are kept.
    """

    patience: int
    score: float = -math.inf
    epoch: int = 0
    tables: tuple[Float32Array, ...] = ()
    looks_without_gain: int = 0

    def look(self, score: float, epoch: int, *tables: Tensor) -> bool:
        """Take note of *tables* with their *score*; return whether to stop."""
        if score <= self.score:
            self.looks_without_gain += 1
            return self.looks_without_gain >= self.patience
        self.score, self.epoch, self.looks_without_gain = score, epoch, 0
        self.tables = tuple(table.detach().cpu().numpy().copy() for table in tables)
        return False


def fastest_device() -> torch.device:
    """Return the GPU where torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return torch's random stream called *name* (`wire.streams`)."""
    return torch.Generator().manual_seed(int(stream(seed, *name).integers(2**63)))


def start_table(rows: int, dim: int, rng: torch.Generator) -> Tensor:
    """Return a random table that can be trained, shape (rows, dim), on the fastest device.

    It is drawn on the CPU, so that it is the same on any device.
    """
    return (torch.randn(rows, dim, generator=rng) * START_SPREAD).to(fastest_device()).requires_grad_()


def batches(users: IntArray, size: int, rng: torch.Generator) -> Iterator[IntArray]:
    """Yield *users* in a random order, at most *size* at a time."""
    order = users[torch.randperm(len(users), generator=rng).numpy()]
    for start in range(0, len(order), size):
        yield order[start : start + size]


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, doing: str, learning_rate: float) -> None:
    """Take one step down the gradient of *loss*.

    Raises:
        RunError: *loss* is not a finite number.
    """
    if not torch.isfinite(loss):
        raise RunError(
            f"{doing}: the loss is {loss.item()}; learning_rate(={learning_rate}) may be too large"
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
