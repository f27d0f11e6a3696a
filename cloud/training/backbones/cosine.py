"""Backbone `cosine`: vectors spread along the graph, learned by a softmax over cosines.

Vectors spread along the graph of interactions as those of `lightgcn`. A user's items compete with a random
sample of all items, and what competes is the cosine, so that a popular item cannot win by a long vector (Wu
et al. 2022, "On the Effectiveness of Sampled Softmax Loss for Item Recommendation"): rare items are learned
as well as popular ones. How much popularity counts is then chosen on validation: an item's vector gets a
length in proportion to n_i^c, with n_i its number of interactions. Letters: U users, I items, d dimensions, B
users in a batch, P interactions of a batch, S sampled items.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cloud.data.interactions import Interactions
from cloud.training.backbones.lightgcn import combine_layers, interaction_graph
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import Graph, Training
from cloud.training.evaluation import (
    STOPPING_CUTOFF,
    number_or_none,
    prefer,
    validation_quality,
)
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
from wire.ranking_metrics import ItemLists

STEPS_PER_ROUND = 15  # a checkpoint is offered after each round
ROUNDS_PER_TICK = 2
ITEM_LENGTH = 0.3  # of an item with one interaction, as `ials` has it
LEAST_MEAN_SCORE = 0.03  # a tenth of the largest at exponent 0: limits the length of a user


def cosine(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Learn for a fixed number of steps, then choose the weight of popularity on validation.

    Loss: the mean over the interactions of the batch's users of -log of the item's share in the softmax of
    cosine / temperature over itself and the sampled items, which stand for all items.

    Returns:
        The model, and the report.

    Raises:
        RunError: the loss is not a finite number.
    """
    settings = config.cosine
    users, directions = _learn_directions(interactions, config, tick, checkpoints)  # (U, d), (I, d)
    models = [scale(users, directions, interactions.train, exponent) for exponent in settings.exponents]
    qualities = [validation_quality(model.users, model.items, interactions, config.seed) for model in models]
    number = prefer(qualities)
    score = qualities[number].mean
    tick(settings.rounds, settings.rounds, f"validation NDCG@{STOPPING_CUTOFF} {score:.4f}")
    return models[number], {
        "backbone": "cosine",
        "epochs": settings.rounds,
        "best_epoch": settings.rounds,
        "valid_ndcg_at_20": number_or_none(score),
        "popularity_exponent": settings.exponents[number],
    }


def _learn_directions(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints
) -> tuple[Tensor, Tensor]:
    """Learn the vectors of users and of items, all of length 1, shapes (U, d) and (I, d)."""
    settings, rng = config.cosine, generator(config.seed, "pretrain")
    n_users, n_items = interactions.n_users, interactions.n_items
    graph = interaction_graph(interactions.train, n_items).to(fastest_device())  # (U + I, U + I)
    layers = Graph(layers=settings.layers)  # of which the mean is taken
    ego = init_table(n_users + n_items, config.dim, rng)  # (U + I, d), users first
    optimizer = torch.optim.Adam([ego], lr=settings.learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.rounds * STEPS_PER_ROUND)
    loop = TrainingLoop((ego,), rng, EarlyStopping(patience=1), optimizer, decay)
    for number in loop.epochs(settings.rounds, checkpoints, tick):
        for _ in range(STEPS_PER_ROUND):
            batch = torch.randperm(n_users, generator=rng)[: settings.batch_size].numpy()  # (B,)
            sampled = torch.randint(n_items, (settings.sampled_items,), generator=rng)  # (S,)
            final = combine_layers(graph, ego, layers, config.dim)  # (U + I, d)
            loss = sampled_softmax_loss(
                final[batch], final[n_users:], interactions.train.take(batch), sampled, settings.temperature
            )
            gradient_step(optimizer, loss, f"pretraining in epoch {number}", settings.learning_rate)
            decay.step()
        if number % ROUNDS_PER_TICK == 0:
            tick(number, settings.rounds, f"loss {loss.item():.3f}")
    with torch.no_grad():
        final = normalize(combine_layers(graph, ego, layers, config.dim))
    return final[:n_users], final[n_users:]


def sampled_softmax_loss(
    users: Tensor, items: Tensor, targets: ItemLists, sampled: Tensor, temperature: float
) -> Tensor:
    """Return the mean over all targets of -log softmax(cosine / temperature).

    The sum over all items in the softmax is estimated by that over *sampled*; the target is added to it, so
    that its share is below 1.

    Args:
        users: shape (B, d).
        items: shape (I, d).
        targets: the items of each of the B users; a user without items counts for nothing.
        sampled: item numbers drawn evenly, with repeats, shape (S,).
        temperature: small ones sharpen the softmax.
    """
    rows, columns = (torch.from_numpy(array).to(users.device) for array in targets.pairs())  # (P,), (P,)
    directions = normalize(users) / temperature  # (B, d)
    others = directions @ normalize(items[sampled.to(items.device)]).T  # (B, S)
    log_sums = torch.logsumexp(others, dim=1) + math.log(len(items) / len(sampled))  # (B,)
    liked = (directions[rows] * normalize(items[columns])).sum(dim=1)  # (P,)
    return (torch.logaddexp(log_sums[rows], liked) - liked).sum() / max(len(rows), 1)


# --- lengths --------------------------------------------------------------------------------------


def scale(users: Tensor, directions: Tensor, train: ItemLists, exponent: float) -> Factors:
    """Return the model of vectors of length 1, shapes (U, d) and (I, d), with lengths.

    An item's length is in proportion to its number of interactions to the power *exponent*; without
    interactions it counts as one with one. A user's is such that the scores of known items are 1 on average,
    as they tend to be with `ials`; a length changes no ranking of the user's.
    """
    rows, columns = train.pairs()
    counts = np.maximum(np.bincount(columns, minlength=len(directions)), 1)
    items = directions.cpu().numpy() * (ITEM_LENGTH * counts**exponent)[:, None]  # (I, d)
    vectors = users.cpu().numpy()
    sums = np.zeros_like(vectors, dtype=np.float64)
    np.add.at(sums, rows, items[columns])
    means = (vectors * sums).sum(axis=1) / np.maximum(train.counts(), 1)  # (U,)
    lengths = 1.0 / np.maximum(means, LEAST_MEAN_SCORE)
    return Factors((vectors * lengths[:, None]).astype(np.float32), items.astype(np.float32))
