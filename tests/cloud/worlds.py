"""Small worlds of known structure."""

import numpy as np

from cloud.blocks.partition import Partition
from cloud.data.interactions import Interactions
from cloud.data.sources import ByRatio
from cloud.data.splits import EventList, split_events
from cloud.training.config import Controller, Refinement, Training
from cloud.training.validation_guard import Evaluator, small_budget_evaluator
from wire.codecs import Codec
from wire.geometry import Geometry

SMALL = Training(
    backbone="mf",
    dim=8,
    epochs=30,
    batch_size=32,
    user_groups=2,
    min_group_size=5,
    item_groups=4,
    slice_width=2,
    refine=Refinement(enabled=True),
    controller=Controller(enabled=True),
    threads=1,
)
"""Settings that suit `checkerboard`, with all stages."""


def checkerboard(users: int = 40, items: int = 40) -> Interactions:
    """Even users like even items, odd users odd ones, every one of them."""
    rows, columns = np.nonzero(np.add.outer(np.arange(users), np.arange(items)) % 2 == 0)
    parts = split_events(EventList(rows, columns, None), users, ByRatio(valid_share=0.2, test_share=0.2))
    names = tuple(map(str, range(max(users, items))))
    return Interactions("checkerboard", parts.train, parts.valid, parts.test, names[:users], names[:items])


def an_evaluator(partition: Partition) -> Evaluator:
    """Return the evaluator of training, for tables with that partition."""
    width = int(partition.column_starts[1]) if len(partition.column_starts) > 1 else partition.dim
    return small_budget_evaluator(
        Geometry(
            items=partition.n_items,
            dim=partition.dim,
            item_groups=partition.shape[0],
            slice_width=width,
            codec=Codec.CODED,
            planes=8,
        )
    )


def ignore(done: int, total: int, note: str) -> None:
    """Accept progress and do nothing."""
