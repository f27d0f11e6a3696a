"""Backbone `svd`: the singular value decomposition of the matrix of training interactions (PureSVD)."""

from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.data.interactions import Interactions
from cloud.training.config import BackbonePlugin, Training

Vectors = NDArray[np.float32]


class SingularVectors(BackbonePlugin, frozen=True, kw_only=True, tag_field="type", tag="svd"):
    """The strongest directions of the interactions."""

    popularity_exponent: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    """Power of an item's popularity by which its interactions are divided; 0 leaves them as they are."""

    def learn(
        self, interactions: Interactions, training: Training, tick: Callable[[int, int, str], None]
    ) -> tuple[Vectors, Vectors]:
        """Return the vectors of users and of items; the score of a pair is their inner product."""
        lists = interactions.train
        matrix = np.zeros((interactions.n_users, interactions.n_items))
        users = np.repeat(np.arange(interactions.n_users), lists.counts())
        matrix[users, lists.items] = 1.0
        popularity = np.maximum(matrix.sum(axis=0), 1.0)
        left, values, right = np.linalg.svd(
            matrix / popularity**self.popularity_exponent, full_matrices=False
        )
        tick(1, 1, "decomposed")
        dim = training.dim
        return (left[:, :dim] * values[:dim]).astype(np.float32), right[:dim].T.astype(np.float32)
