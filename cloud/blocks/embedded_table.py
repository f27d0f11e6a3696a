"""Planning of embedded tables: the blocks of precision planes, and their order, before they are encoded.

Letters: I items, d dimensions, M item groups, N slices, P planes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud.blocks.group_table import GroupTable, demand
from cloud.blocks.partition import partition_of
from cloud.blocks.selection import (
    Candidates,
    RankingPolicy,
    rank_by_peel,
)
from wire.arrays import Float32Array
from wire.codecs.planes import RECONSTRUCTION_POINTS, PlaneCoder, PlaneCounts, magnitudes
from wire.geometry import Geometry
from wire.ranking_metrics import FloatArray, IntArray

MIN_MOMENT = 1e-20
"""Dimensions whose users have a smaller mean square are left out of an embedded table."""

_POINTS = np.array(RECONSTRUCTION_POINTS, dtype=np.float32)
_POINT_OF_1 = (1 + _POINTS[1]) - np.float32(RECONSTRUCTION_POINTS[1] - RECONSTRUCTION_POINTS[0]) - 1
"""The first of them, off by a rounding error on which stored rankings depend."""


class PlannedBlock(NamedTuple):
    """A block of an embedded table before it is encoded: it brings a cell to *planes* planes."""

    item_group: int
    slice: int
    held: int
    planes: int
    utility: float
    """Decrease of the weighted distortion per byte, times the correction."""
    bytes: float
    """Estimated stored size, overhead included, correct to a few bytes."""


def scale_for_embedding(group: GroupTable) -> tuple[Float32Array, FloatArray]:
    """Return a group's table, scaled to one quantisation step, and the factors for its users.

    The error of a number counts in proportion to the mean square of its dimension over users (water
    filling). So each dimension is multiplied by ``sqrt(E_g[u_k^2])``, and the users' vectors are divided by
    it. The largest number becomes just less than 1. No ranking changes.

    Returns:
        Shapes (I, d) and (d,).
    """
    spread = np.sqrt(group.second_moment)
    seen = spread > np.sqrt(MIN_MOMENT)
    values = group.table * np.where(seen, spread, 0.0)
    size = float(max(values.max(), -values.min())) * (1 + 1e-6) or 1.0
    user_scale = np.where(seen, size / np.where(seen, spread, 1.0), 0.0)
    values /= size
    return values.astype(np.float32), user_scale


def rank_embedded(
    geometry: Geometry,
    values: Float32Array,
    group: GroupTable,
    rank: RankingPolicy = rank_by_peel,
    lists: Sequence[int] = (),
) -> list[PlannedBlock]:
    """Return the blocks of an embedded table in ranking order.

    For each cell, distortion as a function of bytes after each plane is a curve. The corners of its lower
    convex hull are the blocks, so that no block has a larger utility per byte than the one before it. All
    blocks are then ranked by the policy; PEEL ranks by utility per byte.

    Args:
        geometry: of the table.
        values: the scaled table, in the order of item groups, shape (I, d).
        group: weights, in that order.
        rank: the policy.
        lists: bytes of the list of each item group, which come with its first block; empty for none.
    """
    steps = _plan_blocks(geometry, values, group, lists or [0] * geometry.item_groups)
    candidates = Candidates(
        item_groups=np.array([step.item_group for step in steps]),
        slices=np.array([step.slice for step in steps]),
        utility=np.array([step.utility for step in steps]),
        bytes=np.array([step.bytes for step in steps]),
        per_byte=True,
        demand=demand(geometry, group),
        floor=geometry.floor,
    )
    return [steps[index] for index in rank(candidates).tolist()]


def _plan_blocks(
    geometry: Geometry, values: Float32Array, group: GroupTable, lists: Sequence[int]
) -> list[PlannedBlock]:
    """Return the blocks of an embedded table, cell by cell."""
    distortion, sizes = _curves(geometry, values, group.item_weights)
    corrections = group.apply_corrections(np.ones((geometry.item_groups, geometry.slices)))
    overhead = geometry.codec.overhead
    steps: list[PlannedBlock] = []
    for m in range(geometry.item_groups):
        own = [
            PlannedBlock(m, n, held, planes, utility * float(corrections[m, n]), size)
            for n in range(geometry.slices)
            for held, planes, utility, size in convex_hull(distortion[:, m, n], sizes[:, m, n], overhead)
        ]
        # All zeros, but ranked because it has a block.
        steps += _with_list(own, lists[m]) or (
            [PlannedBlock(m, 0, 0, 1, 0.0, float(overhead))] if geometry.floor else []
        )
    return steps or [PlannedBlock(0, 0, 0, 1, 0.0, float(overhead))]


def _with_list(blocks: list[PlannedBlock], size: int) -> list[PlannedBlock]:
    """Return the blocks of an item group; the most useful first one pays for the list of *size* bytes.

    No other block of the item group can come before it, so none is worth more.
    """
    if not (size and blocks):
        return blocks
    firsts = [at for at, block in enumerate(blocks) if not block.held]
    worth = [blocks[at].utility * blocks[at].bytes / (blocks[at].bytes + size) for at in firsts]
    most, place = max(worth), firsts[worth.index(max(worth))]
    capped = [block._replace(utility=min(block.utility, most)) for block in blocks]
    capped[place] = capped[place]._replace(bytes=capped[place].bytes + size)
    return capped


def convex_hull(
    distortion: FloatArray, sizes: FloatArray, overhead: int
) -> list[tuple[int, int, float, float]]:
    """Return the blocks of a cell: (planes held, planes after it, decrease of distortion per byte, bytes).

    Args:
        distortion: with 0, 1, ..., P planes held, shape (P + 1,).
        sizes: bytes of each plane, shape (P,).
        overhead: bytes that each block has besides.
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
    partition = partition_of(geometry)
    rows = [slice(start, end) for start, end in pairwise([*partition.row_starts.tolist(), partition.n_items])]
    # One item group at a time, so that its numbers stay in the processor cache for all planes.
    curves = [_column_curves(geometry, values[group], item_weights[group]) for group in rows]
    distortion, bits = (np.stack(curve, axis=1) for curve in zip(*curves, strict=True))  # (..., M, d)
    columns = partition.column_starts
    return np.add.reduceat(distortion, columns, axis=2), np.add.reduceat(bits, columns, axis=2) / 8


def _column_curves(
    geometry: Geometry, values: Float32Array, item_weights: Float32Array
) -> tuple[FloatArray, FloatArray]:
    """Return the curves of each column of an item group: distortion (P + 1, d) and bits (P, d).

    Args:
        geometry: the number of planes, and the codec.
        values: shape (rows, d).
        item_weights: shape (rows,).
    """
    last, weights = geometry.planes - 1, item_weights.astype(np.float64)
    sizes, every = np.abs(values), np.ones(len(values), dtype=np.float32)
    all_bits = magnitudes(values, last).astype(np.uint16)
    distortion, ones = [_weighted_squares(weights, sizes)], []
    for plane in range(geometry.planes):
        q = all_bits >> np.uint16(last - plane)
        distortion.append(_weighted_squares(weights, sizes - _known_sizes(q, plane)))
        ones.append(every @ (q & np.uint16(1)).astype(np.float32))
    counts = _plane_counts(geometry.planes, all_bits, np.stack(ones).astype(np.int64))
    return np.stack(distortion), plane_coder(geometry).plane_bits(counts)


def _weighted_squares(weights: FloatArray, values: Float32Array) -> FloatArray:
    """Return the sum of the squares of each column of *values*, with the weights of rows."""
    squares = values.astype(np.float64)
    squares *= squares
    return np.asarray(weights @ squares)


def plane_coder(geometry: Geometry) -> PlaneCoder:
    """Return the coder of an embedded codec."""
    coder = geometry.codec.coder
    assert isinstance(coder, PlaneCoder)
    return coder


def _known_sizes(q: NDArray[np.uint16], plane: int) -> Float32Array:
    """Return the absolute values of `wire.codecs.planes.dequantise`, up to the last digit, in less time."""
    known = q.astype(np.float32)
    points = known * _POINT_OF_1
    known += np.minimum(points, _POINTS[1], out=points)  # 0 for q = 0
    known *= np.float32(2.0 ** -(plane + 1))
    return known


def _plane_counts(planes: int, all_bits: NDArray[np.uint16], ones: IntArray) -> PlaneCounts:
    """Return the counts of each plane of each column.

    Args:
        planes: P.
        all_bits: q after the last plane, shape (rows, d).
        ones: numbers of a column with odd q after each plane, shape (P, d).
    """
    starts = _leading_bits(all_bits)  # (lengths, 2, 2, d)
    length = planes - np.arange(planes)  # of the q that becomes non-zero in each plane
    lengths = starts.sum(axis=(1, 2))
    fresh, zeros = lengths[length], np.cumsum(lengths, axis=0)[length]
    known = len(all_bits) - zeros
    ones_of_1 = starts[length + 1][:, 1].sum(axis=1)  # of q = 1, those with next bit 1: (P, d)
    ones_of_2 = starts[length + 2][:, :, 1].sum(axis=1)  # of q = 2 and 3
    beyond = known - lengths[length + 1] - lengths[length + 2]
    return PlaneCounts(
        known,
        zeros,
        fresh,
        (
            (1, lengths[length + 1], ones_of_1),
            (2, lengths[length + 2], ones_of_2),
            (4, beyond, ones - fresh - ones_of_1 - ones_of_2),
        ),
    )


def _leading_bits(numbers: NDArray[np.uint16]) -> IntArray:
    """Return the count of the numbers of each column by length and next two bits, shape (19, 2, 2, d).

    The number 0 has length 0, 1 has length 1, 2 and 3 have length 2, and so on, up to 16. Missing bits count
    as 0.
    """
    dim = numbers.shape[1]
    indices = _LEADING[numbers] * dim + np.arange(dim)
    return np.bincount(indices.reshape(-1), minlength=19 * 4 * dim).reshape(19, 2, 2, dim)


def _leading_table() -> IntArray:
    """Return 4 times the length of each 16-bit number, plus the two bits after its first bit."""
    numbers = np.arange(2**16)
    length = np.frexp(numbers.astype(np.float64))[1]
    return np.asarray(4 * length + ((numbers << 2 >> np.maximum(length - 1, 0)) & 3), dtype=np.int64)


_LEADING = _leading_table()
