"""Stage 1: a global user table and item table, learned on all training interactions.

Matrix factorization under a multinomial likelihood: a user's training items are drawn from a softmax
over all items. Letters: U users, I items, d dimensions, B users in a batch, N slices of w dimensions.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.config import Training
from cloud.interactions import Interactions
from wire.errors import RunError
from wire.geometry import Float32Array
from wire.metrics import FloatArray, IntArray, ItemLists, Ranking, rank
from wire.streams import stream

Tick = Callable[[int, int, str], None]
"""Told how far a stage is: steps done, steps in all, a note for people."""

START_SPREAD = 0.1  # standard deviation of the entries of a table before the first step
SCORES_AT_ONCE = 4_000_000  # bounds the memory of an evaluation, 16 MB of float32
LOOK_AT = 20  # cut-off of the NDCG that decides when to stop


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
        self.tables = tuple(table.detach().numpy().copy() for table in tables)
        return False


def pretrain(interactions: Interactions, config: Training, tick: Tick) -> tuple[Factors, dict[str, object]]:
    """Learn the global model, stopped early by NDCG@20 on the validation interactions.

    Loss: the weighted mean over the batch of the users' cross-entropies, plus
    ``l2 * (mean |u|^2 + mean |v|^2)`` over the users of the batch and all items, plus
    ``diversity * sum_{m < n} cos^2(E^m, E^n)`` over the slices of the item table.

    Returns:
        The model, and what happened.

    Raises:
        RunError: the loss is no longer a number.
    """
    rng = generator(config.seed, "pretrain")
    users = start_table(interactions.n_users, config.dim, rng)  # (U, d)
    items = start_table(interactions.n_items, config.dim, rng)  # (I, d)
    weights = user_weights(interactions.train.counts(), config.user_weight_exponent)  # (U,)
    optimizer = torch.optim.Adam([users, items], lr=config.learning_rate)
    steps = math.ceil(interactions.n_users / config.batch_size) * config.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best = BestSoFar(config.patience)
    for epoch in range(1, config.epochs + 1):
        for batch in batches(np.arange(interactions.n_users), config.batch_size, rng):  # (B,)
            vectors = users[batch]  # (B, d)
            scores = dropped(vectors, config.dropout, rng) @ items.T  # (B, I)
            loss = multinomial_loss(scores, interactions.train.take(batch), weights[batch])
            loss = loss + config.l2 * (mean_square_length(vectors) + mean_square_length(items))
            if config.diversity:
                loss = loss + config.diversity * slice_similarity(items, config.slice_width)
            descend(optimizer, loss, f"pretraining in epoch {epoch}", config.learning_rate)
            decay.step()
        if epoch % config.evaluate_every and epoch < config.epochs:
            continue
        score = validation_ndcg(users, items, interactions)
        tick(epoch, config.epochs, f"validation NDCG@{LOOK_AT} {score:.4f}")
        if best.look(score, epoch, users, items):
            break
    return Factors(*best.tables), {
        "epochs": epoch,
        "best_epoch": best.epoch,
        "valid_ndcg_at_20": number_or_none(best.score),
        "slice_similarity": float(slice_similarity(torch.from_numpy(best.tables[1]), config.slice_width)),
    }


# --- the loss and its parts ---------------------------------------------------------------------


def multinomial_loss(scores: Tensor, wanted: ItemLists, weights: Tensor) -> Tensor:
    """Return the weighted mean over users of the mean of -log softmax(score) over wanted items.

    The multinomial likelihood of Liang et al. 2018 (Mult-VAE), eq. 2, divided by each user's number
    of items and weighted anew.

    Args:
        scores: shape (B, I).
        wanted: the items of each row; a user without any counts for nothing.
        weights: shape (B,), not negative.
    """
    counts = wanted.counts()
    rows, columns = wanted.pairs()
    targets = torch.zeros_like(scores)  # (B, I), each row sums to 1
    targets[torch.from_numpy(rows), torch.from_numpy(columns)] = torch.from_numpy(
        (1.0 / np.repeat(counts, counts)).astype(np.float32)
    )
    losses = torch.nn.functional.cross_entropy(scores, targets, reduction="none")  # (B,)
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def user_weights(counts: IntArray, exponent: float) -> Tensor:
    """Return how much each user counts, (number of interactions) ** *exponent*, shape (U,)."""
    weights = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** exponent, 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def slice_similarity(items: Tensor, slice_width: int) -> Tensor:
    """Return sum over m < n of cos^2(E^m, E^n), E^n the columns of slice n as one long vector.

    The bounded form of PEEL's diversity-driven regularizer: at most N (N - 1) / 2, 0 for slices
    that are orthogonal to one another.
    """
    n_items, dim = items.shape
    padded = torch.nn.functional.pad(items, (0, -dim % slice_width))
    slices = padded.T.reshape(-1, slice_width * n_items)  # (N, w * I)
    directions = torch.nn.functional.normalize(slices, dim=1)
    return (directions @ directions.T).triu(diagonal=1).square().sum()


def mean_square_length(vectors: Tensor) -> Tensor:
    """Return the mean over rows of the squared length of a row."""
    return vectors.square().sum() / len(vectors)


def dropped(vectors: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Return *vectors* with a random *share* of their entries 0, the rest scaled up to make up."""
    kept = torch.rand(vectors.shape, generator=rng) >= share
    return vectors * kept / (1 - share)


# --- the parts of a training loop -----------------------------------------------------------------


def generator(seed: int, *name: str | int) -> torch.Generator:
    """Return torch's random stream called *name* (`wire.streams`)."""
    return torch.Generator().manual_seed(int(stream(seed, *name).integers(2**63)))


def start_table(rows: int, dim: int, rng: torch.Generator) -> Tensor:
    """Return a random table that can be trained, shape (rows, dim)."""
    return (torch.randn(rows, dim, generator=rng) * START_SPREAD).requires_grad_()


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


# --- full ranking ---------------------------------------------------------------------------------


def validation_ndcg(users: Tensor, items: Tensor, interactions: Interactions) -> float:
    """Return the mean NDCG@20 on validation items, training items masked."""
    scores = ndcg_per_user(
        users.detach().numpy(), items.detach().numpy(), interactions.train, interactions.valid
    )
    return mean_or_nan(scores)


def ndcg_per_user(
    users: Float32Array, items: Float32Array, known: ItemLists, wanted: ItemLists
) -> FloatArray:
    """Return NDCG@20 of the users that want anything, in order, by ranking all items.

    Args:
        users: shape (U, d).
        items: shape (I, d).
        known: the items that are masked, a list per user.
        wanted: the items to be found, a list per user.
    """
    found = [ranking.ndcg(LOOK_AT) for _, ranking in rankings(users, items, known, wanted, LOOK_AT)]
    return np.concatenate([*found, np.empty(0)])


def rankings(
    users: Float32Array, items: Float32Array, known: ItemLists, wanted: ItemLists, k: int
) -> Iterator[tuple[IntArray, Ranking]]:
    """Yield batches of the users that want anything, shape (B,), and the ranking of each."""
    asking = np.flatnonzero(wanted.counts())
    size = max(1, SCORES_AT_ONCE // len(items))
    for start in range(0, len(asking), size):
        batch = asking[start : start + size]
        yield batch, rank(users[batch] @ items.T, known.take(batch), wanted.take(batch), k)


def mean_or_nan(numbers: FloatArray) -> float:
    """Return the mean, or not-a-number where there is nothing to take the mean of."""
    return float(numbers.mean()) if len(numbers) else math.nan


def number_or_none(number: float) -> float | None:
    """Return *number* in a form that JSON can say: None for what is not a finite number."""
    return number if math.isfinite(number) else None
