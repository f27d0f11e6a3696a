"""The pretrained tables of the comparison, all in this process."""

import functools

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel, stage_one
from cloud.training.config import Training
from cloud.training.train import GlobalModel, learn_global


def pretrain_once(interactions: Interactions, training: Training) -> GlobalModel:
    """Return the pretrained tables; the last two are cached."""
    return _start_of(interactions, stage_one(training))


@functools.lru_cache(maxsize=2)
def _start_of(interactions: Interactions, training: Training) -> GlobalModel:
    return learn_global(interactions, training, lambda _: None)


def learn_full(interactions: Interactions, training: Training) -> FullModel:
    """Train the global model that PEEL's stages start from."""
    start = pretrain_once(interactions, training)
    return FullModel(training, start.factors.users, start.factors.items)
