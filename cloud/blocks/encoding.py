"""Encoding of a trained model: group tables become ranked blocks, and rankings are cut into layers.

With a codec of one plane a block is a cell (item group, slice), and cells are ranked by weight. With an
embedded codec a cell is a series of blocks that each add one or more planes, and blocks are ranked by
utility per byte (`cloud.blocks.embedded_table`). Another policy may rank them instead
(`cloud.blocks.selection`). Letters: G user groups, I items, d dimensions, M item groups, N slices, P planes,
B blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cloud.blocks.block_weights import closed_form_weights
from cloud.blocks.embedded_table import PlannedBlock, plane_coder, rank_embedded, scale_for_embedding
from cloud.blocks.group_table import GroupTable, demand, group_table
from cloud.blocks.item_order import item_order, list_sizes
from cloud.blocks.partition import partition_of
from cloud.blocks.selection import (
    Candidates,
    RankingPolicy,
    Selection,
    cut_layers,
    rank_blocks,
    rank_by_peel,
    ranking_policy,
)
from cloud.blocks.store import BlockStore, GroupBlocks, build_store
from cloud.blocks.trained_model import TrainedModel
from wire.arrays import Float32Array
from wire.blocks import Blocks, data_sizes
from wire.codecs.planes import CellEncoder
from wire.geometry import Geometry
from wire.item_lists import ItemGroups
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True)
class RankingSettings:
    """The ranking policy of all user groups, and the largest number of layers of a ranking."""

    layers: int
    selection: Selection = Selection.PEEL
    seed: int = 0
    """Seed of the policy `random`; each user group has a random stream of its own."""

    def of_group(self, number: int) -> RankingPolicy:
        """Return the ranking policy of user group *number*."""
        return ranking_policy(self.selection, stream(self.seed, "selection", number))


def encode_model(
    model: TrainedModel, geometry: Geometry, ranking: RankingSettings, tick: Callable[[int, int], None]
) -> BlockStore:
    """Return the block store of a trained model.

    Args:
        model: tables, vectors, weights.
        geometry: the blocks of a table and their codec.
        ranking: the order of the blocks, and the number of layers.
        tick: called after each group with the number of groups that are done and the number of all groups.
    """
    vectors = np.zeros_like(model.user_vectors)
    groups: list[GroupBlocks] = []
    for number in range(len(model.item_tables)):
        members = np.flatnonzero(model.user_groups == number)
        blocks, user_scale = encode_group(
            geometry, group_table(model, number), ranking.layers, ranking.of_group(number)
        )
        groups.append(blocks)
        vectors[members] = model.user_vectors[members] * user_scale
        tick(number + 1, len(model.item_tables))
    return build_store(
        geometry, groups=groups, user_vectors=vectors, user_groups=model.user_groups, report=model.report
    )


def encode_group(
    geometry: Geometry, group: GroupTable, layers: int, rank: RankingPolicy = rank_by_peel
) -> tuple[GroupBlocks, FloatArray]:
    """Return a group's blocks, and the factors for its users' vectors, shape (d,).

    If items without a block score 0, the table is centred first, so that 0 is the score of the mean item.
    """
    if not geometry.floor:
        group = group.centred()
    if not geometry.codec.embedded:
        ranking = rank(cell_candidates(geometry, group)).tolist()
        return _encode_ranking(geometry, group.table, ranking, layers), np.ones(geometry.dim)
    order = item_order(geometry, group.item_weights)
    group = group.taken(order)
    values, user_scale = scale_for_embedding(group)
    steps = rank_embedded(geometry, values, group, rank, list_sizes(geometry, order))
    return encode_planned(geometry, values, steps, layers, order), user_scale


def cell_candidates(geometry: Geometry, group: GroupTable) -> Candidates:
    """Return the blocks of a codec of one plane, by block id; the utility of a cell is its weight."""
    closed = closed_form_weights(group.table, group.second_moment, group.item_weights, partition_of(geometry))
    item_groups, slices = np.divmod(np.arange(geometry.blocks), geometry.slices)
    return Candidates(
        item_groups=item_groups,
        slices=slices,
        utility=group.apply_corrections(closed).reshape(-1),
        bytes=np.array(data_sizes(geometry), dtype=np.float64) + geometry.codec.overhead,
        per_byte=False,
        demand=demand(geometry, group),
        floor=geometry.floor,
    )


def encode_cells(geometry: Geometry, table: Float32Array, weights: FloatArray, layers: int) -> GroupBlocks:
    """Return the blocks of a table (I, d), by a codec of one plane, ranked by *weights* (M, N)."""
    return _encode_ranking(geometry, table, rank_blocks(weights, floor=geometry.floor).tolist(), layers)


def _encode_ranking(
    geometry: Geometry, table: Float32Array, ranking: Sequence[int], layers: int
) -> GroupBlocks:
    encoded = [
        geometry.codec.coder.encode(table[geometry.rows(block), geometry.columns(block)], 0, 1)
        for block in ranking
    ]
    scales = np.array([scale for scale, _ in encoded], dtype="<f4").tobytes()
    blocks = Blocks(
        ids=_u16(ranking),
        sizes=b"",
        scales=scales if geometry.codec.scale_bytes else b"",
        data=b"".join(data for _, data in encoded),
    )
    return GroupBlocks.of(geometry, blocks, lambda sizes: cut_layers(sizes, layers, _floor_blocks(geometry)))


def encode_planned(
    geometry: Geometry, values: Float32Array, steps: Sequence[PlannedBlock], layers: int, order: IntArray
) -> GroupBlocks:
    """Return the blocks of an embedded table, in the order of *steps*.

    Args:
        geometry: with an embedded codec.
        values: shape (I, d), absolute values below 1, in the order of item groups.
        steps: the ranking.
        layers: the largest number of layers.
        order: the items in that order, shape (I,).
    """
    ids, encoded, groups = [], [], ItemGroups(geometry)
    coder, cells = plane_coder(geometry), dict[tuple[int, int], CellEncoder]()
    for step in steps:
        block = (step.item_group * geometry.slices + step.slice) * geometry.planes + step.planes - 1
        rows, cell = geometry.rows(block), geometry.cell(block)
        if cell not in cells:
            cells[cell] = CellEncoder(coder, values[rows, geometry.columns(block)], geometry.planes)
        items = groups.write(step.item_group, order[rows])
        ids.append(block)
        encoded.append(items + cells[cell].block(step.held, step.planes))
    blocks = Blocks(_u16(ids), _u16([len(data) for data in encoded]), b"", b"".join(encoded))
    return GroupBlocks.of(geometry, blocks, lambda sizes: cut_layers(sizes, layers, _floor_blocks(geometry)))


def _floor_blocks(geometry: Geometry) -> int:
    """Return the number of blocks before which a ranking may be of little use."""
    return geometry.item_groups if geometry.floor else 1


def _u16(values: Sequence[int]) -> bytes:
    if values and max(values) > 0xFFFF:
        raise ValueError(
            f"a block of {max(values)} bytes is too large; there must be more item groups or slices"
        )
    return np.array(values, dtype="<u2").tobytes()
