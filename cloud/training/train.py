"""All stages of PEEL in order: interactions in, a trained model out.

Everything random has a named stream of the configured seed, so the same inputs give the same model,
bit for bit, on the same machine. Letters: U users, I items, d dimensions, G user groups, M item
groups, N slices.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cloud.blocks.partition import Partition
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.cluster import cluster
from cloud.training.config import Training
from cloud.training.controller.learn import learn_block_weights
from cloud.training.evaluation import item_ranks_in_batches, mean_or_nan, ndcg, number_or_none, recall
from cloud.training.group_tables import GroupTables, share_global_table
from cloud.training.item_weights import group_item_weights, partition_table
from cloud.training.loop import Factors, Tick
from cloud.training.pretrain import pretrain
from cloud.training.refine import refine
from cloud.training.rotate import rotate
from cloud.training.validation_guard import StageReport, small_budget_evaluator
from wire.geometry import Codec, Geometry
from wire.ranking_metrics import FloatArray, IntArray, ItemLists


@dataclass(frozen=True)
class Progress:
    """How far training is: *done* of *total* steps of *stage*, and a note for people."""

    stage: str
    done: int
    total: int
    note: str


EVALUATION_PLANES = 8
"""More than the largest trial budget reaches."""


@dataclass(frozen=True, eq=False)
class GlobalModel:
    """What pretraining leaves: the global tables, and what happened, in JSON types."""

    factors: Factors
    report: dict[str, object]


Listener = Callable[[Progress], None]
"""Hears how training goes."""


def train(
    interactions: Interactions,
    config: Training,
    progress: Listener,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> TrainedModel:
    """Learn everything from *interactions*, which must be in catalogue order.

    Args:
        interactions: what to learn from.
        config: the stages and their settings.
        progress: hears how it goes.
        checkpoints: where an earlier process may have left off; the result is the same to the bit.

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
    """Learn the global tables: stage 1. Arguments as of `train`.

    Raises:
        RunError: training diverged.
    """
    with _thread_limit(config.threads):
        return GlobalModel(*pretrain(interactions, config, _ticker("pretrain", progress), checkpoints))


def personalize(
    start: GlobalModel, interactions: Interactions, config: Training, progress: Listener
) -> TrainedModel:
    """Learn what is each user group's own: stages 2 to 4, which leave *start* as it is.

    Each stage draws from random streams of its own: switching one off changes no draw of another.

    Raises:
        RunError: training diverged.
    """
    with _thread_limit(config.threads):
        factors = start.factors
        groups, clustering = cluster(factors.users, config)
        progress(Progress("cluster", 1, 1, f"{int(groups.max()) + 1} user groups"))
        cut = partition_table(interactions.n_items, factors.items.shape[1], config)
        trial, item_weights = (
            small_budget_evaluator(_evaluation_geometry(cut, config)),
            group_item_weights(groups, interactions),
        )
        model = share_global_table(factors, groups)
        refinement = rotation = StageReport.off()
        if config.refine.enabled:
            model, refinement = refine(model, interactions, config, _ticker("refine", progress))
        if config.rotate:
            ticker = _ticker("rotate", progress)
            model, rotation = rotate(model, item_weights, interactions, config, trial, ticker)
        ticker = _ticker("controller", progress)
        weighed = learn_block_weights(model, item_weights, interactions, config, cut, trial, ticker)
        model = weighed.model
        report: dict[str, object] = {
            "interactions": _interactions_report(interactions),
            "pretrain": start.report,
            "cluster": clustering,
            "refine": refinement.summary,
            "rotate": rotation.summary,
            "controller": weighed.report.summary,
            "groups": _group_reports(groups, refine=refinement, rotate=rotation, controller=weighed.report),
            "valid": evaluate(model, interactions.train, interactions.valid),
            "test": evaluate(model, interactions.known, interactions.test),
        }
    return TrainedModel(model.users, groups, model.tables, item_weights, weighed.corrections, report)


def _evaluation_geometry(cut: Partition, config: Training) -> Geometry:
    """Return the geometry in which stages are tried: entropy-coded planes, whatever the store will have."""
    return Geometry(
        items=cut.n_items,
        dim=cut.dim,
        item_groups=cut.shape[0],
        slice_width=config.slice_width,
        codec=Codec.CODED,
        planes=EVALUATION_PLANES,
    )


def _group_reports(groups: IntArray, **stages: StageReport) -> list[dict[str, object]]:
    """Return what each stage changed in each group and whether it was kept; a stage that is off, nothing."""
    return [
        {"users": users} | {name: stage.groups[group] for name, stage in stages.items() if stage.groups}
        for group, users in enumerate(np.bincount(groups).tolist())
    ]


def evaluate(model: GroupTables, known: ItemLists, wanted: ItemLists) -> dict[str, object]:
    """Return how good the full tables are, as means over the users that want anything.

    Args:
        model: vectors and tables.
        known: the items that are masked, a list per user.
        wanted: the items to be found, a list per user.

    Returns:
        NDCG@10, NDCG@20, Recall@20 and the number of users; None for a mean over no users.
    """
    found = [
        batch
        for group, table in enumerate(model.tables)
        for members in [model.members(group)]
        for batch in item_ranks_in_batches(
            model.users[members], table, known.take(members), wanted.take(members)
        )
    ]
    metrics: dict[str, Callable[[ItemLists, FloatArray], FloatArray]] = {
        "ndcg_at_10": lambda asked, places: ndcg(asked, places, 10),
        "ndcg_at_20": lambda asked, places: ndcg(asked, places, 20),
        "recall_at_20": lambda asked, places: recall(asked, places, 20),
    }
    values = {
        name: np.concatenate([np.empty(0), *(metric(*batch) for batch in found)])
        for name, metric in metrics.items()
    }
    means = {name: number_or_none(mean_or_nan(each)) for name, each in values.items()}
    return {**means, "users": int((wanted.counts() > 0).sum())}


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
    """Compute with *count* threads: how sums are split up between threads decides their last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
