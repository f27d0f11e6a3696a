"""Versions of one lineage, for devices that ask for deltas. Pure."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from cloud.blocks.embedded_table import scale_for_embedding
from cloud.blocks.encoding import encode_group
from cloud.blocks.group_table import GroupTable
from cloud.blocks.next_version import NextNumbers, encode_next_version
from cloud.blocks.store import BlockStore, build_store
from cloud.conformance.trial_model import ITEM_GROUPS, USER_GROUPS, TrialModel, report_group
from wire.codecs import Codec
from wire.geometry import Geometry
from wire.messages import BudgetReport
from wire.update_part import build_body, encode_part
from wire.version_delta import HeldBlocks, block_count_of, encode_delta

PLANES: Final = 4
MOST_ITEMS: Final = 32_768
"""A block's size is a number of 16 bits."""
DRIFT: Final = 0.05
MARGIN: Final = 0.25
"""Margin by which a number must leave its interval before its bits change."""


class LineageModel(TrialModel):
    """A model version in planes, all of whose user groups have the same blocks.

    Args:
        version: its name.
        store: its blocks.
    """

    def __init__(self, version: str, store: BlockStore) -> None:
        self._set_blocks(version, store.geometry, list(store.groups) * USER_GROUPS)

    def delta(
        self, report: BudgetReport, base: "LineageModel", *, short: int = 0, wrong: bool = False
    ) -> bytes:
        """Return the first part of an answer to a device that holds blocks of *base*.

        Args:
            report: names the blocks that are held.
            base: the version that is held.
            short: blocks by which the target that it says lies below what the delta leads to.
            wrong: whether the checksum of the blocks is another one.
        """
        target = self.target(report)
        old, new = base.first_blocks(report, report.held), self.first_blocks(report, min(report.held, target))
        delta = encode_delta(self.geometry, old, new)
        assert delta is not None  # of one lineage
        count = block_count_of(delta)
        delta = bytes([delta[0] ^ wrong]) + delta[1:]
        body = build_body(
            model=self.version,
            group=report_group(report),
            first=0,
            target=count - short if short else target,
            part=1,
            parts=1 + target - count,
            tensors={"delta": delta},
        )
        return encode_part(body, report.seq)

    def delta_answer(self, report: BudgetReport, base: "LineageModel") -> list[bytes]:
        """Return the parts of a right answer by a delta: it, and the blocks that are missing then."""
        target = self.target(report)
        first = min(report.held, target)
        parts = 1 + target - first
        rest = [
            self.part(report, place, target=target, part=number, parts=parts)
            for number, place in enumerate(range(first, target), start=2)
        ]
        return [self.delta(report, base), *rest]

    def first_blocks(self, report: BudgetReport, count: int) -> HeldBlocks:
        """Return the first blocks of the device's ranking."""
        group = self.group(report)
        return HeldBlocks(group.blocks.part(0, count, group.starts, self.geometry.codec), group.layers)


def lineage_stores(budget_bytes: int) -> Iterator[BlockStore]:
    """Yield a store whose tables take somewhat more than a budget, and the versions that follow it."""
    items = min(max(budget_bytes // ITEM_GROUPS, 2), MOST_ITEMS // ITEM_GROUPS) * ITEM_GROUPS
    geometry = Geometry(
        items=items, dim=2, item_groups=ITEM_GROUPS, slice_width=1, codec=Codec.PLANES, planes=PLANES
    )
    draw = np.random.default_rng(29)
    table = draw.uniform(-0.9, 0.9, size=(items, 2))
    group = GroupTable(table.astype(np.float32), np.ones(2), np.ones(items, dtype=np.float32))
    scale = scale_for_embedding(group)[0] / table
    vectors, of_groups = np.array([[1.0, 0.5]], dtype=np.float32), np.zeros(1, dtype=np.int64)
    most = ITEM_GROUPS * 2 * PLANES
    store = build_store(
        geometry,
        groups=[encode_group(geometry, group, most)[0]],
        user_vectors=vectors,
        user_groups=of_groups,
        report={},
    )
    yield store
    while True:
        table = np.clip(table + DRIFT * draw.standard_normal(table.shape), -0.95, 0.95)
        numbers = NextNumbers([(table * scale).astype(np.float32)], vectors, of_groups)
        store = encode_next_version(store, numbers, MARGIN, {})
        yield store
