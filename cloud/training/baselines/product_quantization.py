"""Product quantization: each part of a vector is the number of one of a few typical parts.

Letters: I items, d dimensions.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from sklearn.cluster import KMeans

from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from wire.arrays import Float32Array
from wire.random_streams import stream

PARTS = (1, 2, 4, 8, 16, 32)
BITS = (4, 8)


@dataclass(frozen=True)
class ProductQuantization:
    """Parts and bits per part are chosen on validation.

    Bytes: a code of 4 or 8 bits per item and part, and the codebooks, 2**bits d numbers in float16.
    """

    name: str = "pq"
    parts: tuple[int, ...] = PARTS

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Prepare to cluster; a setting that comes again is not clustered again."""
        rows, columns = full.items.shape
        table = functools.cache(lambda parts, bits: quantize_products(full.items, parts, bits, full.seed))

        def options(budget_bytes: int) -> Iterator[Candidate]:
            for bits, parts in product(BITS, self.parts):
                size = product_bytes(rows, columns, parts, bits)
                if size <= budget_bytes and parts <= columns:
                    yield by_products(full.users, table(parts, bits), size, f"{parts} parts of {bits} bits")

        return Choice(interactions, options)


def product_bytes(rows: int, columns: int, parts: int, bits: int) -> int:
    """Return the bytes of codes and codebooks; there are at most as many centroids as items."""
    typical: int = min(2**bits, rows)
    return -(-rows * parts * bits // 8) + 2 * typical * columns


def quantize_products(table: Float32Array, parts: int, bits: int, seed: int) -> Float32Array:
    """Return *table*, shape (I, d), as it is read back."""
    numbers = stream(seed, "pq", parts, bits).integers(2**31, size=parts)
    pieces = np.array_split(table, parts, axis=1)
    chunks = [
        _typical(piece, min(2**bits, len(table)), int(at)) for piece, at in zip(pieces, numbers, strict=True)
    ]
    return np.concatenate(chunks, axis=1)


def _typical(piece: Float32Array, count: int, seed: int) -> Float32Array:
    means = KMeans(count, n_init=1, max_iter=30, random_state=seed).fit(piece)
    book = means.cluster_centers_.astype(np.float16).astype(np.float32)
    return np.asarray(book[means.labels_], dtype=np.float32)
