"""All stages of PEEL in order, from interactions to a trained model.

Every random draw has a named stream of the configured seed, so the same inputs give the same model, bit for
bit, on the same machine. Letters: U users, I items, d dimensions, G user groups, M item groups, N slices.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from cloud.blocks.partition import Partition
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.cluster import cluster
from cloud.training.config import Training
from cloud.training.controller.learn import learn_block_weights
from cloud.training.evaluation import item_ranks_in_batches, mean_or_nan, ndcg, number_or_none, recall
from cloud.training.group_tables import GroupTables, share_global_table
from cloud.training.item_weights import group_item_weights, partition_table, recommended_item_weights
from cloud.training.loop import Factors, Tick
from cloud.training.pretrain import pretrain
from cloud.training.refine import refine
from cloud.training.rotate import rotate
from cloud.training.threads import limit_threads
from cloud.training.validation_guard import StageReport, small_budget_evaluator
from wire.codecs import Codec
from wire.geometry import Geometry, Unheld
from wire.ranking_metrics import FloatArray, IntArray, ItemLists


@dataclass(frozen=True)
class Progress:
    """Progress of training: *done* of *total* steps of *stage*, and a note for people."""

    stage: str
    done: int
    total: int
    note: str


EVALUATION_PLANES = 8
"""Planes of the tables on which stages are evaluated; more than the largest evaluation budget reaches."""


@dataclass(frozen=True, eq=False)
class GlobalModel:
    """The result of pretraining: the global tables, and a report in JSON types."""

    factors: Factors
    report: dict[str, object]


Listener = Callable[[Progress], None]
"""Called with the progress of training."""


def train(
    interactions: Interactions,
    config: Training,
    progress: Listener,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> TrainedModel:
    """Learn a model from *interactions*, which must be in catalogue order.

    Args:
        interactions: the data.
        config: the stages and their settings.
        progress: called with the progress.
        checkpoints: states of an earlier process; the result is the same, bit for bit.

    Raises:
        RunError: training diverged.
    """
    start = learn_global(interactions, config, progress, checkpoints)
    return personalize(start, interactions, config, progress)


def learn_global(
    interactions: Interactions,
    config: Training,
    progress: Listener,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> GlobalModel:
    """Learn the global tables: stage 1. The arguments are those of `train`.

    Raises:
        RunError: training diverged.
    """
    with _thread_limit(config.threads):
        return GlobalModel(*pretrain(interactions, config, _ticker("pretrain", progress), checkpoints))


def personalize(
    start: GlobalModel, interactions: Interactions, config: Training, progress: Listener
) -> TrainedModel:
    """Learn the tables and weights of each user group: stages 2 to 4, which do not change *start*.

    Each stage has random streams of its own: switching one off changes no draw of another.

    Raises:
        RunError: training diverged.
    """
    with _thread_limit(config.threads):
        factors = start.factors
        groups, clustering = cluster(factors.users, config)
        progress(Progress("cluster", 1, 1, f"{int(groups.max()) + 1} user groups"))
        partition = partition_table(interactions.n_items, factors.items.shape[1], config)
        evaluator = small_budget_evaluator(_evaluation_geometry(partition, config))
        item_weights = group_item_weights(groups, interactions)
        if config.item_weights == "recommended":
            item_weights = recommended_item_weights(factors, groups, interactions, item_weights)
        model = share_global_table(factors, groups, config.all_users_weight)
        refinement = rotation = StageReport.off()
        if config.refine.enabled:
            model, refinement = refine(model, interactions, config, _ticker("refine", progress))
        if config.rotate:
            ticker = _ticker("rotate", progress)
            model, rotation = rotate(model, item_weights, interactions, config, evaluator, ticker)
        ticker = _ticker("controller", progress)
        result = learn_block_weights(model, item_weights, interactions, config, partition, evaluator, ticker)
        report: dict[str, object] = {
            "interactions": _interactions_report(interactions),
            "pretrain": start.report,
            "cluster": clustering,
            "refine": refinement.summary,
            "rotate": rotation.summary,
            "controller": result.report.summary,
            "groups": _group_reports(groups, refine=refinement, rotate=rotation, controller=result.report),
            "valid": evaluate(model, interactions.train, interactions.valid),
            "test": evaluate(model, interactions.known, interactions.test),
        }
    return TrainedModel(
        model.users, groups, model.tables, model.second_moments, item_weights, result.corrections, report
    )


def _evaluation_geometry(partition: Partition, config: Training) -> Geometry:
    """Return the geometry in which stages are evaluated: entropy-coded planes, whatever the codec."""
    return Geometry(
        items=partition.n_items,
        dim=partition.dim,
        item_groups=partition.shape[0],
        slice_width=config.slice_width,
        codec=Codec.CODED,
        planes=EVALUATION_PLANES,
        unheld=Unheld.ZERO,
    )


def _group_reports(groups: IntArray, **stages: StageReport) -> list[dict[str, object]]:
    """Return the report of each stage for each group; nothing for a stage that is off."""
    return [
        {"users": users} | {name: stage.groups[group] for name, stage in stages.items() if stage.groups}
        for group, users in enumerate(np.bincount(groups).tolist())
    ]


def evaluate(model: GroupTables, known: ItemLists, relevant: ItemLists) -> dict[str, object]:
    """Return the quality of the full tables, as means over the users with relevant items.

    Args:
        model: vectors and tables.
        known: masked items, a list per user.
        relevant: items to find, a list per user.

    Returns:
        NDCG@10, NDCG@20, Recall@20 and the number of users; None for a mean over no users.
    """
    batches = [
        batch
        for group, table in enumerate(model.tables)
        for members in [model.members(group)]
        for batch in item_ranks_in_batches(
            model.users[members], table, known.take(members), relevant.take(members)
        )
    ]
    metrics: dict[str, Callable[[ItemLists, FloatArray], FloatArray]] = {
        "ndcg_at_10": lambda items, ranks: ndcg(items, ranks, 10),
        "ndcg_at_20": lambda items, ranks: ndcg(items, ranks, 20),
        "recall_at_20": lambda items, ranks: recall(items, ranks, 20),
    }
    values = {
        name: np.concatenate([np.empty(0), *(metric(*batch) for batch in batches)])
        for name, metric in metrics.items()
    }
    means = {name: number_or_none(mean_or_nan(column)) for name, column in values.items()}
    return {**means, "users": int((relevant.counts() > 0).sum())}


def _interactions_report(interactions: Interactions) -> dict[str, object]:
    return {
        "name": interactions.name,
        "digest": interactions.digest(),
        "users": interactions.n_users,
        "items": interactions.n_items,
        "train": len(interactions.train.items),
        "valid": len(interactions.valid.items),
        "test": len(interactions.test.items),
    }


def _ticker(stage: str, progress: Listener) -> Tick:
    return lambda done, total, note: progress(Progress(stage, done, total, note))


@contextmanager
def _thread_limit(count: int) -> Iterator[None]:
    """Compute with *count* threads: the last digits of sums depend on how they are split between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with limit_threads(count):
            yield
    finally:
        torch.set_num_threads(before)
