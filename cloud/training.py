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

from cloud.cluster import cluster
from cloud.config import Training
from cloud.controller import weigh
from cloud.descent import Tick
from cloud.interactions import Interactions
from cloud.pretrain import pretrain
from cloud.ranking import rankings
from cloud.refine import GroupTables, refine, rotate, unrefined
from wire.geometry import Float32Array
from wire.metrics import FloatArray, IntArray, ItemLists, Ranking


@dataclass(frozen=True)
class Progress:
    """How far training is: *done* of *total* steps of *stage*, and a note for people."""

    stage: str
    done: int
    total: int
    note: str


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What training leaves.

    User u's score of item i is ``user_vectors[u] @ item_tables[user_groups[u], i]``; user vectors
    are in the basis of the user's group. Shapes: ``user_vectors`` (U, d), ``user_groups`` (U,),
    ``item_tables`` (G, I, d), ``block_weights`` (G, M, N). ``report`` has JSON types only.
    """

    user_vectors: Float32Array
    user_groups: IntArray
    item_tables: Float32Array
    block_weights: Float32Array
    report: dict[str, object]


def train(interactions: Interactions, config: Training, progress: Callable[[Progress], None]) -> TrainedModel:
    """Learn tables and block weights from *interactions*, which must be in catalogue order.

    Raises:
        RunError: training diverged.
    """
    with _threads(config.threads):
        factors, pretraining = pretrain(interactions, config, _ticker("pretrain", progress))
        groups, clustering = cluster(factors.users, config)
        progress(Progress("cluster", 1, 1, f"{int(groups.max()) + 1} user groups"))
        model, refinement = unrefined(factors, groups), _off()
        if config.refine.enabled:
            model, refinement = refine(model, interactions, config, _ticker("refine", progress))
        rotation = _off()
        if config.rotate:
            model, rotation = rotate(model)
        weights, weighing = weigh(model, interactions, config, _ticker("controller", progress))
        report: dict[str, object] = {
            "interactions": _described(interactions),
            "pretrain": pretraining,
            "cluster": clustering,
            "refine": refinement,
            "rotate": rotation,
            "controller": weighing,
            "valid": evaluate(model, interactions.train, interactions.valid),
            "test": evaluate(model, interactions.known, interactions.test),
        }
    return TrainedModel(model.users, model.groups, model.tables, weights, report)


def evaluate(model: GroupTables, known: ItemLists, wanted: ItemLists) -> dict[str, object]:
    """Return how good the full tables are, as means over the users that want anything.

    Args:
        model: vectors and tables.
        known: the items that are masked, a list per user.
        wanted: the items to be found, a list per user.

    Returns:
        NDCG@10, NDCG@20, Recall@20 and the number of users; None for a mean over no users.
    """
    found = list(_group_rankings(model, known, wanted))
    metrics: dict[str, Callable[[Ranking], FloatArray]] = {
        "ndcg_at_10": lambda ranking: ranking.ndcg(10),
        "ndcg_at_20": lambda ranking: ranking.ndcg(20),
        "recall_at_20": lambda ranking: ranking.recall(20),
    }
    values = {name: np.concatenate([*map(metric, found), np.empty(0)]) for name, metric in metrics.items()}
    means = {name: float(each.mean()) if len(each) else None for name, each in values.items()}
    return {**means, "users": int((wanted.counts() > 0).sum())}


def _group_rankings(model: GroupTables, known: ItemLists, wanted: ItemLists) -> Iterator[Ranking]:
    for group, table in enumerate(model.tables):
        members = model.members(group)
        for _, ranking in rankings(
            model.users[members], table, known.take(members), wanted.take(members), 20
        ):
            yield ranking


def _described(interactions: Interactions) -> dict[str, object]:
    return {
        "name": interactions.name,
        "digest": interactions.digest(),
        "users": interactions.n_users,
        "items": interactions.n_items,
        "train": len(interactions.train.items),
        "valid": len(interactions.valid.items),
        "test": len(interactions.test.items),
    }


def _off() -> dict[str, object]:
    return {"enabled": False}


def _ticker(stage: str, progress: Callable[[Progress], None]) -> Tick:
    return lambda done, total, note: progress(Progress(stage, done, total, note))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with *count* threads: how sums are split up between threads decides their last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
