"""The recommender on a device: a parameter-free similarity between the user and the items held.

    aligned   score(u, i) = sum over held blocks (m(i), n) of <u^n, v_i^n>
    tiled     score(u, i) = N / |S| <sum over all n of u^n, sum over held n of v_i^n>,   |S| of N slices held

The second is the one of the authors' code. There are two ways to the same scores: `ItemTable` keeps what
it has decoded, `lean_scores` decodes one item group at a time and forgets it. Numpy only, besides the
range coder where the codec is `coded`. Letters: B users, I items, d dimensions, M item groups, N slices of
w dimensions.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from devices.protocol.block_prefix import Shelf
from wire.blocks import refined
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Float32Array, Geometry, Score
from wire.ranking_metrics import FloatArray, IntArray


class ItemTable:
    """The item embeddings that a prefix of a ranking decodes to.

    Args:
        shelf: where the blocks lie.
    """

    def __init__(self, shelf: Shelf) -> None:
        geometry = shelf.geometry
        self.held = 0
        self.values: Float32Array = np.zeros((geometry.items, geometry.dim), dtype=np.float32)
        """Shape (I, d); 0 where no block is held."""
        self.planes: IntArray = np.zeros((geometry.item_groups, geometry.slices), dtype=np.int64)
        """How many planes of each cell are held, shape (M, N)."""
        self._shelf = shelf

    def hold(self, blocks: int) -> None:
        """Hold the first *blocks* of the ranking; a growth decodes only what is new.

        Raises:
            RemoteProtocolError: the bytes of a block are none of its codec.
        """
        if blocks < self.held:
            self.values[:], self.planes[:], self.held = 0.0, 0, 0
        geometry = self._shelf.geometry
        for place in range(self.held, blocks):
            block = self._shelf.ids[place]
            m, _ = geometry.cell(block)
            decode_into(self._shelf, place, self.values[geometry.rows(block)], self.planes[m])
        self.held = blocks

    def scores(self, users: Float32Array) -> FloatArray:
        """Return the score of every item, shape (B, I); -inf for an item without a block.

        In float64, so that a score does not depend on who else is in the batch (`wire.ranking_metrics.rank`).

        Args:
            users: user vectors, shape (B, d).
        """
        return table_scores(users, self.values, self.planes > 0, self._shelf.geometry)


def decode_into(shelf: Shelf, place: int, values: Float32Array, planes: IntArray) -> None:
    """Decode the block at *place* of the ranking into its cell.

    Args:
        shelf: where the block lies.
        place: in the ranking, from 0; the cell's blocks before it are taken in already.
        values: the rows of the block's item group, shape (rows, d); changed.
        planes: how many planes of the item group's cells are held, shape (N,); changed.

    Raises:
        RemoteProtocolError: the bytes of the block are none of its codec.
    """
    geometry, block = shelf.geometry, shelf.ids[place]
    _, n = geometry.cell(block)
    columns = geometry.columns(block)
    data, scale = shelf.block(place)
    values[:, columns] = refined(values[:, columns], int(planes[n]), block, data, scale, geometry)
    planes[n] = geometry.plane(block) + 1


def table_scores(
    users: Float32Array, values: Float32Array, held: NDArray[np.bool_], geometry: Geometry
) -> FloatArray:
    """Return the score of every item, shape (B, I); -inf for an item of whose group no slice is held.

    Args:
        users: shape (B, d).
        values: shape (I, d), 0 where no block is held.
        held: which cells are held, shape (M, N).
        geometry: how the table is cut, and how scores are made.
    """
    left = _left(users, geometry)
    scores = np.empty((len(users), geometry.items))
    for m, rows in enumerate(item_group_rows(geometry)):
        scores[:, rows] = _group_scores(left, values[rows], held[m], geometry)
    return scores


def streaming_scores(shelf: Shelf, blocks: int, users: Float32Array) -> FloatArray:
    """Return what an `ItemTable` that holds the first *blocks* does, with one item group decoded at a time.

    The working memory is the scores, 8 B I bytes, and the rows of one item group, 12 d bytes an item: as
    float32 and, while they are multiplied, as float64.

    Args:
        shelf: where the blocks lie.
        blocks: how many of the ranking are held.
        users: user vectors, shape (B, d).

    Raises:
        RemoteProtocolError: the bytes of a block are none of its codec, or decode to no finite numbers.
    """
    geometry = shelf.geometry
    left = _left(users, geometry)
    scores = np.empty((len(users), geometry.items))
    for m, (rows, places) in enumerate(zip(item_group_rows(geometry), _places(shelf, blocks), strict=True)):
        values = np.zeros((rows.stop - rows.start, geometry.dim), dtype=np.float32)
        planes = np.zeros(geometry.slices, dtype=np.int64)
        for place in places.tolist():
            decode_into(shelf, place, values, planes)
        if not np.isfinite(values).all():
            raise RemoteProtocolError(Reason.CONTENT, f"numbers of item group {m} are not finite")
        scores[:, rows] = _group_scores(left, values, planes > 0, geometry)
    return scores


def item_group_rows(geometry: Geometry) -> Iterator[slice]:
    """Yield the rows of each item group."""
    for m in range(geometry.item_groups):
        yield geometry.rows(m * geometry.slices * geometry.planes)


def _places(shelf: Shelf, blocks: int) -> Iterator[IntArray]:
    """Yield, for each item group, where its blocks are among the first *blocks* of the ranking, in order."""
    geometry = shelf.geometry
    groups = np.array(shelf.ids[:blocks], dtype=np.int64) // (geometry.slices * geometry.planes)
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(geometry.item_groups + 1))
    for m in range(geometry.item_groups):
        yield order[bounds[m] : bounds[m + 1]]


def _left(users: Float32Array, geometry: Geometry) -> FloatArray:
    """Return what the users bring to the product: (B, d), or (B, w) where the score is tiled."""
    left = users.astype(np.float64)
    return _summed(left, geometry) if geometry.score is Score.TILED else left


def _group_scores(
    left: FloatArray, values: Float32Array, held: NDArray[np.bool_], geometry: Geometry
) -> FloatArray:
    """Return the scores of one item group's items, shape (B, rows).

    Args:
        left: of `_left`.
        values: shape (rows, d), 0 where no block is held.
        held: which slices are held, shape (N,).
        geometry: how the table is cut, and how scores are made.
    """
    count = int(held.sum())
    if not count:
        return np.full((len(left), len(values)), -np.inf)
    right = values.astype(np.float64)
    if geometry.score is not Score.TILED:
        return np.asarray(left @ right.T)
    return np.asarray(left @ _summed(right, geometry).T * (geometry.slices / count))


def _summed(vectors: FloatArray, geometry: Geometry) -> FloatArray:
    """Return the sum of each vector's slices, (rows, d) to (rows, w); a narrow last one has zeros besides."""
    short = geometry.slices * geometry.slice_width - geometry.dim
    whole = np.pad(vectors, ((0, 0), (0, short)))
    return np.asarray(whole.reshape(len(vectors), geometry.slices, geometry.slice_width).sum(axis=1))
