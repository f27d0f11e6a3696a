"""One user group's item table, with the data for its block weights."""

from dataclasses import dataclass, replace

import numpy as np

from cloud.blocks.partition import partition_of
from cloud.blocks.trained_model import TrainedModel
from wire.arrays import Float32Array
from wire.geometry import Geometry
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class GroupTable:
    """One user group's item table, and the data from which the weights of its blocks are computed.

    Shapes: ``table`` (I, d); ``second_moment`` (d,) of the users whom the table is for; ``item_weights``
    (I,), the demand of the group for each item; ``corrections`` (M, N), factors by which the controller
    changes the closed-form weights, None for no change.
    """

    table: Float32Array
    second_moment: FloatArray
    item_weights: Float32Array
    corrections: Float32Array | None = None

    def centred(self) -> "GroupTable":
        """Return the table less its mean item: each user's scores change by one number, no ranking does."""
        mean = self.table.mean(axis=0, dtype=np.float64)
        return replace(self, table=(self.table - mean).astype(np.float32))

    def taken(self, order: IntArray) -> "GroupTable":
        """Return the table with its items in that order."""
        return replace(self, table=self.table[order], item_weights=self.item_weights[order])

    def apply_corrections(self, utility: FloatArray) -> FloatArray:
        """Return *utility*, shape (M, N), times the corrections."""
        return utility if self.corrections is None else utility * self.corrections


def group_table(model: TrainedModel, number: int) -> GroupTable:
    """Return the table of user group *number*."""
    return GroupTable(
        model.item_tables[number],
        model.second_moments[number],
        model.item_weights[number],
        model.corrections[number],
    )


def demand(geometry: Geometry, group: GroupTable) -> FloatArray:
    """Return the demand of the group for each item group, shape (M,)."""
    weights = group.item_weights.astype(np.float64)
    return np.asarray(np.add.reduceat(weights, partition_of(geometry).row_starts))
