"""Backbone `file`: vectors that another program has learned.

Letters: U users, I items, d dimensions.
"""

import hashlib
from pathlib import Path

import torch

from cloud.data.interactions import Interactions
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import Training
from cloud.training.evaluation import STOPPING_CUTOFF, number_or_none, validation_ndcg
from cloud.training.loop import Factors, Tick
from cloud.training.vector_files import read_vectors
from wire.errors import InputError


def file(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Read the global model; the score of a pair is the inner product of its vectors.

    Returns:
        The model, and the report.

    Raises:
        InputError: a file cannot be read, a user or item has no vector, or the widths are not `dim`.
    """
    files = config.file
    users = read_vectors(Path(files.users), _path(files.user_ids), interactions.user_ids, "user")
    items = read_vectors(Path(files.items), _path(files.item_ids), interactions.item_ids, "item")
    for path, table in ((files.users, users), (files.items, items)):
        if table.shape[1] != config.dim:
            raise InputError(
                f"{path}: vectors have {table.shape[1]} numbers, so model.training.dim(={config.dim}) "
                f"must be {table.shape[1]}"
            )
    score = validation_ndcg(torch.from_numpy(users), torch.from_numpy(items), interactions, config.seed)
    tick(1, 1, f"from files; validation NDCG@{STOPPING_CUTOFF} {score:.4f}")
    return Factors(users, items), {
        "backbone": "file",
        "users_sha256": hashlib.sha256(users.tobytes()).hexdigest(),
        "items_sha256": hashlib.sha256(items.tobytes()).hexdigest(),
        "valid_ndcg_at_20": number_or_none(score),
    }


def _path(name: str) -> Path | None:
    return Path(name) if name else None
