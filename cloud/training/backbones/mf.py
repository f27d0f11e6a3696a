"""Backbone `mf`: matrix factorization under a multinomial likelihood, a softmax over all items.

Letters: U users, I items, d dimensions, B users in a batch, N slices of w dimensions.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloud.data.interactions import Interactions
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import Training
from cloud.training.diversity import diversity_term, slice_similarity
from cloud.training.evaluation import STOPPING_CUTOFF, number_or_none, validation_ndcg
from cloud.training.loop import (
    EarlyStopping,
    Factors,
    Tick,
    TrainingLoop,
    batches,
    generator,
    gradient_step,
    init_table,
)
from cloud.training.tiled_score import user_factors
from wire.ranking_metrics import IntArray, ItemLists


def mf(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Learn the global model, stopped early by NDCG@20 on the validation interactions.

    Loss: the weighted mean over the batch of the users' cross-entropies, plus ``l2 * (mean |u|^2 + mean
    |v|^2)`` over the users of the batch and all items, plus the diversity term over the slices of the item
    table (`cloud.training.diversity`).

    Returns:
        The model, and the report.

    Raises:
        RunError: the loss is not a finite number.
    """
    rng = generator(config.seed, "pretrain")
    users = init_table(interactions.n_users, config.dim, rng)  # (U, d)
    items = init_table(interactions.n_items, config.dim, rng)  # (I, d)
    weights = user_weights(interactions.train.counts(), config.user_weight_exponent).to(users.device)  # (U,)
    optimizer = torch.optim.Adam([users, items], lr=config.learning_rate)
    steps = math.ceil(interactions.n_users / config.batch_size) * config.epochs
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best = EarlyStopping(config.patience)
    loop = TrainingLoop((users, items), rng, best, optimizer, decay)
    for epoch in loop.epochs(config.epochs, checkpoints, tick):
        for batch in batches(np.arange(interactions.n_users), config.batch_size, rng):  # (B,)
            vectors = users[batch]  # (B, d)
            factors = user_factors(vectors, config)  # (B, d)
            scores = dropout(factors, config.dropout, rng) @ items.T  # (B, I)
            loss = multinomial_loss(scores, interactions.train.take(batch), weights[batch])
            loss = loss + config.l2 * (mean_square_length(vectors) + mean_square_length(items))
            if config.diversity:
                loss = loss + diversity_term(items, config)
            gradient_step(optimizer, loss, f"pretraining in epoch {epoch}", config.learning_rate)
            decay.step()
        if epoch % config.evaluate_every and epoch < config.epochs:
            continue
        factors = user_factors(users, config)  # (U, d)
        score = validation_ndcg(factors, items, interactions, config.seed)
        tick(epoch, config.epochs, f"validation NDCG@{STOPPING_CUTOFF} {score:.4f}")
        if best.update(score, epoch, factors, items):
            break
    return Factors(*best.tables), {
        "backbone": "mf",
        "epochs": loop.epoch,
        "best_epoch": best.epoch,
        "valid_ndcg_at_20": number_or_none(best.score),
        "slice_similarity": float(slice_similarity(torch.from_numpy(best.tables[1]), config.slice_width)),
    }


# --- the loss and its parts ---------------------------------------------------------------------


def multinomial_loss(scores: Tensor, targets: ItemLists, weights: Tensor) -> Tensor:
    """Return the weighted mean over users of the mean of -log softmax(score) over the target items.

    The multinomial likelihood of Liang et al. 2018 (Mult-VAE), eq. 2, divided by each user's number of
    items, times the user's weight.

    Args:
        scores: shape (B, I).
        targets: the items of each row; a user without items counts for nothing.
        weights: shape (B,), not negative.
    """
    counts = targets.counts()
    shares = (1.0 / np.repeat(counts, counts)).astype(np.float32)  # weight of each pair in its user's mean
    pairs = (torch.from_numpy(array).to(scores.device) for array in (*targets.pairs(), shares))
    losses = _multinomial_nll(scores, *pairs)  # (B,)
    wanting = torch.from_numpy(counts > 0).to(scores.device)  # (B,)
    return (losses * wanting * weights).sum() / weights.sum().clamp(min=1e-12)


class MultinomialNll(torch.autograd.Function):
    """log sum exp(score) minus the mean score of the target items, per user: shape (B,).

    The gradient is softmax(score) minus the shares of the targets. Written explicitly, loss and gradient
    need one table of (B, I) each; torch's automatic gradient needs three more, and half as much time again.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, rows: Tensor, columns: Tensor, shares: Tensor) -> Tensor:
        """Return the losses; P target pairs have *rows*, *columns* and *shares*, each (P,)."""
        normalizers = torch.logsumexp(scores, dim=1)  # (B,)
        ctx.save_for_backward(scores, normalizers, rows, columns, shares)
        return normalizers.index_add(0, rows, scores[rows, columns] * shares, alpha=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the scores, shape (B, I)."""
        scores, normalizers, rows, columns, shares = ctx.saved_tensors
        (gradient,) = gradients  # (B,)
        score_gradient = (scores - normalizers[:, None]).exp_().mul_(gradient[:, None])
        score_gradient.index_put_((rows, columns), -shares * gradient[rows], accumulate=True)
        return score_gradient, None, None, None


_multinomial_nll: Callable[..., Tensor] = MultinomialNll.apply


def user_weights(counts: IntArray, exponent: float) -> Tensor:
    """Return the weight of each user, (number of interactions) ** *exponent*, shape (U,)."""
    weights = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** exponent, 0.0)
    return torch.from_numpy(weights.astype(np.float32))


def mean_square_length(vectors: Tensor) -> Tensor:
    """Return the mean over rows of the squared length of a row."""
    return vectors.square().sum() / len(vectors)


def dropout(vectors: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Return *vectors* with a random *share* of their entries set to 0 and the rest scaled up."""
    kept = (torch.rand(vectors.shape, generator=rng) >= share).to(vectors.device)
    return vectors * kept / (1 - share)
