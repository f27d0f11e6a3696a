"""Parts of every training loop: random streams, batches, steps, early stopping, checkpoints.

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
from wire.arrays import Float32Array
from wire.errors import RunError
from wire.random_streams import stream
from wire.ranking_metrics import IntArray

Tick = Callable[[int, int, str], None]
"""Called with the progress of a stage: steps done, all steps, a note for people."""

LOOP = "loop"  # name of a loop's checkpoint
INIT_DEVIATION = 0.1  # standard deviation of the entries of a new table


@dataclass(frozen=True, eq=False)
class Factors:
    """The global model: ``users`` (U, d) and ``items`` (I, d); a score is their inner product."""

    users: Float32Array
    items: Float32Array


@dataclass
class EarlyStopping:
    """Keeps the best of a series of tables and tells when to stop.

    A score that is not a number, without validation interactions, always counts as better: then the last
    tables are kept.
    """

    patience: int
    score: float = -math.inf
    epoch: int = 0
    tables: tuple[Float32Array, ...] = ()
    evaluations_without_gain: int = 0

    def update(self, score: float, epoch: int, *tables: Tensor) -> bool:
        """Compare *tables* with the best ones by their *score*; return True to stop."""
        if score <= self.score:
            self.evaluations_without_gain += 1
            return self.evaluations_without_gain >= self.patience
        self.score, self.epoch, self.evaluations_without_gain = score, epoch, 0
        self.tables = tuple(table.detach().cpu().numpy().copy() for table in tables)
        return False


@dataclass(eq=False)
class TrainingLoop:
    """The state of a training loop between two epochs.

    ``tables`` are changed in place; ``epoch`` is the last that was begun, 0 before the first.
    """

    tables: Sequence[Tensor]
    rng: torch.Generator
    best: EarlyStopping
    optimizer: torch.optim.Optimizer | None = None
    decay: torch.optim.lr_scheduler.LRScheduler | None = None
    epoch: int = 0

    def epochs(self, total: int, checkpoints: Checkpoints, tick: Tick) -> Iterator[int]:
        """Yield the remaining epochs of *total*, continuing from a checkpoint of an earlier process.

        A checkpoint is offered after each epoch but not after the one at which the loop stops: a process
        that continues from an earlier state reaches the same decision.
        """
        state = checkpoints.load(LOOP, lambda problem: tick(0, total, f"{problem}; training starts again"))
        if state is not None:
            self.restore(state)
            tick(self.epoch, total, f"continues from a checkpoint after epoch {self.epoch}")
        for epoch in range(self.epoch + 1, total + 1):
            self.epoch = epoch
            yield epoch
            checkpoints.maybe_save(LOOP, self.state)

    def state(self) -> State:
        """Return the state between two epochs."""
        best = self.best
        arrays = {f"table.{index}": table.detach().cpu().numpy() for index, table in enumerate(self.tables)}
        arrays |= {f"best.{index}": table for index, table in enumerate(best.tables)}
        arrays |= {"rng": self.rng.get_state().numpy(), "score": np.array(best.score)}  # JSON has no infinity
        facts: dict[str, Any] = {
            "epoch": self.epoch,
            "best_epoch": best.epoch,
            "looks_without_gain": best.evaluations_without_gain,
        }
        if self.optimizer is not None:
            for index, moments in self.optimizer.state_dict()["state"].items():
                arrays |= {
                    f"optimizer.{index}.{name}": moment.cpu().numpy() for name, moment in moments.items()
                }
            facts["rates"] = [group["lr"] for group in self.optimizer.param_groups]
        if self.decay is not None:
            facts["decay"] = self.decay.state_dict()
        return State(arrays, facts)

    def restore(self, state: State) -> None:
        """Set the state: the following epochs are the same as from the saved point, bit for bit."""
        arrays, facts = state.arrays, state.facts
        with torch.no_grad():
            for index, table in enumerate(self.tables):
                table.copy_(torch.from_numpy(arrays[f"table.{index}"]))
        self.rng.set_state(torch.from_numpy(arrays["rng"]))
        best = self.best
        best.score, best.epoch = float(arrays["score"]), facts["best_epoch"]
        best.evaluations_without_gain = facts["looks_without_gain"]
        best.tables = tuple(arrays[name] for name in sorted(arrays) if name.startswith("best."))
        self.epoch = facts["epoch"]
        if self.optimizer is not None:
            moments: dict[int, dict[str, Tensor]] = {}
            for name, array in arrays.items():
                if name.startswith("optimizer."):
                    _, number, moment = name.split(".")
                    moments.setdefault(int(number), {})[moment] = torch.from_numpy(array)
            groups = self.optimizer.state_dict()["param_groups"]
            for group, rate in zip(groups, facts["rates"], strict=True):
                group["lr"] = rate
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if self.decay is not None:
            self.decay.load_state_dict(facts["decay"])


def fastest_device() -> torch.device:
    """Return the GPU if torch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return torch's random stream called *name* (`wire.random_streams`)."""
    return torch.Generator().manual_seed(int(stream(seed, *name).integers(2**63)))


def init_table(rows: int, dim: int, rng: torch.Generator) -> Tensor:
    """Return a random table with gradients, shape (rows, dim), on the fastest device.

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
    torch.autograd.backward(loss)
    optimizer.step()
