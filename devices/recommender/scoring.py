"""The recommender of a device: a similarity without parameters between the user and the items held.

    aligned   score(u, i) = sum over held blocks (m(i), n) of <u^n, v_i^n>
    tiled     score(u, i) = N / |S| <sum over all n of u^n, sum over held n of v_i^n>,   |S| of N slices held

The second is that of the authors' code. Items of whose group nothing is held have no score, or 0
(`wire.geometry.Unheld`). Two functions compute the same scores: `ItemTable` keeps the decoded
items, `streaming_scores` decodes one item group at a time and forgets it. Only numpy is needed, and the range
coder for the codec `coded`. Letters: B users, I items, d dimensions, M item groups, N slices of w dimensions.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from devices.protocol.block_prefix import BlockPrefix
from wire.arrays import Float32Array
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry, Score
from wire.item_lists import ItemGroups, Rows
from wire.ranking_metrics import FloatArray, IntArray


class ItemTable:
    """The item embeddings that a prefix of a ranking decodes to.

    Args:
        shelf: the blocks.
    """

    def __init__(self, shelf: BlockPrefix) -> None:
        geometry = shelf.geometry
        self.held = 0
        self.values: Float32Array = np.zeros((geometry.items, geometry.dim), dtype=np.float32)
        """Shape (I, d); 0 where no block is held."""
        self.planes: IntArray = np.zeros((geometry.item_groups, geometry.slices), dtype=np.int64)
        """The number of planes held of each cell, shape (M, N)."""
        self._shelf = shelf
        self.groups = ItemGroups(geometry)
        """The items of each item group."""

    def hold(self, blocks: int) -> None:
        """Hold the first *blocks* of the ranking; only new blocks are decoded.

        Raises:
            RemoteProtocolError: the bytes of a block are not valid in its codec.
        """
        if blocks < self.held:
            self.values[:], self.planes[:], self.held = 0.0, 0, 0
            self.groups = ItemGroups(self._shelf.geometry)
        geometry = self._shelf.geometry
        for index in range(self.held, blocks):
            m, _ = geometry.cell(self._shelf.ids[index])
            start = self.groups.read(m, self._shelf.block(index)[0])
            rows = self.groups.rows(m)
            values = self.values[rows]
            decode_into(self._shelf, index, start, values, self.planes[m])
            self.values[rows] = values
        self.held = blocks

    def scores(self, users: Float32Array) -> FloatArray:
        """Return the score of every item, shape (B, I); an item without a block has -inf or 0.

        In float64, so that the score of a user does not depend on the batch (`wire.ranking_metrics.rank`).

        Args:
            users: user vectors, shape (B, d).
        """
        return table_scores(users, self.values, self.planes > 0, self._shelf.geometry, self.groups)


def decode_into(shelf: BlockPrefix, index: int, start: int, values: Float32Array, planes: IntArray) -> None:
    """Decode block number *index* of the ranking into its cell.

    Args:
        shelf: the blocks.
        index: in the ranking, from 0; the cell's blocks before it are already decoded.
        start: the bytes of the list of items at the start of the block's data.
        values: the rows of the block's item group, shape (rows, d); changed.
        planes: the number of planes held of the item group's cells, shape (N,); changed.

    Raises:
        RemoteProtocolError: the bytes of the block are not valid in its codec.
    """
    geometry, block = shelf.geometry, shelf.ids[index]
    _, n = geometry.cell(block)
    columns = geometry.columns(block)
    data, scale = shelf.block(index)
    held, planes[n] = int(planes[n]), geometry.plane(block) + 1
    values[:, columns] = geometry.codec.coder.decode(
        data[start:], scale, values[:, columns], held, int(planes[n])
    )


def table_scores(
    users: Float32Array,
    values: Float32Array,
    held: NDArray[np.bool_],
    geometry: Geometry,
    groups: ItemGroups | None = None,
) -> FloatArray:
    """Return the score of every item, shape (B, I); -inf or 0 for an item of whose group no slice is held.

    Args:
        users: shape (B, d).
        values: shape (I, d), 0 where no block is held.
        held: True for each cell that is held, shape (M, N).
        geometry: the partition of the table and the form of the score.
        groups: the items of each item group; None: they are in catalogue order.
    """
    left, unheld = _user_factors(users, geometry), unheld_score(geometry, bool(held.any()))
    scores = np.full((len(users), geometry.items), unheld)
    for m, rows in (groups or ItemGroups(geometry)).known():
        if held[m].any():
            scores[:, rows] = _group_scores(left, values[rows], held[m], geometry)
    return scores


def streaming_scores(shelf: BlockPrefix, blocks: int, users: Float32Array) -> FloatArray:
    """Return the scores of an `ItemTable` with the first *blocks*, decoding one item group at a time.

    The working memory is the scores, 8 B I bytes, and the rows of one item group, 12 d bytes an item: as
    float32 and, while they are multiplied, as float64.

    Args:
        shelf: the blocks.
        blocks: the number of blocks held, the first of the ranking.
        users: user vectors, shape (B, d).

    Raises:
        RemoteProtocolError: the bytes of a block are not valid in its codec, or a number is not finite.
    """
    geometry = shelf.geometry
    left, unheld = _user_factors(users, geometry), unheld_score(geometry, blocks > 0)
    scores = np.full((len(users), geometry.items), unheld)
    for rows, values, held in decode_item_groups(shelf, blocks):
        scores[:, rows] = _group_scores(left, values, held, geometry)
    return scores


def decode_item_groups(
    shelf: BlockPrefix, blocks: int
) -> Iterator[tuple[Rows, Float32Array, NDArray[np.bool_]]]:
    """Yield each item group with blocks: its items, their vectors (rows, d), and the slices held (N,).

    Args:
        shelf: the blocks.
        blocks: the number of blocks held, the first of the ranking.

    Raises:
        RemoteProtocolError: the bytes of a block are not valid in its codec, or a number is not finite.
    """
    geometry, groups = shelf.geometry, ItemGroups(shelf.geometry)
    starts = [groups.read(geometry.cell(shelf.ids[at])[0], shelf.block(at)[0]) for at in range(blocks)]
    for m, indices in enumerate(_block_indices(shelf, blocks)):
        if not len(indices):
            continue
        rows, size = groups.rows(m), geometry.item_group(m)
        values = np.zeros((size.stop - size.start, geometry.dim), dtype=np.float32)
        planes = np.zeros(geometry.slices, dtype=np.int64)
        for index in indices.tolist():
            decode_into(shelf, index, starts[index], values, planes)
        if not np.isfinite(values).all():
            raise RemoteProtocolError(Reason.CONTENT, f"numbers of item group {m} are not finite")
        yield rows, values, planes > 0


def score_factors(values: Float32Array, held: NDArray[np.bool_], geometry: Geometry) -> FloatArray:
    """Return the vectors of one item group whose products with the user's vector are its scores, (rows, d).

    Args:
        values: shape (rows, d), 0 where no block is held.
        held: True for each slice that is held, shape (N,).
        geometry: the partition of the table and the form of the score.
    """
    factors = values.astype(np.float64)
    if geometry.score is not Score.TILED:
        return factors
    sums = _sum_slices(factors, geometry) * (geometry.slices / max(1, int(held.sum())))
    return np.asarray(np.tile(sums, geometry.slices)[:, : geometry.dim])


def _block_indices(shelf: BlockPrefix, blocks: int) -> Iterator[IntArray]:
    """Yield, for each item group, the indices of its blocks among the first *blocks* of the ranking."""
    geometry = shelf.geometry
    groups = np.array(shelf.ids[:blocks], dtype=np.int64) // (geometry.slices * geometry.planes)
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(geometry.item_groups + 1))
    for m in range(geometry.item_groups):
        yield order[bounds[m] : bounds[m + 1]]


def product_form(items: Float32Array, geometry: Geometry) -> Float32Array:
    """Return items, shape (I, d), whose inner product with a user is the score of the whole table."""
    if geometry.score is not Score.TILED:
        return items
    sums = _sum_slices(items.astype(np.float64), geometry)  # (I, w)
    return np.tile(sums, geometry.slices)[:, : geometry.dim].astype(np.float32)


def whole_table(shelf: BlockPrefix) -> Float32Array:
    """Return the items of all blocks, shape (I, d), whose inner product with a user is the score."""
    table = ItemTable(shelf)
    table.hold(len(shelf.ids))
    return product_form(table.values, shelf.geometry)


def _user_factors(users: Float32Array, geometry: Geometry) -> FloatArray:
    """Return the left factor of the product: user vectors (B, d), or their summed slices (B, w) if tiled."""
    left = users.astype(np.float64)
    return _sum_slices(left, geometry) if geometry.score is Score.TILED else left


def _group_scores(
    left: FloatArray, values: Float32Array, held: NDArray[np.bool_], geometry: Geometry
) -> FloatArray:
    """Return the scores of one item group's items, shape (B, rows).

    Args:
        left: the user factors.
        values: shape (rows, d), 0 where no block is held.
        held: True for each slice that is held, shape (N,); one at least is.
        geometry: the partition of the table and the form of the score.
    """
    right = values.astype(np.float64)
    if geometry.score is not Score.TILED:
        return np.asarray(left @ right.T)
    return np.asarray(left @ _sum_slices(right, geometry).T * (geometry.slices / int(held.sum())))


def unheld_score(geometry: Geometry, any_block: bool) -> float:
    """Return the score of an item without a block: none, or 0 where *any_block* of the table is held."""
    return 0.0 if any_block and not geometry.floor else -np.inf


def _sum_slices(vectors: FloatArray, geometry: Geometry) -> FloatArray:
    """Return the sum of each vector's slices, (rows, d) to (rows, w); a narrow last slice is padded."""
    short = geometry.slices * geometry.slice_width - geometry.dim
    padded = np.pad(vectors, ((0, 0), (0, short)))
    return np.asarray(padded.reshape(len(vectors), geometry.slices, geometry.slice_width).sum(axis=1))
