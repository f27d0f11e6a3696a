"""Backbone `ials`: implicit alternating least squares over all pairs of user and item.

Hu, Koren, Volinsky 2008, with the regularization of Rendle, Krichene, Zhang, Koren 2022 ("Revisiting the
Performance of iALS on Item Recommendation Benchmarks"). Users and items are solved in turns. A turn costs at
most L d^2 for L training interactions, plus (U + I) d^2: scores of pairs without an interaction are never
computed. Letters: U users, I items, d dimensions, R rows of the table that is solved, C rows of the other, B
rows in a batch, n columns of the longest row of a batch.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cloud.data.interactions import Interactions
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import LeastSquares, Training
from cloud.training.evaluation import STOPPING_CUTOFF, number_or_none, validation_ndcg
from cloud.training.loop import EarlyStopping, Factors, Tick, TrainingLoop, generator, init_table
from wire.errors import RunError
from wire.ranking_metrics import IntArray, ItemLists

ENTRIES_PER_BATCH = 8_000_000  # of gathered vectors or matrices, 32 MB of float32


def ials(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Solve users and items in turns, stopped early by NDCG@20 on the validation interactions.

    Returns:
        The model, and the report.

    Raises:
        RunError: a table has an entry that is not a finite number.
    """
    settings, rng = config.ials, generator(config.seed, "pretrain")
    likes, liked_by = interactions.train, transpose(interactions.train, interactions.n_items)
    items = init_table(interactions.n_items, config.dim, rng).detach()  # (I, d)
    best = EarlyStopping(settings.patience)
    loop = TrainingLoop((items,), rng, best)  # users are computed from items
    for epoch in loop.epochs(settings.epochs, checkpoints, tick):
        users = solve_table(likes, items, settings)  # (U, d)
        items.copy_(solve_table(liked_by, users, settings))  # (I, d)
        check_finite(users, items, epoch, settings.l2)
        if epoch % settings.evaluate_every and epoch < settings.epochs:
            continue
        score = validation_ndcg(users, items, interactions, config.seed)
        tick(epoch, settings.epochs, f"validation NDCG@{STOPPING_CUTOFF} {score:.4f}")
        if best.update(score, epoch, users, items):
            break
    return Factors(*best.tables), {
        "backbone": "ials",
        "epochs": loop.epoch,
        "best_epoch": best.epoch,
        "valid_ndcg_at_20": number_or_none(best.score),
    }


def solve_table(known: ItemLists, other: Tensor, settings: LeastSquares) -> Tensor:
    """Return the table that minimizes the loss for a fixed *other* table, shape (R, d).

    Row u, whose interactions are with the rows v_i of the other table, solves

        (sum_i v_i v_i' + a V'V + l2 (n_u + a C)^nu 1) u = sum_i v_i

    with a the weight of a pair with target 0 and n_u the number of interactions. In the basis of the
    eigenvectors of a V'V, which all rows share, it is (W'W + D) u = W'1 with a diagonal D.

    Args:
        known: the columns of each of the R rows.
        other: V, shape (C, d).
        settings: a, l2 and nu.
    """
    n_others, dim = other.shape
    zero_weight = settings.unobserved * len(known.items) / (len(known) * n_others)  # a
    base = zero_weight * (other.T @ other)  # (d, d)
    if not torch.isfinite(base).all():
        return torch.full((len(known), dim), torch.nan).to(other)  # checked by `check_finite`
    eigenvalues, basis = (factor.to(other) for factor in torch.linalg.eigh(base.double()))  # (d,), (d, d)
    rotated = other @ basis  # (C, d)
    frequencies = known.counts() + zero_weight * n_others  # (R,): the weight of all pairs of a row
    regularization = torch.from_numpy(settings.l2 * frequencies**settings.frequency_exponent).to(
        other
    )  # (R,)
    table = torch.zeros(len(known), dim, device=other.device)  # (R, d)
    for rows in batches_by_count(known.counts(), dim):  # (B,)
        vectors = gather_rows(known.take(rows), rotated)  # (B, n, d)
        diagonals = eigenvalues.clamp(min=0) + regularization[rows, None]  # (B, d)
        table[rows] = solve_ridge(vectors, diagonals)
    solution: Tensor = table @ basis.T
    return solution


def solve_ridge(vectors: Tensor, diagonals: Tensor) -> Tensor:
    """Return the u that solve (W'W + D) u = W'1, shape (B, d).

    With fewer equations than unknowns the same u is D^-1 W' (W D^-1 W' + 1)^-1 1, a system of n unknowns
    instead of d: most rows of a large catalogue have a few interactions.

    Args:
        vectors: W of each row, shape (B, n, d); rows of zeros change nothing.
        diagonals: D of each row, shape (B, d), positive.
    """
    n_rows, n_columns, dim = vectors.shape
    if n_columns >= dim:
        left = vectors.mT @ vectors + torch.diag_embed(diagonals)  # (B, d, d)
        return solve_symmetric(left, vectors.sum(dim=1).unsqueeze(2)).squeeze(2)
    scaled = vectors / diagonals[:, None, :]  # (B, n, d)
    left = scaled @ vectors.mT + torch.eye(n_columns).to(vectors)  # (B, n, n)
    return (scaled.mT @ solve_symmetric(left, torch.ones(n_rows, n_columns, 1).to(vectors))).squeeze(2)


def solve_symmetric(left: Tensor, right: Tensor) -> Tensor:
    """Return x of left x = right, shape (B, m, 1), for positive definite *left*, each (m, m)."""
    factor, _ = torch.linalg.cholesky_ex(left)  # failures become NaN, checked by `check_finite`
    solution: Tensor = torch.cholesky_solve(right, factor)
    return solution


def gather_rows(known: ItemLists, other: Tensor) -> Tensor:
    """Return the vectors of each row's columns, padded with zeros: shape (B, n, d)."""
    counts = known.counts()
    rows, columns = known.pairs()
    positions = np.arange(len(columns)) - np.repeat(known.starts[:-1], counts)
    numbers = np.full((len(counts), max(int(counts.max()), 1)), len(other))  # (B, n); one past the end: zeros
    numbers[rows, positions] = columns
    padded = torch.nn.functional.pad(other, (0, 0, 0, 1))  # (C + 1, d)
    return padded[torch.from_numpy(numbers).to(other.device)]


def batches_by_count(counts: IntArray, dim: int) -> Iterator[IntArray]:
    """Yield all rows that have interactions, in batches of similar counts that fit in memory.

    The longest row of a batch is at most twice as long as the shortest, so padding costs no more than the
    interactions.
    """
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        longest = 2 * int(counts[order[start]])
        end = int(np.searchsorted(counts[order], longest, side="right"))
        stop = min(end, start + max(1, ENTRIES_PER_BATCH // (dim * max(longest, dim))))
        yield order[start:stop]
        start = stop


def transpose(lists: ItemLists, n_items: int) -> ItemLists:
    """Return the users of each item, given the items of each user."""
    users, items = lists.pairs()
    return ItemLists.of_pairs(items, users, n_items)


def check_finite(users: Tensor, items: Tensor, epoch: int, l2: float) -> None:
    """Raise `RunError` if a table has an entry that is no finite number."""
    if not (torch.isfinite(users).all() and torch.isfinite(items).all()):
        raise RunError(f"pretraining in epoch {epoch}: found no solution; l2(={l2}) may be too small")
