"""Stage 4: how much each block is worth.

The closed-form weight of a block is the energy that its absence takes out of the scores. A small
network learns a correction to it on validation interactions. Letters: I items, d dimensions, G user
groups, M item groups, N slices, F features of a block, B users in a batch.

The paper's problem has two levels: min over phi of L_val(W*(phi), phi), where W*(phi) are the tables
that are best for training under the weights of phi. Here the inner problem is training at the full
budget, where every gate is open, because the same tables must serve every budget and be exact at the
largest. Its solution does not depend on phi, so the derivative of W* is zero and the first-order
gradient used below is the whole gradient of this problem. What is given up against the paper: tables
do not adapt to the weights, as they would if refinement ran with gates half closed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.backbones.mf import multinomial_loss, user_weights
from cloud.config import Controller, Training
from cloud.descent import Tick, descend, generator
from cloud.interactions import Interactions, item_group_bounds
from cloud.ranking import SCORES_AT_ONCE, ndcg_per_user
from cloud.refine import GroupTables
from cloud.selection import rank_blocks
from wire.geometry import Float32Array
from wire.metrics import FloatArray, IntArray, ItemLists
from wire.streams import stream

TRIAL_BUDGETS = (0.03, 0.08, 0.2, 0.4)  # shares of all blocks at which a correction is judged
LEAST_SHARE = 1e-12  # of a group's total weight: keeps the logarithm of an empty block finite
PRIOR_STRENGTH = 0.5  # of the global popularity that is mixed into a group's own, which counts 1
MASKED = 1e4  # taken off the score of a known item; infinity would make 0 times infinity


@dataclass(frozen=True, eq=False)
class Cut:
    """How a table of I items and d dimensions is cut: item group m starts at ``row_starts[m]``."""

    n_items: int
    dim: int
    row_starts: IntArray
    column_starts: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N)."""
        return len(self.row_starts), len(self.column_starts)

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum of each block of *values*, shape (I, d) to (M, N)."""
        by_rows = np.add.reduceat(values, self.row_starts, axis=0)  # (M, d)
        return np.asarray(np.add.reduceat(by_rows, self.column_starts, axis=1))

    def spread(self, blocks: Tensor) -> Tensor:
        """Return a value per block as a value per entry of the table, shape (M, N) to (I, d)."""
        return blocks[self.item_groups()][:, self.slices()]

    def item_groups(self) -> Tensor:
        """Return the item group of each item, shape (I,)."""
        return _runs(self.row_starts, self.n_items)

    def slices(self) -> Tensor:
        """Return the slice of each dimension, shape (d,)."""
        return _runs(self.column_starts, self.dim)


@dataclass(frozen=True, eq=False)
class Corrector:
    """The controller's network: ``inner`` (F + 1, H) with a bias row, ``outer`` (H,)."""

    inner: Tensor
    outer: Tensor
    reach: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return what to add to the logarithm of a weight, shape (..., F) to (...)."""
        hidden = torch.tanh(features @ self.inner[:-1] + self.inner[-1])  # (..., H)
        return self.reach * torch.tanh(hidden @ self.outer)


@dataclass(frozen=True, eq=False)
class GroupTask:
    """What the controller learns from in one group: the members of one half of validation."""

    vectors: Tensor  # (n, d)
    table: Tensor  # (I, d)
    known: ItemLists
    wanted: ItemLists


def weigh(
    model: GroupTables, interactions: Interactions, config: Training, tick: Tick
) -> tuple[Float32Array, dict[str, object]]:
    """Return the weight of every block, shape (G, M, N), and what happened.

    Weights are positive and sum to 1 in each group. A group keeps the closed form unless held-out
    users of the group prefer the learned correction.
    """
    cut = cut_table(interactions.n_items, model.tables.shape[2], config)
    closed = closed_form_weights(model, interactions, cut)  # (G, M, N)
    if not config.controller.enabled:
        return closed.astype(np.float32), {"enabled": False}
    learning, judging = _halves(model, interactions, config.seed)
    features = block_features(model, interactions, cut, closed)  # (G, M, N, F)
    corrector, steps = _learn(closed, features, learning, cut, config, tick)
    correction = corrector(features).detach().numpy().astype(np.float64)  # (G, M, N)
    learned = closed * np.exp(correction)
    learned = learned / learned.sum(axis=(1, 2), keepdims=True)
    trials = [
        _trial(closed[group], learned[group], task, cut, config.controller.standard_errors)
        for group, task in enumerate(judging)
    ]
    kept = np.array([bool(trial["kept"]) for trial in trials])
    weights = np.where(kept[:, None, None], learned, closed).astype(np.float32)
    return weights, {
        "enabled": True,
        "kept_in_groups": int(kept.sum()),
        "steps": steps,
        "largest_correction": float(np.abs(correction).max()),
        "trial_budgets": list(TRIAL_BUDGETS),
        "groups": trials,
    }


def cut_table(n_items: int, dim: int, config: Training) -> Cut:
    """Return the cut that *config* asks for, with at most one item group per item."""
    bounds = item_group_bounds(n_items, min(config.item_groups, n_items))
    return Cut(n_items, dim, bounds[:-1], np.arange(0, dim, config.slice_width))


# --- the closed form ------------------------------------------------------------------------------


def closed_form_weights(model: GroupTables, interactions: Interactions, cut: Cut) -> FloatArray:
    """Return the drop in weighted distortion that each block buys, as shares, shape (G, M, N).

    The block is worth ``sum_i pop_i * sum_k E_g[u_k^2] * v_ik^2`` over its items i and dimensions k:
    the mean squared change of the group's scores when it is left out, if the dimensions of the
    group's users are uncorrelated, as rotation makes them.
    """
    popularity = group_popularity(model, interactions)  # (G, I)
    energies = [
        cut.sums(popularity[group][:, None] * _entry_energy(model, group))
        for group in range(len(model.tables))
    ]
    weights = np.stack(energies)
    shares = weights / np.maximum(weights.sum(axis=(1, 2), keepdims=True), np.finfo(np.float64).tiny)
    shares = np.maximum(shares, LEAST_SHARE)
    return np.asarray(shares / shares.sum(axis=(1, 2), keepdims=True))


def group_popularity(model: GroupTables, interactions: Interactions) -> FloatArray:
    """Return each item's share of a group's training interactions, shape (G, I).

    Counts in the group are mixed with the global shares, so that a small group does not deem
    worthless what it has not met.
    """
    everywhere = interactions.popularity() + 1.0
    everywhere = everywhere / everywhere.sum()
    counts = np.stack(
        [
            np.bincount(interactions.train.take(model.members(group)).items, minlength=interactions.n_items)
            for group in range(len(model.tables))
        ]
    )
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray((counts / total + PRIOR_STRENGTH * everywhere) / (1 + PRIOR_STRENGTH))


def _entry_energy(model: GroupTables, group: int) -> FloatArray:
    """Return E_g[u_k^2] * v_ik^2, shape (I, d)."""
    second_moment = (model.users[model.members(group)].astype(np.float64) ** 2).mean(axis=0)  # (d,)
    return np.asarray(second_moment * model.tables[group].astype(np.float64) ** 2)


# --- the learned correction -----------------------------------------------------------------------


def block_features(model: GroupTables, interactions: Interactions, cut: Cut, closed: FloatArray) -> Tensor:
    """Return what the controller knows of each block, shape (G, M, N, F), each about 0 +- 1.

    In order: the logarithm of the closed form; of the item group's popularity in the user group;
    of the slice's energy in the whole table; the training loss on the item group; the places of the
    item group and of the slice in their order; the logarithm of the user group's size.
    """
    n_groups, (n_rows, n_columns) = len(model.tables), cut.shape
    everywhere = np.ones((n_groups, n_rows, n_columns))
    popularity = np.add.reduceat(group_popularity(model, interactions), cut.row_starts, axis=1)  # (G, M)
    energy = np.stack([cut.sums(_entry_energy(model, group)).sum(axis=0) for group in range(n_groups)])
    sizes = np.bincount(model.groups, minlength=n_groups)
    features = [
        np.log(closed),
        np.log(popularity)[:, :, None] * everywhere,
        np.log(energy + LEAST_SHARE * energy.sum() + LEAST_SHARE)[:, None, :] * everywhere,
        item_group_losses(model, interactions, cut)[:, :, None] * everywhere,
        np.arange(n_rows)[None, :, None] * everywhere,
        np.arange(n_columns)[None, None, :] * everywhere,
        np.log(sizes)[:, None, None] * everywhere,
    ]
    return torch.from_numpy(np.stack([_standardised(each) for each in features], axis=-1).astype(np.float32))


def item_group_losses(model: GroupTables, interactions: Interactions, cut: Cut) -> FloatArray:
    """Return the mean of -log softmax(score) of training interactions, by item group, shape (G, M)."""
    rows = cut.item_groups().numpy()
    losses = np.zeros((len(model.tables), cut.shape[0]))
    for group, table in enumerate(model.tables):
        found = [
            (rows[items], values)
            for items, values in _surprises(model, group, torch.from_numpy(table), interactions)
        ]
        places, values = (np.concatenate(each) for each in zip(*found, strict=True))
        counts = np.bincount(places, minlength=cut.shape[0])
        losses[group] = np.bincount(places, values, minlength=cut.shape[0]) / np.maximum(counts, 1)
    return losses


def _surprises(
    model: GroupTables, group: int, table: Tensor, interactions: Interactions
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield, for batches of a group's members, their training items and -log softmax(score) of each."""
    members = model.members(group)
    size = max(1, SCORES_AT_ONCE // len(table))
    for start in range(0, len(members), size):
        batch = members[start : start + size]
        scores = torch.from_numpy(model.users[batch]) @ table.T  # (B, I)
        users, items = interactions.train.take(batch).pairs()
        yield items, -torch.log_softmax(scores, dim=1).numpy()[users, items].astype(np.float64)


def _learn(
    closed: FloatArray, features: Tensor, tasks: list[GroupTask], cut: Cut, config: Training, tick: Tick
) -> tuple[Corrector, int]:
    """Learn a correction that is shared by all groups; return it and the steps taken."""
    settings = config.controller
    corrector = _new_corrector(features.shape[-1], settings, generator(config.seed, "controller"))
    rng = stream(config.seed, "controller", "tasks")
    open_tasks = [group for group, task in enumerate(tasks) if len(task.wanted)]
    optimizer = torch.optim.Adam([corrector.inner, corrector.outer], lr=settings.learning_rate)
    log_closed = torch.from_numpy(np.log(closed).astype(np.float32))  # (G, M, N)
    steps = settings.steps if open_tasks else 0
    for step in range(1, steps + 1):
        group = int(rng.choice(open_tasks))
        budget = float(np.exp(rng.uniform(np.log(settings.least_budget), np.log(settings.most_budget))))
        logits = log_closed[group] + corrector(features[group])  # (M, N)
        gates = cut.spread(soft_gates(logits, budget, settings.temperature))  # (I, d)
        task = tasks[group]
        batch = rng.permutation(len(task.wanted))[: settings.batch_size]  # (B,)
        scores = task.vectors[batch] @ (task.table * gates).T  # (B, I)
        loss = _validation_loss(scores, task.known.take(batch), task.wanted.take(batch))
        descend(optimizer, loss, f"the controller in step {step}", settings.learning_rate)
        if step % 20 == 0 or step == steps:
            tick(step, steps, f"validation loss {loss.item():.3f}")
    return corrector, steps


def soft_gates(logits: Tensor, budget: float, temperature: float) -> Tensor:
    """Return how far open each block is at a budget, from 0 to 1, shape (M, N).

    sigmoid((logit - threshold) / temperature), where the threshold is such that the gates sum to the
    budget; the floor, the best block of each item group, is open besides. The threshold moves with
    the logits, so that opening one block closes others a little: by the implicit function theorem
    its derivative is the mean of theirs, weighted by the slopes of the gates.

    Args:
        logits: logarithms of weights, shape (M, N).
        budget: share of all blocks that fit, between 0 and 1.
        temperature: softness.
    """
    still = logits.detach()
    threshold = _threshold(still, budget, temperature)
    gates = torch.sigmoid((still - threshold) / temperature)
    slopes = gates * (1 - gates)
    moves = (slopes / slopes.sum().clamp(min=1e-12) * (logits - still)).sum()  # 0, but its slope is not
    gates = torch.sigmoid((logits - threshold - moves) / temperature)
    floor = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1])
    return torch.maximum(gates, floor.to(gates.dtype))


def _threshold(logits: Tensor, budget: float, temperature: float) -> float:
    """Return the threshold at which soft gates are open by *budget* on average, by bisection."""
    low = logits.min().item() - 30 * temperature
    high = logits.max().item() + 30 * temperature
    for _ in range(50):
        middle = (low + high) / 2
        too_open = torch.sigmoid((logits - middle) / temperature).mean().item() > budget
        low, high = (middle, high) if too_open else (low, middle)
    return (low + high) / 2


def _new_corrector(n_features: int, settings: Controller, rng: torch.Generator) -> Corrector:
    inner = torch.randn(n_features + 1, settings.hidden, generator=rng) / (n_features + 1) ** 0.5
    outer = torch.zeros(settings.hidden)  # no correction at first: the closed form
    return Corrector(inner.requires_grad_(), outer.requires_grad_(), settings.reach)


def _validation_loss(scores: Tensor, known: ItemLists, wanted: ItemLists) -> Tensor:
    users, items = known.pairs()
    mask = torch.zeros_like(scores)  # (B, I)
    mask[torch.from_numpy(users), torch.from_numpy(items)] = MASKED
    return multinomial_loss(scores - mask, wanted, user_weights(wanted.counts(), 0.0))


# --- does it help? --------------------------------------------------------------------------------


def _halves(
    model: GroupTables, interactions: Interactions, seed: int
) -> tuple[list[GroupTask], list[GroupTask]]:
    """Divide each group's users that have validation interactions in two, at random."""
    learning, judging = [], []
    for group in range(len(model.tables)):
        members = model.members(group)
        members = members[interactions.valid.counts()[members] > 0]
        members = stream(seed, "controller", "halves", group).permutation(members)
        middle = len(members) // 2
        learning.append(_task(model, group, interactions, members[:middle]))
        judging.append(_task(model, group, interactions, members[middle:]))
    return learning, judging


def _task(model: GroupTables, group: int, interactions: Interactions, members: IntArray) -> GroupTask:
    return GroupTask(
        torch.from_numpy(model.users[members]),
        torch.from_numpy(model.tables[group]),
        interactions.train.take(members),
        interactions.valid.take(members),
    )


def _trial(
    closed: FloatArray, learned: FloatArray, task: GroupTask, cut: Cut, standard_errors: float
) -> dict[str, object]:
    """Compare two weights (M, N) on held-out users: mean NDCG@20 over a few hard budgets."""
    before, after = (_ndcg_over_budgets(weights, task, cut) for weights in (closed, learned))  # (n,)
    if len(before) < 2:
        return {"users": len(before), "closed_form": None, "learned": None, "kept": False}
    gains = after - before
    needed = standard_errors * float(gains.std(ddof=1)) / len(gains) ** 0.5
    return {
        "users": len(before),
        "closed_form": float(before.mean()),
        "learned": float(after.mean()),
        "kept": bool(gains.mean() > needed),
    }


def _ndcg_over_budgets(weights: FloatArray, task: GroupTask, cut: Cut) -> FloatArray:
    """Return each user's NDCG@20, averaged over the trial budgets, shape (n,)."""
    ranking = rank_blocks(weights)
    found = []
    for budget in TRIAL_BUDGETS:
        held = torch.zeros(weights.size)
        held[
            torch.from_numpy(ranking[: max(round(budget * weights.size), len(weights))].astype(np.int64))
        ] = 1
        table = task.table * cut.spread(held.reshape(cut.shape))
        found.append(ndcg_per_user(task.vectors.numpy(), table.numpy(), task.known, task.wanted))
    return np.asarray(np.mean(found, axis=0))


# --- arrays ---------------------------------------------------------------------------------------


def _runs(starts: IntArray, total: int) -> Tensor:
    """Return 0 for the places before ``starts[1]``, then 1, and so on, shape (total,)."""
    return torch.from_numpy(np.repeat(np.arange(len(starts)), np.diff(starts, append=total)))


def _standardised(values: FloatArray) -> FloatArray:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6))
