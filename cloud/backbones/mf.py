"""Matrix factorization under a multinomial likelihood: a user's items are drawn from a softmax over all.

Letters: U users, I items, d dimensions, B users in a batch, N slices of w dimensions.
"""

import math

import numpy as np
import torch
from torch import Tensor

from cloud.config import Training
from cloud.descent import BestSoFar, Factors, Tick, batches, descend, generator, start_table
from cloud.interactions import Interactions
from cloud.ranking import LOOK_AT, number_or_none, validation_ndcg
from wire.metrics import IntArray, ItemLists


def mf(interactions: Interactions, config: Training, tick: Tick) -> tuple[Factors, dict[str, object]]:
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
    weights = user_weights(interactions.train.counts(), config.user_weight_exponent).to(users.device)  # (U,)
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
        "backbone": "mf",
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
    shares = torch.from_numpy((1.0 / np.repeat(counts, counts)).astype(np.float32))
    targets[torch.from_numpy(rows), torch.from_numpy(columns)] = shares.to(scores.device)
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
    kept = (torch.rand(vectors.shape, generator=rng) >= share).to(vectors.device)
    return vectors * kept / (1 - share)
