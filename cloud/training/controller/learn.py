"""Stage 4: how much each block is worth.

The closed-form weight of a block is the energy that its absence takes out of the scores
(`cloud.blocks.block_weights`). A small network learns, on validation interactions, either a *correction*
to it or, as the paper has it, the *weights* themselves. Letters: I items, d dimensions, G user groups, M item
groups, N slices, F features of a block, B users in a batch.

The paper's problem has two levels: min over phi of L_val(W*(phi), phi), where W*(phi) are the tables
that are best for training under the weights of phi.

For a correction the inner problem is training at the full budget, where every gate is open, because
the same tables must serve every budget and be exact at the largest. Its solution does not depend on
phi, so the derivative of W* is zero and the first-order gradient used below is the whole gradient of
this problem. What is given up against the paper: tables do not adapt to the weights, as they would if
refinement ran with gates half closed.

For weights the two levels take turns, a step each: the table on training data under the present
weights, the weights on validation data with the present table. That ignores how the table will answer
to the weights, as first-order methods do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cloud.blocks.block_weights import closed_form_weights, second_moment
from cloud.blocks.encoding import GroupTable
from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.training.backbones.mf import dropout, multinomial_loss, user_weights
from cloud.training.config import Controller, Training
from cloud.training.evaluation import SCORES_PER_BATCH, mean_or_nan, number_or_none
from cloud.training.loop import Tick, generator, gradient_step
from cloud.training.refine import GroupTables
from cloud.training.validation_guard import (
    Evaluator,
    GuardDecisions,
    StageReport,
    ValidationUsers,
    decide,
    gain,
    keep_all,
    sample_groups,
    split_validation,
    validation_users,
)
from wire.geometry import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

MASK_PENALTY = 1e4  # taken off the score of a known item; infinity would make 0 times infinity
MIN_ENERGY = 1e-12  # keeps the logarithm of an empty slice finite
MIN_WEIGHT = 1e-30  # of a correction: a weight that was learned to be 0 stays positive


@dataclass(frozen=True, eq=False)
class ControllerResult:
    """What the controller leaves.

    ``corrections``, shape (G, M, N), positive and finite: by what the closed-form weight of a block of
    ``model`` is to be multiplied; 1 where the closed form is kept.
    """

    model: GroupTables
    corrections: Float32Array
    report: StageReport


@dataclass(frozen=True, eq=False)
class LearnedWeights:
    """What was learned, for every group: its table with the weights folded in (I, d), corrections (M, N)."""

    tables: tuple[Float32Array, ...]
    corrections: list[FloatArray]


def learn_block_weights(
    model: GroupTables,
    item_weights: Float32Array,
    interactions: Interactions,
    config: Training,
    cut: Partition,
    trial: Evaluator,
    tick: Tick,
) -> ControllerResult:
    """Learn what blocks are worth, and keep it in the groups whose held-out users prefer it.

    The prior choice is the closed form. One half of a group's validation users is learned from, the
    other judges; with the guard off all are learned from.

    Args:
        model: the groups' tables.
        item_weights: how much each item counts in each group, shape (G, I).
        interactions: training interactions for the tables, validation interactions for the weights.
        config: settings.
        cut: where blocks begin.
        trial: how a table and corrections are tried at small budgets.
        tick: told how far it is.

    Raises:
        RunError: learning diverged.
    """
    n_groups, guard = len(model.tables), config.guard
    if not config.controller.enabled:
        return ControllerResult(model, np.ones((n_groups, *cut.shape), dtype=np.float32), StageReport.off())
    sides = [_split_users(model, group, interactions, config) for group in range(n_groups)]
    closed = [
        closed_form_weights(table, group_second_moment(model, group), item_weights[group], cut)
        for group, table in enumerate(model.tables)
    ]
    learns = learn_corrections if config.controller.learns == "correction" else learn_weights
    learning = [half for half, _ in sides]
    learned = learns(model, np.stack(closed), item_weights, learning, interactions, config, cut, tick)
    trials: dict[int, tuple[FloatArray, FloatArray]] = {}
    verdict = keep_all(n_groups)
    if guard.enabled:
        trying = sample_groups(model.tables, config.seed)
        for group in trying:
            _, judging = sides[group]
            trials[group] = _evaluate_group(model, learned, group, item_weights[group], judging, trial)
            tick(len(trials), len(trying), f"tried in group {group}")
        gains = [gain(trials.get(group)) for group in range(n_groups)]
        verdict = decide(gains, prior=False, standard_errors=guard.standard_errors)
    summary = {"enabled": True, "learns": config.controller.learns, **verdict.report()}
    entries = [
        _group_entry(factors, kept, trials.get(group))
        for group, (factors, kept) in enumerate(zip(learned.corrections, verdict.kept, strict=True))
    ]
    return _apply_decisions(model, learned, verdict, StageReport(summary, entries))


def _evaluate_group(
    model: GroupTables,
    learned: LearnedWeights,
    group: int,
    item_weights: Float32Array,
    judges: ValidationUsers,
    trial: Evaluator,
) -> tuple[FloatArray, FloatArray]:
    """Return what those who judge a group make of the closed form and of what was learned, shape (n,)."""
    moment, vectors = group_second_moment(model, group), model.users[judges.users]
    factors = learned.corrections[group].astype(np.float32)
    before = GroupTable(model.tables[group], moment, item_weights)
    after = GroupTable(learned.tables[group], moment, item_weights, factors)
    return trial(before, vectors, judges), trial(after, vectors, judges)


def _group_entry(
    factors: FloatArray, kept: bool, trials: tuple[FloatArray, FloatArray] | None
) -> dict[str, object]:
    """Return what the report says of one group."""
    logarithms = np.log(factors)
    # Against the geometric mean: a factor that all blocks share changes nothing.
    largest = float(np.abs(logarithms - logarithms.mean()).max())
    entry: dict[str, object] = {"largest_change_of_logarithm": largest, "kept": kept}
    if trials:
        before, after = trials
        entry |= {
            "judges": len(before),
            "valid_ndcg_at_20_closed_form": number_or_none(mean_or_nan(before)),
            "valid_ndcg_at_20_learned": number_or_none(mean_or_nan(after)),
        }
    return entry


def _apply_decisions(
    model: GroupTables, learned: LearnedWeights, verdict: GuardDecisions, report: StageReport
) -> ControllerResult:
    """Return the model with what was learned where it is kept."""
    triples = zip(model.tables, learned.tables, verdict.kept, strict=True)
    tables = tuple(new if kept else old for old, new, kept in triples)
    pairs = zip(learned.corrections, verdict.kept, strict=True)
    corrections = np.stack([factors if kept else np.ones_like(factors) for factors, kept in pairs])
    return ControllerResult(
        GroupTables(model.users, model.groups, tables), corrections.astype(np.float32), report
    )


def _split_users(
    model: GroupTables, group: int, interactions: Interactions, config: Training
) -> tuple[ValidationUsers, ValidationUsers]:
    members = model.members(group)
    if config.guard.enabled:
        return split_validation(members, interactions, config.seed, group)
    everyone = validation_users(members, interactions)
    return everyone, everyone


def group_second_moment(model: GroupTables, group: int) -> FloatArray:
    """Return E_g[u_k^2], shape (d,)."""
    return second_moment(model.users[model.members(group)])


# --- a correction, shared by all groups -----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CorrectionNet:
    """The network of a correction: ``inner`` (F + 1, H) with a bias row, ``outer`` (H,)."""

    inner: Tensor
    outer: Tensor
    reach: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return what to add to the logarithm of a weight, shape (..., F) to (...)."""
        hidden = torch.tanh(features @ self.inner[:-1] + self.inner[-1])  # (..., H)
        return self.reach * torch.tanh(hidden @ self.outer)


def learn_corrections(
    model: GroupTables,
    closed: FloatArray,
    item_weights: Float32Array,
    learning: Sequence[ValidationUsers],
    interactions: Interactions,
    config: Training,
    cut: Partition,
    tick: Tick,
) -> LearnedWeights:
    """Learn one network of corrections on the half of each group that may be learned from."""
    settings = config.controller
    features = block_features(model, closed, item_weights, interactions, cut)  # (G, M, N, F)
    corrector = _new_correction_net(features.shape[-1], settings, generator(config.seed, "controller"))
    rng = stream(config.seed, "controller", "tasks")
    open_groups = [group for group, task in enumerate(learning) if len(task.users)]
    optimizer = torch.optim.Adam([corrector.inner, corrector.outer], lr=settings.learning_rate)
    log_closed = torch.from_numpy(np.log(closed).astype(np.float32))  # (G, M, N)
    steps = settings.steps if open_groups else 0
    for step in range(1, steps + 1):
        group = int(rng.choice(open_groups))
        budget = float(np.exp(rng.uniform(np.log(settings.least_budget), np.log(settings.most_budget))))
        logits = log_closed[group] + corrector(features[group])  # (M, N)
        gates = broadcast(soft_gates(logits, budget, settings.temperature), cut)  # (I, d)
        task, table = learning[group], torch.from_numpy(model.tables[group])
        batch = rng.permutation(len(task.users))[: settings.batch_size]  # (B,)
        scores = torch.from_numpy(model.users[task.users[batch]]) @ (table * gates).T  # (B, I)
        loss = validation_loss(scores, task.known.take(batch), task.wanted.take(batch))
        gradient_step(optimizer, loss, f"the controller in step {step}", settings.learning_rate)
        if step % 20 == 0 or step == steps:
            tick(step, steps, f"validation loss {loss.item():.3f}")
    logarithms = corrector(features).detach().numpy().astype(np.float64)  # (G, M, N)
    return LearnedWeights(model.tables, list(np.exp(logarithms)))


def block_features(
    model: GroupTables,
    closed: FloatArray,
    item_weights: Float32Array,
    interactions: Interactions,
    cut: Partition,
) -> Tensor:
    """Return what the controller knows of each block, shape (G, M, N, F), each about 0 +- 1.

    In order: the logarithm of the closed form; of the item group's popularity in the user group;
    of the slice's energy in the whole table; the training loss on the item group; the places of the
    item group and of the slice in their order; the logarithm of the user group's size.
    """
    n_groups, (n_rows, n_columns) = len(model.tables), cut.shape
    everywhere = np.ones((n_groups, n_rows, n_columns))
    popularity = item_group_popularity(item_weights, cut)  # (G, M)
    moments = [
        second_moment(table) * group_second_moment(model, group) for group, table in enumerate(model.tables)
    ]
    energy = np.add.reduceat(np.stack(moments), cut.column_starts, axis=1)  # (G, N)
    sizes = np.bincount(model.groups, minlength=n_groups)
    features = [
        np.log(closed),
        np.log(popularity)[:, :, None] * everywhere,
        np.log(energy + MIN_ENERGY * (energy.sum() + 1))[:, None, :] * everywhere,
        item_group_losses(model, interactions, cut)[:, :, None] * everywhere,
        np.arange(n_rows)[None, :, None] * everywhere,
        np.arange(n_columns)[None, None, :] * everywhere,
        np.log(sizes)[:, None, None] * everywhere,
    ]
    return torch.from_numpy(np.stack([_standardised(each) for each in features], axis=-1).astype(np.float32))


def item_group_popularity(item_weights: Float32Array, cut: Partition) -> FloatArray:
    """Return how much each item group counts in each user group, shape (G, M)."""
    return np.asarray(np.add.reduceat(item_weights.astype(np.float64), cut.row_starts, axis=1))


def item_group_losses(model: GroupTables, interactions: Interactions, cut: Partition) -> FloatArray:
    """Return the mean of -log softmax(score) of training interactions, by item group, shape (G, M)."""
    rows = cut.item_groups()
    losses = np.zeros((len(model.tables), cut.shape[0]))
    for group, table in enumerate(model.tables):
        found = [
            (rows[items], values)
            for items, values in _log_losses(model, group, torch.from_numpy(table), interactions)
        ]
        places, values = (np.concatenate(each) for each in zip(*found, strict=True))
        counts = np.bincount(places, minlength=cut.shape[0])
        losses[group] = np.bincount(places, values, minlength=cut.shape[0]) / np.maximum(counts, 1)
    return losses


def _log_losses(
    model: GroupTables, group: int, table: Tensor, interactions: Interactions
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield, for batches of a group's members, their training items and -log softmax(score) of each."""
    members = model.members(group)
    size = max(1, SCORES_PER_BATCH // len(table))
    for start in range(0, len(members), size):
        batch = members[start : start + size]
        scores = torch.from_numpy(model.users[batch]) @ table.T  # (B, I)
        users, items = interactions.train.take(batch).pairs()
        yield items, -torch.log_softmax(scores, dim=1).numpy()[users, items].astype(np.float64)


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


def _new_correction_net(n_features: int, settings: Controller, rng: torch.Generator) -> CorrectionNet:
    inner = torch.randn(n_features + 1, settings.hidden, generator=rng) / (n_features + 1) ** 0.5
    outer = torch.zeros(settings.hidden)  # no correction at first: the closed form
    return CorrectionNet(inner.requires_grad_(), outer.requires_grad_(), settings.reach)


# --- the weights themselves, a network per group --------------------------------------------------


@dataclass(frozen=True, eq=False)
class WeightNet:
    """The paper's controller: ``inner`` (2 M + 1, H) with a bias row, ``outer`` (H, M * N).

    It sees the popularity and the training loss of every item group, and ends in a softmax.
    """

    inner: Tensor
    outer: Tensor

    def __call__(self, popularity: Tensor, losses: Tensor) -> Tensor:
        """Return the weight of every block, shape (M, N), from two features of shape (M,).

        The mean is 1 in place of the softmax's 1 / (M N): the same weights up to a constant that the
        table would have to make up for.
        """
        features = torch.cat([popularity, _centred(losses)])  # (2 M,)
        hidden = torch.tanh(features @ self.inner[:-1] + self.inner[-1])  # (H,)
        weights = torch.softmax(hidden @ self.outer, dim=0) * self.outer.shape[1]
        return weights.reshape(len(popularity), -1)


def learn_weights(
    model: GroupTables,
    closed: FloatArray,
    item_weights: Float32Array,
    learning: Sequence[ValidationUsers],
    interactions: Interactions,
    config: Training,
    cut: Partition,
    tick: Tick,
) -> LearnedWeights:
    """Learn each group's weights and table in turns, and fold the weights into the table.

    The closed form is not used; corrections are what makes learned weights of the folded table's own.
    """
    popularity = np.log(item_group_popularity(item_weights, cut))  # (G, M)
    tables, corrections = [], []
    for group, task in enumerate(learning):
        features = _centred(torch.from_numpy(popularity[group].astype(np.float32)))
        table, weights = _alternate(model, group, features, task, interactions, config, cut)
        again = closed_form_weights(table, group_second_moment(model, group), item_weights[group], cut)
        tables.append(table)
        corrections.append(np.maximum(weights / weights.sum(), MIN_WEIGHT) / again)
        tick(group + 1, len(learning), f"group {group}: {len(task.users)} users to learn from")
    return LearnedWeights(tuple(tables), corrections)


def _alternate(
    model: GroupTables,
    group: int,
    popularity: Tensor,
    task: ValidationUsers,
    interactions: Interactions,
    config: Training,
    cut: Partition,
) -> tuple[Float32Array, FloatArray]:
    """Return one group's table with its weights folded in, shape (I, d), and the weights, (M, N)."""
    settings, members = config.controller, model.members(group)
    rng = generator(config.seed, "controller", "weights", group)
    weigher = _new_weight_net(cut.shape, settings.hidden, rng)
    train = interactions.train.take(members)
    importance = user_weights(train.counts(), config.user_weight_exponent)
    vectors = torch.from_numpy(model.users[members])  # (n_g, d)
    judges = torch.from_numpy(model.users[task.users])  # (n, d)
    table = torch.from_numpy(model.tables[group]).clone().requires_grad_()  # (I, d)
    inner = torch.optim.Adam([table], lr=settings.table_learning_rate)
    outer = torch.optim.Adam([weigher.inner, weigher.outer], lr=settings.learning_rate)
    losses = torch.zeros(cut.shape[0])  # (M,)
    for step in range(1, settings.steps + 1):
        doing = f"the controller of group {group} in step {step}"
        batch = torch.randperm(len(members), generator=rng).numpy()[: settings.batch_size]  # (B,)
        entries = broadcast(weigher(popularity, losses).detach(), cut)  # (I, d)
        scores = dropout(vectors[batch], config.dropout, rng) @ (table * entries).T  # (B, I)
        loss = multinomial_loss(scores, train.take(batch), importance[batch])
        gradient_step(inner, loss, doing, settings.table_learning_rate)
        losses = _losses_by_item_group(scores.detach(), train.take(batch), cut)
        if not len(task.users):
            continue
        batch = torch.randperm(len(judges), generator=rng).numpy()[: settings.batch_size]
        entries = broadcast(weigher(popularity, losses), cut)
        scores = judges[batch] @ (table.detach() * entries).T
        loss = validation_loss(scores, task.known.take(batch), task.wanted.take(batch))
        gradient_step(outer, loss, doing, settings.learning_rate)
    weights = weigher(popularity, losses).detach()
    folded = (table.detach() * broadcast(weights, cut)).numpy()
    return folded, weights.numpy().astype(np.float64)


def _losses_by_item_group(scores: Tensor, wanted: ItemLists, cut: Partition) -> Tensor:
    """Return the mean of -log softmax(score) of *wanted* items by item group, 0 for none, shape (M,)."""
    users, items = wanted.pairs()
    surprises = -torch.log_softmax(scores, dim=1).numpy()[users, items]
    places = cut.item_groups()[items]
    counts = np.bincount(places, minlength=cut.shape[0])
    sums = np.bincount(places, surprises, minlength=cut.shape[0])
    return torch.from_numpy((sums / np.maximum(counts, 1)).astype(np.float32))


def _new_weight_net(shape: tuple[int, int], hidden: int, rng: torch.Generator) -> WeightNet:
    n_features = 2 * shape[0]
    inner = torch.randn(n_features + 1, hidden, generator=rng) / (n_features + 1) ** 0.5
    outer = torch.zeros(hidden, shape[0] * shape[1])  # all blocks weigh alike at first
    return WeightNet(inner.requires_grad_(), outer.requires_grad_())


def _centred(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std(correction=0).clamp(min=1e-6)


# --- what both share ------------------------------------------------------------------------------


def broadcast(blocks: Tensor, cut: Partition) -> Tensor:
    """Return a value per block as a value per entry of the table, shape (M, N) to (I, d)."""
    return blocks[torch.from_numpy(cut.item_groups())][:, torch.from_numpy(cut.slices())]


def validation_loss(scores: Tensor, known: ItemLists, wanted: ItemLists) -> Tensor:
    """Return the multinomial loss of *wanted* items, all users equal, *known* items masked."""
    users, items = known.pairs()
    mask = torch.zeros_like(scores)  # (B, I)
    mask[torch.from_numpy(users), torch.from_numpy(items)] = MASK_PENALTY
    return multinomial_loss(scores - mask, wanted, user_weights(wanted.counts(), 0.0))


def _standardised(values: FloatArray) -> FloatArray:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6))
