"""The recommender on a device: a parameter-free similarity between the user and the items held.

    score(u, i) = sum over held blocks (m(i), n) of <u^n, v_i^n>        (the paper's, aligned)

Numpy only. Letters: B users, I items, d dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from devices.shelf import Shelf
from wire.geometry import Float32Array, decode_block
from wire.metrics import FloatArray


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
        self.covered: NDArray[np.bool_] = np.zeros(geometry.items, dtype=bool)
        """Which items have a block at all, shape (I,)."""
        self._shelf = shelf

    def hold(self, blocks: int) -> None:
        """Hold the first *blocks* of the ranking; a growth decodes only what is new."""
        if blocks < self.held:
            self.values[:], self.covered[:], self.held = 0.0, False, 0
        shelf, geometry = self._shelf, self._shelf.geometry
        scales = np.frombuffer(shelf.scales, dtype="<f4") if shelf.scales else np.ones(blocks, np.float32)
        for place in range(self.held, blocks):
            block = shelf.ids[place]
            raw = bytes(shelf.data[shelf.starts[place] : shelf.starts[place + 1]])
            rows, columns = geometry.rows(block), geometry.columns(block)
            shape = geometry.shape(block)
            self.values[rows, columns] = decode_block(raw, float(scales[place]), geometry.codec, shape)
            self.covered[rows] = True
        self.held = blocks

    def scores(self, users: Float32Array) -> FloatArray:
        """Return the score of every item, shape (B, I); -inf for an item without a block.

        In float64, so that a score does not depend on who else is in the batch (`wire.metrics.rank`).

        Args:
            users: user vectors, shape (B, d).
        """
        scores = users.astype(np.float64) @ self.values.T.astype(np.float64)
        scores[:, ~self.covered] = -np.inf
        return scores
