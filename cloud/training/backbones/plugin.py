"""The backbone of a plug-in: its vectors, checked. Letters: U users, I items, d dimensions."""

import numpy as np
import torch

from cloud.data.interactions import Interactions
from cloud.training.config import BackbonePlugin, Training
from cloud.training.evaluation import STOPPING_CUTOFF, number_or_none, validation_ndcg
from cloud.training.loop import Factors, Tick
from wire.arrays import Float32Array
from wire.errors import InputError


def learn_by_plugin(
    backbone: BackbonePlugin, interactions: Interactions, config: Training, tick: Tick
) -> tuple[Factors, dict[str, object]]:
    """Learn the global model with the *backbone* of a plug-in.

    Returns:
        The model, and the report.

    Raises:
        InputError: what it returns are not the vectors of all users and items.
    """
    name = str(backbone.__struct_config__.tag)
    learned = backbone.learn(interactions, config, tick)
    if not isinstance(learned, tuple) or len(learned) != 2:
        raise InputError(f"backbone {name!r}: must return a pair: the vectors of users, and those of items")
    users = _checked(name, "user", learned[0], (interactions.n_users, config.dim))
    items = _checked(name, "item", learned[1], (interactions.n_items, config.dim))
    score = validation_ndcg(torch.from_numpy(users), torch.from_numpy(items), interactions, config.seed)
    tick(1, 1, f"learned; validation NDCG@{STOPPING_CUTOFF} {score:.4f}")
    return Factors(users, items), {"backbone": name, "valid_ndcg_at_20": number_or_none(score)}


def _checked(name: str, what: str, vectors: object, shape: tuple[int, int]) -> Float32Array:
    table = np.array(vectors, dtype=np.float32, order="C")
    if table.shape != shape or not np.isfinite(table).all():
        raise InputError(
            f"backbone {name!r}: the vectors of {what}s, of shape {table.shape}, must be finite numbers of "
            f"shape {shape}: one vector for each {what}, each of model.training.dim numbers"
        )
    return table
