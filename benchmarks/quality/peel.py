"""PEEL's models for the comparison: all in this process, and a control with users in other groups."""

import functools
from dataclasses import replace

import numpy as np

from benchmarks.quality.pretraining import pretrain_once
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from cloud.training.train import personalize
from wire.arrays import Float32Array
from wire.random_streams import stream


@functools.lru_cache(maxsize=1)
def train_cached(interactions: Interactions, training: Training) -> TrainedModel:
    """Return the trained model; the last one is cached, for any codec."""
    return personalize(pretrain_once(interactions, training), interactions, training, lambda _: None)


def train_shuffled(interactions: Interactions, training: Training) -> TrainedModel:
    """Return the trained model with its users dealt to groups anew."""
    items = pretrain_once(interactions, training).factors.items
    return shuffle_groups(train_cached(interactions, training), items)


def shuffle_groups(model: TrainedModel, items: Float32Array) -> TrainedModel:
    """Return *model* with its users dealt to groups at random, the sizes of groups kept.

    A user's vector is put into the basis of the new group: what is lost at small budgets is what knowing
    the user's group is worth. With everything held as much is lost as lies outside what the new group's
    table spans, which has no more directions than the group has users.

    Args:
        model: every group's table is the same table in another basis, up to a constant per user.
        items: that table, shape (I, d).
    """
    centred = items.astype(np.float64) - items.mean(axis=0, dtype=np.float64)
    # Group g's table is centred @ turns[g], so a plain vector is turns[g] times that in the group's basis.
    turns = [np.linalg.lstsq(centred, table.astype(np.float64), rcond=None)[0] for table in model.item_tables]
    groups = stream(0, "shuffled").permutation(model.user_groups)
    vectors = np.empty_like(model.user_vectors)
    for user, (before, after) in enumerate(zip(model.user_groups, groups, strict=True)):
        plain = turns[before] @ model.user_vectors[user]
        vectors[user] = np.linalg.lstsq(turns[after], plain, rcond=None)[0]
    return replace(model, user_vectors=vectors, user_groups=groups)
