"""From a trained model to blocks: each group's table is encoded, its blocks ranked and cut into layers.

With a codec of one plane a block is a cell (item group, slice), and cells are ranked by weight. With
an embedded codec a cell is a series of blocks, each of which brings it one plane further, or several,
and blocks are ranked by what they buy per byte; or either by another policy (`cloud.blocks.selection`).
Letters: G user groups, I items, d dimensions, M item groups, N slices, P planes, B blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud.blocks.block_weights import closed_form_weights, second_moment
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
from wire.blocks import Blocks, data_sizes, encode_block
from wire.geometry import Codec, Float32Array, Geometry
from wire.planes import RECONSTRUCTION_POINTS, REFINEMENT_CHANCES, column_bits, encode_planes, magnitudes
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray

MIN_MOMENT = 1e-20
"""A dimension in which users differ by less than this is left out of an embedded table."""


@dataclass(frozen=True, eq=False)
class GroupTable:
    """One user group's item table and what it is for.

    Shapes: ``table`` (I, d); ``second_moment`` of the group's users (d,); ``item_weights`` (I,), how often
    the group wants each item; ``corrections`` (M, N), what the controller makes of a cell's
    closed-form weight, None for nothing.
    """

    table: Float32Array
    second_moment: FloatArray
    item_weights: Float32Array
    corrections: Float32Array | None = None

    def corrected(self, worth: FloatArray) -> FloatArray:
        """Return the *worth* of each cell, shape (M, N), as the controller corrects it."""
        return worth if self.corrections is None else worth * self.corrections


class PlannedBlock(NamedTuple):
    """A block of an embedded table, before it is encoded: a cell is brought to *planes* planes."""

    item_group: int
    slice: int
    held: int
    planes: int
    worth: float
    """The drop in weighted distortion per byte, corrected."""
    bytes: float
    """How much it will be stored in, overhead included, to within a few bytes."""


@dataclass(frozen=True)
class RankingSettings:
    """How the blocks of every user group are ranked, and into how many layers at most a ranking is cut."""

    layers: int
    selection: Selection = Selection.PEEL
    seed: int = 0
    """Of what `random` draws, from a stream of each user group's own."""

    def of_group(self, number: int) -> RankingPolicy:
        """Return how the blocks of user group *number* are ranked."""
        return ranking_policy(self.selection, stream(self.seed, "selection", number))


def encode_model(
    model: TrainedModel, geometry: Geometry, ranked: RankingSettings, tick: Callable[[int, int], None]
) -> BlockStore:
    """Return the block store of a trained model.

    Args:
        model: tables, vectors, weights.
        geometry: how tables are cut and stored.
        ranked: in which order blocks come.
        tick: told after each group how many of how many are done.
    """
    vectors = np.zeros_like(model.user_vectors)
    groups: list[GroupBlocks] = []
    for number in range(len(model.item_tables)):
        members = np.flatnonzero(model.user_groups == number)
        blocks, stretch = encode_group(
            geometry, group_table(model, number), ranked.layers, ranked.of_group(number)
        )
        groups.append(blocks)
        vectors[members] = model.user_vectors[members] * stretch
        tick(number + 1, len(model.item_tables))
    return build_store(
        geometry, groups=groups, user_vectors=vectors, user_groups=model.user_groups, report=model.report
    )


def group_table(model: TrainedModel, number: int) -> GroupTable:
    """Return the table of user group *number*, and what it is for."""
    members = np.flatnonzero(model.user_groups == number)
    return GroupTable(
        model.item_tables[number],
        second_moment(model.user_vectors[members]),
        model.item_weights[number],
        model.corrections[number],
    )


def encode_group(
    geometry: Geometry, group: GroupTable, layers: int, rank: RankingPolicy = rank_by_peel
) -> tuple[GroupBlocks, FloatArray]:
    """Return a group's blocks, and the factors, shape (d,), by which its users' vectors are stretched."""
    if not geometry.codec.embedded:
        ranking = rank(cell_candidates(geometry, group)).tolist()
        return _encode_ranking(geometry, group.table, ranking, layers), np.ones(geometry.dim)
    values, stretch = scale_for_embedding(group)
    steps = rank_embedded(geometry, values, group, rank)
    return encode_planned(geometry, values, steps, layers), stretch


def cell_candidates(geometry: Geometry, group: GroupTable) -> Candidates:
    """Return the blocks of a codec of one plane, by block id: a block is a cell, worth its weight."""
    closed = closed_form_weights(group.table, group.second_moment, group.item_weights, partition_of(geometry))
    item_groups, slices = np.divmod(np.arange(geometry.blocks), geometry.slices)
    return Candidates(
        item_groups=item_groups,
        slices=slices,
        worth=group.corrected(closed).reshape(-1),
        bytes=np.array(data_sizes(geometry), dtype=np.float64) + geometry.codec.overhead,
        per_byte=False,
        wanted=_demand(geometry, group),
    )


def encode_cells(geometry: Geometry, table: Float32Array, weights: FloatArray, layers: int) -> GroupBlocks:
    """Return the blocks of a table (I, d), by a codec of one plane, ranked by *weights* (M, N)."""
    return _encode_ranking(geometry, table, rank_blocks(weights).tolist(), layers)


def _encode_ranking(
    geometry: Geometry, table: Float32Array, ranking: Sequence[int], layers: int
) -> GroupBlocks:
    encoded = [
        encode_block(table[geometry.rows(block), geometry.columns(block)], geometry.codec)
        for block in ranking
    ]
    scales = np.array([scale for scale, _ in encoded], dtype="<f4").tobytes()
    blocks = Blocks(
        ids=_u16(ranking),
        sizes=b"",
        scales=scales if geometry.codec.scale_bytes else b"",
        data=b"".join(data for _, data in encoded),
    )
    return GroupBlocks.of(geometry, blocks, lambda sizes: cut_layers(sizes, layers, geometry.item_groups))


def _demand(geometry: Geometry, group: GroupTable) -> FloatArray:
    """Return how much the group wants each item group, shape (M,)."""
    weights = group.item_weights.astype(np.float64)
    return np.asarray(np.add.reduceat(weights, partition_of(geometry).row_starts))


def encode_planned(
    geometry: Geometry, values: Float32Array, steps: Sequence[PlannedBlock], layers: int
) -> GroupBlocks:
    """Return the blocks of a table that is to be embedded, in the order of *steps*.

    Args:
        geometry: with an embedded codec.
        values: shape (I, d), each below 1 in size.
        steps: what the ranking is.
        layers: at most how many layers.
    """
    ids, encoded = [], []
    for step in steps:
        block = (step.item_group * geometry.slices + step.slice) * geometry.planes + step.planes - 1
        cell = values[geometry.rows(block), geometry.columns(block)]
        ids.append(block)
        encoded.append(encode_planes(cell, step.held, step.planes, geometry.codec))
    blocks = Blocks(_u16(ids), _u16([len(data) for data in encoded]), b"", b"".join(encoded))
    return GroupBlocks.of(geometry, blocks, lambda sizes: cut_layers(sizes, layers, geometry.item_groups))


# --- embedded tables ------------------------------------------------------------------------------


def scale_for_embedding(group: GroupTable) -> tuple[Float32Array, FloatArray]:
    """Return a group's table in units in which one step suits all dimensions, and the users' factors.

    A number's error counts by its dimension's spread of users (water filling), so each dimension is
    multiplied by ``sqrt(E_g[u_k^2])`` and the users' vectors are divided by it. The largest number
    becomes just less than 1, which moves no ranking.

    Returns:
        Shapes (I, d) and (d,).
    """
    spread = np.sqrt(group.second_moment)
    seen = spread > np.sqrt(MIN_MOMENT)
    values = group.table * np.where(seen, spread, 0.0)
    size = float(np.abs(values).max()) * (1 + 1e-6) or 1.0
    stretch = np.where(seen, size / np.where(seen, spread, 1.0), 0.0)
    return (values / size).astype(np.float32), stretch


def rank_embedded(
    geometry: Geometry, values: Float32Array, group: GroupTable, rank: RankingPolicy = rank_by_peel
) -> list[PlannedBlock]:
    """Return the ranking of an embedded table's blocks.

    For each cell, distortion against bytes after each plane is a curve; the corners of its lower
    convex hull are the blocks, so that a block never buys more per byte than the one before it. All
    blocks are then ranked: by PEEL by what they buy per byte, the floor first.
    """
    steps = _plan_blocks(geometry, values, group)
    order = rank(_embedded_candidates(steps, _demand(geometry, group)))
    return [steps[place] for place in order.tolist()]


def _embedded_candidates(steps: Sequence[PlannedBlock], wanted: FloatArray) -> Candidates:
    return Candidates(
        item_groups=np.array([step.item_group for step in steps]),
        slices=np.array([step.slice for step in steps]),
        worth=np.array([step.worth for step in steps]),
        bytes=np.array([step.bytes for step in steps]),
        per_byte=True,
        wanted=wanted,
    )


def _plan_blocks(geometry: Geometry, values: Float32Array, group: GroupTable) -> list[PlannedBlock]:
    """Return the blocks of an embedded table, cell by cell."""
    distortion, sizes = _curves(geometry, values, group.item_weights)
    corrections = group.corrected(np.ones((geometry.item_groups, geometry.slices)))
    overhead = geometry.codec.overhead
    steps: list[PlannedBlock] = []
    for m in range(geometry.item_groups):
        own = [
            PlannedBlock(m, n, held, planes, worth * float(corrections[m, n]), size)
            for n in range(geometry.slices)
            for held, planes, worth, size in convex_hull(distortion[:, m, n], sizes[:, m, n], overhead)
        ]
        steps += own or [
            PlannedBlock(m, 0, 0, 1, 0.0, float(overhead))
        ]  # all zeros; yet every item can be ranked
    return steps


def convex_hull(
    distortion: FloatArray, sizes: FloatArray, overhead: int
) -> list[tuple[int, int, float, float]]:
    """Return the blocks of one cell: (planes held, planes after it, drop in distortion per byte, bytes).

    Args:
        distortion: with 0, 1, ..., P planes held, shape (P + 1,).
        sizes: bytes of each plane, shape (P,).
        overhead: bytes of each block beside them.
    """
    until = np.concatenate([[0.0], np.cumsum(sizes)])
    blocks: list[tuple[int, int, float, float]] = []
    held, top = 0, len(sizes)
    while held < top:
        bytes_to = until[held + 1 :] - until[held] + overhead
        rates = (distortion[held] - distortion[held + 1 :]) / bytes_to
        best = int(rates.argmax())
        if rates[best] <= 0:
            break
        blocks.append((held, held + 1 + best, float(rates[best]), float(bytes_to[best])))
        held += 1 + best
    return blocks


def _curves(
    geometry: Geometry, values: Float32Array, item_weights: Float32Array
) -> tuple[FloatArray, FloatArray]:
    """Return each cell's distortion after 0 to P planes (P + 1, M, N), and each plane's bytes (P, M, N)."""
    cut = partition_of(geometry)
    rows = [slice(start, end) for start, end in pairwise([*cut.row_starts.tolist(), cut.n_items])]
    # An item group at a time, so that what all planes look at stays in the processor's cache.
    curves = [_column_curves(geometry, values[each], item_weights[each]) for each in rows]
    distortion, bits = (np.stack(each, axis=1) for each in zip(*curves, strict=True))  # (..., M, d)
    columns = cut.column_starts
    return np.add.reduceat(distortion, columns, axis=2), np.add.reduceat(bits, columns, axis=2) / 8


def _column_curves(
    geometry: Geometry, values: Float32Array, item_weights: Float32Array
) -> tuple[FloatArray, FloatArray]:
    """Return the curves of each column of an item group, shapes (P + 1, d) and (P, d), the latter in bits.

    Args:
        geometry: how many planes there are, and how they are written.
        values: shape (rows, d).
        item_weights: shape (rows,).
    """
    last, weights = geometry.planes - 1, item_weights.astype(np.float64)
    sizes, every = np.abs(values), np.ones(len(values), dtype=np.float32)
    all_bits = magnitudes(values, last).astype(np.uint16)
    distortion, ones = [weights @ np.square(sizes, dtype=np.float64)], []
    for plane in range(geometry.planes):
        q = all_bits >> np.uint16(last - plane)
        rest = sizes - _known_sizes(q, plane)
        distortion.append(weights @ np.square(rest, dtype=np.float64))
        ones.append(every @ (q & np.uint16(1)).astype(np.float32))
    return np.stack(distortion), _bits(geometry, all_bits, np.stack(ones).astype(np.int64))


def _known_sizes(q: NDArray[np.uint16], plane: int) -> Float32Array:
    """Return the sizes that `wire.planes.dequantise` gives, but for the last digit, and in less time."""
    known = q.astype(np.float32)
    known += np.float32(RECONSTRUCTION_POINTS[1])
    known -= np.float32(RECONSTRUCTION_POINTS[1] - RECONSTRUCTION_POINTS[0]) * (q == 1)
    known *= q > 0
    known *= np.float32(2.0 ** -(plane + 1))
    return known


def _bits(geometry: Geometry, all_bits: NDArray[np.uint16], ones: IntArray) -> FloatArray:
    """Return the bits of each plane of each column, shape (P, d), as `wire.planes` writes them.

    Args:
        geometry: how many planes there are, and how they are written.
        all_bits: q after the last plane, shape (rows, d).
        ones: how many q of a column are odd after each plane, shape (P, d).
    """
    starts = _leading_bits(all_bits)  # (lengths, 2, 2, d)
    at = geometry.planes - np.arange(geometry.planes)  # the length of a q that ceases to be 0 in a plane
    lengths = starts.sum(axis=(1, 2))
    fresh, zeros = lengths[at], np.cumsum(lengths, axis=0)[at]
    known = len(all_bits) - zeros
    if geometry.codec is Codec.PLANES:
        return np.asarray(known + zeros + fresh, dtype=np.float64)
    ones_of_1 = starts[at + 1][:, 1].sum(axis=1)  # of q = 1, those whose next bit is 1: (P, d)
    ones_of_2 = starts[at + 2][:, :, 1].sum(axis=1)  # of q = 2 and 3
    beyond = known - lengths[at + 1] - lengths[at + 2]
    ones_beyond = ones - fresh - ones_of_1 - ones_of_2
    bits = column_bits(known, zeros, fresh)
    for q, count, one in (
        (1, lengths[at + 1], ones_of_1),
        (2, lengths[at + 2], ones_of_2),
        (4, beyond, ones_beyond),
    ):
        bits -= one * np.log2(REFINEMENT_CHANCES[q]) + (count - one) * np.log2(1 - REFINEMENT_CHANCES[q])
    return np.asarray(bits)


def _leading_bits(numbers: NDArray[np.uint16]) -> IntArray:
    """Return how many numbers of each column have which length and next two bits, shape (19, 2, 2, d).

    The number 0 has length 0, 1 has 1, 2 and 3 have 2, and so on; a bit that is not there is 0. No
    number is longer than 16 bits.
    """
    dim = numbers.shape[1]
    places = _LEADING[numbers] * dim + np.arange(dim)
    return np.bincount(places.reshape(-1), minlength=19 * 4 * dim).reshape(19, 2, 2, dim)


def _leading_table() -> IntArray:
    """Return 4 times the length of each 16-bit number, plus the two bits behind its first."""
    numbers = np.arange(2**16)
    length = np.frexp(numbers.astype(np.float64))[1]
    return np.asarray(4 * length + ((numbers << 2 >> np.maximum(length - 1, 0)) & 3), dtype=np.int64)


_LEADING = _leading_table()


def _u16(values: Sequence[int]) -> bytes:
    if values and max(values) > 0xFFFF:
        raise ValueError(
            f"a block of {max(values)} bytes is too large; there must be more item groups or slices"
        )
    return np.array(values, dtype="<u2").tobytes()
