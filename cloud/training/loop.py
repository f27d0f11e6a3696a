"""What every training loop is made of: named random streams, batches, steps, when to stop, how to go on.

Letters: U users, I items, d dimensions, B users in a batch.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloud.training.checkpoint import Checkpoints, State
from wire.errors import RunError
from wire.geometry import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import IntArray

Tick = Callable[[int, int, str], None]
"""Told how far a stage is: steps done, steps in all, a note for people."""

LOOP = "loop"  # the name of a loop's checkpoint
INIT_DEVIATION = 0.1  # standard deviation of the entries of a table before the first step


@dataclass(frozen=True, eq=False)
class Factors:
    """The global model: ``users`` (U, d) and ``items`` (I, d); a score is their inner product."""

    users: Float32Array
    items: Float32Array


@dataclass
class EarlyStopping:
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


@dataclass(eq=False)
class TrainingLoop:
    """A training loop between two epochs: all that decides how it goes on.

    ``tables`` are changed in place; ``epoch`` is the last that was begun, 0 before the first.
    """

    tables: Sequence[Tensor]
    rng: torch.Generator
    best: EarlyStopping
    optimizer: torch.optim.Optimizer | None = None
    decay: torch.optim.lr_scheduler.LRScheduler | None = None
    epoch: int = 0

    def epochs(self, total: int, checkpoints: Checkpoints, tick: Tick) -> Iterator[int]:
        """Yield the epochs that are left of *total*, from where an earlier process left off.

        A checkpoint is offered after each, but not after the one at which the loop chose to stop: whoever
        goes on from a state before it comes to the same choice.
        """
        saved = checkpoints.load(LOOP, lambda why: tick(0, total, f"{why}; training starts anew"))
        if saved is not None:
            self.restore(saved)
            tick(self.epoch, total, f"goes on from a checkpoint after epoch {self.epoch}")
        for epoch in range(self.epoch + 1, total + 1):
            self.epoch = epoch
            yield epoch
            checkpoints.offer(LOOP, self.saved)

    def saved(self) -> State:
        """Return the state between two epochs."""
        best = self.best
        arrays = {f"table.{at}": table.detach().cpu().numpy() for at, table in enumerate(self.tables)}
        arrays |= {f"best.{at}": table for at, table in enumerate(best.tables)}
        arrays |= {"rng": self.rng.get_state().numpy(), "score": np.array(best.score)}  # JSON has no infinity
        facts: dict[str, Any] = {
            "epoch": self.epoch,
            "best_epoch": best.epoch,
            "looks_without_gain": best.looks_without_gain,
        }
        if self.optimizer is not None:
            for at, moments in self.optimizer.state_dict()["state"].items():
                arrays |= {f"optimizer.{at}.{name}": each.cpu().numpy() for name, each in moments.items()}
            facts["rates"] = [group["lr"] for group in self.optimizer.param_groups]
        if self.decay is not None:
            facts["decay"] = self.decay.state_dict()
        return State(arrays, facts)

    def restore(self, saved: State) -> None:
        """Return to a state: what follows is what would have followed then, bit for bit."""
        arrays, facts = saved.arrays, saved.facts
        with torch.no_grad():
            for at, table in enumerate(self.tables):
                table.copy_(torch.from_numpy(arrays[f"table.{at}"]))
        self.rng.set_state(torch.from_numpy(arrays["rng"]))
        best = self.best
        best.score, best.epoch = float(arrays["score"]), facts["best_epoch"]
        best.looks_without_gain = facts["looks_without_gain"]
        best.tables = tuple(arrays[name] for name in sorted(arrays) if name.startswith("best."))
        self.epoch = facts["epoch"]
        if self.optimizer is not None:
            moments: dict[int, dict[str, Tensor]] = {}
            for name, array in arrays.items():
                if name.startswith("optimizer."):
                    _, place, moment = name.split(".")
                    moments.setdefault(int(place), {})[moment] = torch.from_numpy(array)
            groups = self.optimizer.state_dict()["param_groups"]
            for group, rate in zip(groups, facts["rates"], strict=True):
                group["lr"] = rate
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if self.decay is not None:
            self.decay.load_state_dict(facts["decay"])


def fastest_device() -> torch.device:
    """Return the GPU where torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return torch's random stream called *name* (`wire.random_streams`)."""
    return torch.Generator().manual_seed(int(stream(seed, *name).integers(2**63)))


def init_table(rows: int, dim: int, rng: torch.Generator) -> Tensor:
    """Return a random table that can be trained, shape (rows, dim), on the fastest device.

    It is drawn on the CPU, so that it is the same on any device.
    """
    return (torch.randn(rows, dim, generator=rng) * INIT_DEVIATION).to(fastest_device()).requires_grad_()


def batches(users: IntArray, size: int, rng: torch.Generator) -> Iterator[IntArray]:
    """Yield *users* in a random order, at most *size* at a time."""
    order = users[torch.randperm(len(users), generator=rng).numpy()]
    for start in range(0, len(order), size):
        yield order[start : start + size]


def gradient_step(optimizer: torch.optim.Optimizer, loss: Tensor, doing: str, learning_rate: float) -> None:
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
