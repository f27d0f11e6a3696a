"""Implicit ALS: every pair of user and item has a wanted score, and the tables are solved for in turns.

Hu, Koren, Volinsky 2008, with the regularization of Rendle, Krichene, Zhang, Koren 2022 ("Revisiting the
Performance of iALS on Item Recommendation Benchmarks"). A turn costs L d^2 + (U + I) d^3 for L training
interactions: no score of a pair without an interaction is ever computed. Letters: U users, I items, d
dimensions, R rows of the table that is solved for, C rows of the other, B rows in a batch, n columns that
the longest row of a batch has.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cloud.config import LeastSquares, Training
from cloud.descent import BestSoFar, Factors, Tick, generator, start_table
from cloud.interactions import Interactions
from cloud.ranking import LOOK_AT, number_or_none, validation_ndcg
from wire.errors import RunError
from wire.metrics import IntArray, ItemLists

ENTRIES_AT_ONCE = 8_000_000  # of gathered vectors or of matrices to solve, 32 MB of float32


def ials(interactions: Interactions, config: Training, tick: Tick) -> tuple[Factors, dict[str, object]]:
    """Solve for users and items in turns, stopped early by NDCG@20 on the validation interactions.

    Returns:
        The model, and what happened.

    Raises:
        RunError: the tables are no longer numbers.
    """
    settings, rng = config.ials, generator(config.seed, "pretrain")
    likes, liked_by = interactions.train, transposed(interactions.train, interactions.n_items)
    items = start_table(interactions.n_items, config.dim, rng).detach()  # (I, d)
    best = BestSoFar(settings.patience)
    for epoch in range(1, settings.epochs + 1):
        users = solved(likes, items, settings)  # (U, d)
        items = solved(liked_by, users, settings)  # (I, d)
        check_finite(users, items, epoch, settings.l2)
        if epoch % settings.evaluate_every and epoch < settings.epochs:
            continue
        score = validation_ndcg(users, items, interactions)
        tick(epoch, settings.epochs, f"validation NDCG@{LOOK_AT} {score:.4f}")
        if best.look(score, epoch, users, items):
            break
    return Factors(*best.tables), {
        "backbone": "ials",
        "epochs": epoch,
        "best_epoch": best.epoch,
        "valid_ndcg_at_20": number_or_none(best.score),
    }


def solved(known: ItemLists, other: Tensor, settings: LeastSquares) -> Tensor:
    """Return the table that minimizes the loss while the *other* table is held, shape (R, d).

    Row u, whose interactions are with the rows v_i of the other table, solves

        (sum_i v_i v_i' + a V'V + l2 (n_u + a C)^nu 1) u = sum_i v_i

    with a the weight of a pair that wants 0 and n_u the number of interactions.

    Args:
        known: the columns of each of the R rows.
        other: V, shape (C, d).
        settings: how a, l2 and nu are set.
    """
    n_others, dim = other.shape
    zero_weight = settings.unobserved * len(known.items) / (len(known) * n_others)  # a
    everything = zero_weight * (other.T @ other)  # (d, d)
    frequencies = known.counts() + zero_weight * n_others  # (R,): the weight of all pairs of a row
    pulls = torch.from_numpy(settings.l2 * frequencies**settings.frequency_exponent).to(other)  # (R,)
    one = torch.eye(dim, device=other.device)
    table = torch.zeros(len(known), dim, device=other.device)  # (R, d)
    for rows in like_batches(known.counts(), dim):  # (B,)
        vectors = gathered(known.take(rows), other)  # (B, n, d)
        left = vectors.mT @ vectors + everything + pulls[rows, None, None] * one  # (B, d, d)
        factor, _ = torch.linalg.cholesky_ex(left)  # what fails becomes no number, which is checked
        table[rows] = torch.cholesky_solve(vectors.sum(dim=1).unsqueeze(2), factor).squeeze(2)  # (B, d)
    return table


def gathered(known: ItemLists, other: Tensor) -> Tensor:
    """Return the vectors of each row's columns, filled up with zeros: shape (B, n, d)."""
    counts = known.counts()
    rows, columns = known.pairs()
    places = np.arange(len(columns)) - np.repeat(known.starts[:-1], counts)
    numbers = np.full((len(counts), max(int(counts.max()), 1)), len(other))  # (B, n); one past the end: zeros
    numbers[rows, places] = columns
    padded = torch.nn.functional.pad(other, (0, 0, 0, 1))  # (C + 1, d)
    return padded[torch.from_numpy(numbers).to(other.device)]


def like_batches(counts: IntArray, dim: int) -> Iterator[IntArray]:
    """Yield all rows that have interactions, those of like counts together, in batches that fit in memory.

    The longest row of a batch is at most twice as long as the shortest, so filling up costs no more than
    the interactions do.
    """
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        longest = 2 * int(counts[order[start]])
        like = int(np.searchsorted(counts[order], longest, side="right"))
        stop = min(like, start + max(1, ENTRIES_AT_ONCE // (dim * max(longest, dim))))
        yield order[start:stop]
        start = stop


def transposed(lists: ItemLists, n_items: int) -> ItemLists:
    """Return the users of each item, given the items of each user."""
    users, items = lists.pairs()
    return ItemLists.of_pairs(items, users, n_items)


def check_finite(users: Tensor, items: Tensor, epoch: int, l2: float) -> None:
    """Raise `RunError` if a table has an entry that is no finite number."""
    if not (torch.isfinite(users).all() and torch.isfinite(items).all()):
        raise RunError(f"pretraining in epoch {epoch}: found no solution; l2(={l2}) may be too small")
