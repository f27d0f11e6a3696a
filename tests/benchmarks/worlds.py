"""Small worlds and models whose rankings are known."""

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.config import Controller, Refinement, Training
from tests.cloud.worlds import checkerboard
from wire.ranking_metrics import ItemLists

SMALL = Training(
    dim=8,
    epochs=10,
    batch_size=32,
    user_groups=2,
    min_group_size=5,
    item_groups=4,
    slice_width=2,
    dropout=0.0,
    refine=Refinement(enabled=True, epochs=4),
    controller=Controller(enabled=True, steps=4),
)


def a_world() -> Interactions:
    """Forty users, forty items; even users like even items."""
    return checkerboard().by_popularity()


def a_full(interactions: Interactions, dim: int = 8, seed: int = 0) -> FullModel:
    """Return a model of random vectors."""
    rng = np.random.default_rng(seed)
    users = rng.standard_normal((interactions.n_users, dim)).astype(np.float32)
    items = rng.standard_normal((interactions.n_items, dim)).astype(np.float32)
    return FullModel(SMALL, users, items)


def lists(*rows: list[int]) -> ItemLists:
    """Return item lists, one per row."""
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return ItemLists.of_pairs(users, items, len(rows))
