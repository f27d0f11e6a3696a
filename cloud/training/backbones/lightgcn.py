"""Backbone `lightgcn` (He et al. 2020): vectors are spread along the graph of interactions, then combined.

Layer k of a user's vector is a weighted sum over all walks of k steps from the user. The final vector is the
mean of layers 0 to K, or all of them one after the other. Only the vectors of layer 0, the ego vectors, are
learned, by ranking pairs (BPR, Rendle et al. 2009). With zero layers this is BPR's matrix factorization.
Letters: U users, I items, d dimensions, K layers, e dimensions of a layer, L training interactions, B
interactions in a batch.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, softplus

from cloud.data.interactions import Interactions
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import Graph, Training
from cloud.training.diversity import diversity_term
from cloud.training.evaluation import STOPPING_CUTOFF, number_or_none, validation_ndcg
from cloud.training.loop import (
    EarlyStopping,
    Factors,
    Tick,
    TrainingLoop,
    fastest_device,
    generator,
    gradient_step,
    init_table,
)
from cloud.training.tiled_score import user_factors
from wire.ranking_metrics import IntArray, ItemLists


def lightgcn(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Learn by ranking pairs, stopped early by NDCG@20 on the validation interactions.

    Loss: the mean over the batch of -log sigmoid(s(u, i) - s(u, j)), i an item of user u and j drawn from
    all other items, plus ``l2 / 2`` times the mean of the squared lengths of the three ego vectors, plus the
    diversity term over the slices of the items' ego vectors.

    Returns:
        The final vectors, and the report.

    Raises:
        RunError: the loss is not a finite number.
    """
    settings, rng = config.lightgcn, generator(config.seed, "pretrain")
    n_users, n_items, device = interactions.n_users, interactions.n_items, fastest_device()
    graph = interaction_graph(interactions.train, n_items).to(device)  # (U + I, U + I), users first
    ego = init_table(n_users + n_items, layer_width(settings, config.dim), rng)  # (U + I, e)
    unknown = UnseenItems.of(interactions.train, n_items)
    optimizer = torch.optim.Adam([ego], lr=settings.learning_rate)
    best = EarlyStopping(settings.patience)
    loop = TrainingLoop((ego,), rng, best, optimizer)
    for epoch in loop.epochs(settings.epochs, checkpoints, tick):
        for users, liked in pair_batches(
            unknown.comparable_pairs(interactions.train), settings.batch_size, rng
        ):
            others = unknown.draw(users, rng)  # (B,)
            rows = torch.stack([users, n_users + liked, n_users + others]).to(device)  # (3, B)
            final = combine_layers(graph, ego, settings, config.dim)  # (U + I, d)
            vectors = embedding(rows, final)  # (3, B, d)
            loss = bpr_loss(user_factors(vectors[0], config), vectors[1], vectors[2])
            loss = loss + settings.l2 / 2 * embedding(rows, ego).square().sum() / len(users)
            if config.diversity:
                loss = loss + diversity_term(ego[n_users:], config)
            gradient_step(optimizer, loss, f"pretraining in epoch {epoch}", settings.learning_rate)
        if epoch % settings.evaluate_every and epoch < settings.epochs:
            continue
        with torch.no_grad():
            final = combine_layers(graph, ego, settings, config.dim)
            users, items = user_factors(final[:n_users], config), final[n_users:]
        score = validation_ndcg(users, items, interactions, config.seed)
        tick(epoch, settings.epochs, f"validation NDCG@{STOPPING_CUTOFF} {score:.4f}")
        if best.update(score, epoch, users, items):
            break
    return Factors(*best.tables), {
        "backbone": "lightgcn",
        "epochs": loop.epoch,
        "best_epoch": best.epoch,
        "valid_ndcg_at_20": number_or_none(best.score),
    }


# --- the loss and the layers ----------------------------------------------------------------------


def bpr_loss(users: Tensor, liked: Tensor, others: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(s(u, i) - s(u, j)), BPR-Opt of Rendle et al. 2009.

    Args:
        users: vectors of users, shape (B, d).
        liked: that of a known item of each, shape (B, d).
        others: that of an unseen item of each, shape (B, d).
    """
    return softplus(-(users * (liked - others)).sum(dim=1)).mean()  # over (B,)


def layer_width(settings: Graph, dim: int) -> int:
    """Return e, the dimensions of a layer, for final vectors of *dim* dimensions."""
    return dim if settings.combine == "mean" else -(-dim // (settings.layers + 1))


def combine_layers(graph: Tensor, ego: Tensor, settings: Graph, dim: int) -> Tensor:
    """Return the final vectors, shape (U + I, d): layer 0 is *ego*, each other is spread from the one before.

    Concatenated layers are cut to *dim* dimensions.
    """
    layers = [ego]
    for _ in range(settings.layers):
        layers.append(_symmetric_product(graph, layers[-1]))
    if settings.combine == "concat":
        return torch.cat(layers, dim=1)[:, :dim]
    total = ego
    for layer in layers[1:]:
        total = total + layer
    return total / len(layers)


class SymmetricProduct(torch.autograd.Function):
    """``graph @ table`` for a symmetric *graph*: the gradient is the same product again.

    Torch would transpose the sparse matrix in each step.
    """

    @staticmethod
    def forward(ctx: Any, graph: Tensor, table: Tensor) -> Tensor:  # Any: torch's context has no type
        """Return the product, shape (U + I, d)."""
        ctx.graph = graph
        return graph @ table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """Return the gradient of the table."""
        return None, ctx.graph @ gradients[0]


_symmetric_product: Callable[..., Tensor] = SymmetricProduct.apply


def interaction_graph(train: ItemLists, n_items: int) -> Tensor:
    """Return the sparse symmetric matrix with 1 / sqrt(n_u n_i) at each interaction (u, i) and (i, u).

    n_u and n_i are the numbers of interactions of the user and of the item; shape (U + I, U + I).
    """
    users, items = train.pairs()
    items = items + len(train)  # items follow users
    size = len(train) + n_items
    degrees = np.bincount(np.concatenate([users, items]), minlength=size)
    weights = (1.0 / np.sqrt(degrees[users] * degrees[items])).astype(np.float32)
    cells = torch.from_numpy(np.stack([np.concatenate([users, items]), np.concatenate([items, users])]))
    values = torch.from_numpy(np.concatenate([weights, weights]))
    graph = torch.sparse_coo_tensor(cells, values, (size, size), check_invariants=False).coalesce()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return graph.to_sparse_csr()  # ten times faster to multiply than coordinates


# --- drawing interactions and items that are none -------------------------------------------------


@dataclass(frozen=True, eq=False)
class UnseenItems:
    """The items that each user has not interacted with, to draw from.

    If user u's items are k_0 < k_1 < ..., then k_t - t unseen items come before k_t, and the r-th unseen
    item is r + j, with j the number of t for which k_t - t <= r. ``keys`` has all k_t - t, plus u times (I +
    1) so that one ascending array serves all users; ``starts`` is the start of each user.
    """

    keys: Tensor
    starts: Tensor
    counts: Tensor
    n_items: int

    @classmethod
    def of(cls, known: ItemLists, n_items: int) -> Self:
        """Return the unseen items, given the *known* ones."""
        users, items = known.pairs()
        positions = np.arange(len(items)) - known.starts[users]  # t
        keys = users * (n_items + 1) + items - positions
        return cls(
            torch.from_numpy(keys),
            torch.from_numpy(known.starts[:-1]),
            torch.from_numpy(n_items - known.counts()),
            n_items,
        )

    def draw(self, users: Tensor, rng: torch.Generator) -> Tensor:
        """Return an unseen item of each user, all equally likely, shape (B,).

        Args:
            users: shape (B,); each must have an unseen item.
            rng: the only source of chance.
        """
        # In float64 the product stays below the count, because the count is far below 2^53.
        chances = torch.rand(len(users), generator=rng, dtype=torch.float64)
        ranks = (chances * self.counts[users]).long()  # r
        thresholds = users * (self.n_items + 1) + ranks
        return ranks + torch.searchsorted(self.keys, thresholds, right=True) - self.starts[users]

    def comparable_pairs(self, known: ItemLists) -> tuple[IntArray, IntArray]:
        """Return the pairs of *known* whose users have an unseen item."""
        users, items = known.pairs()
        chosen = self.counts.numpy()[users] > 0
        return users[chosen], items[chosen]


def pair_batches(
    pairs: tuple[IntArray, IntArray], size: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield users and items, shapes (B,) and (B,), of all *pairs* in a random order."""
    users, items = map(torch.from_numpy, pairs)
    order = torch.randperm(len(users), generator=rng)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        yield users[batch], items[batch]
