"""The next version of a store, which differs from the one before it in as few bits as it can.

Ranking, planes of each block, number of blocks of each layer, and scales are those of the version before. A
stored number changes only if the new value has left its interval by a margin (hysteresis). This holds at each
plane: as long as the value is within the margin of the interval of the first planes, these planes stay. So a
device that holds few planes has few changes, too. Letters: I items, d dimensions, G user groups, P planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.blocks.store import BlockStore, GroupBlocks, build_store
from wire.arrays import Float32Array
from wire.blocks import Blocks
from wire.geometry import Geometry
from wire.layers import Layers
from wire.ranking_metrics import FloatArray, IntArray
from wire.version_delta import CellReader, cells_of

VECTOR_STEPS = 32
"""Steps of a user's vector: about so many in the root mean square of its numbers."""
_BELOW_1 = 1 - 2.0**-20


@dataclass(frozen=True)
class NextNumbers:
    """The numbers of a new version before they are stored.

    Shapes: ``tables`` (I, d) for each of G groups, in the scale of the store; ``user_vectors`` (U, d),
    likewise; ``user_groups`` (U,).
    """

    tables: Sequence[Float32Array]
    user_vectors: Float32Array
    user_groups: IntArray


def encode_next_version(
    store: BlockStore, numbers: NextNumbers, margin: float, report: dict[str, object]
) -> BlockStore:
    """Return the store of *numbers* that follows *store*, which must have a codec of planes.

    Args:
        store: the version before.
        numbers: of the new version.
        margin: by how much a value must leave its interval, as a part of the interval's length; 0 for none.
        report: of the new version.
    """
    geometry = store.geometry
    groups = [
        _encode_group(geometry, group, table, margin)
        for group, table in zip(store.groups, numbers.tables, strict=True)
    ]
    vectors = numbers.user_vectors.copy()
    for number in range(len(groups)):
        members = np.flatnonzero(numbers.user_groups == number)
        vectors[members] = settle_vectors(store.user_vectors[members], vectors[members], margin)
    return build_store(
        geometry,
        groups=groups,
        user_vectors=vectors,
        user_groups=numbers.user_groups,
        report=report,
    )


def settle_vectors(old: Float32Array, new: Float32Array, margin: float) -> Float32Array:
    """Return *new* vectors (n, d) of a group in steps; a number hardly further than half a step stays.

    The step is a power of two, the same for all: `VECTOR_STEPS` are about the root mean square of the *old*
    numbers of a dimension, the median over dimensions, since a few may have next to no users. A vector of
    which no number changes stays as it is, whatever its numbers are; else all of them are whole steps, so
    that the change is one of whole steps (`wire.version_delta`).
    """
    sizes = np.sqrt(np.mean(np.square(old, dtype=np.float64), axis=0)) if len(old) else np.zeros(0)
    size = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0
    step = 2.0 ** np.floor(np.log2(size / VECTOR_STEPS))
    stays = np.abs(new - old) <= (0.5 + margin) * step
    rounded = np.rint(np.where(stays, old, new) / step) * step
    return np.where(stays.all(axis=1, keepdims=True), old, rounded).astype(np.float32)


def settle(values: FloatArray, q: IntArray, planes: int, margin: float) -> FloatArray:
    """Return *values*, moved into the intervals that they have not left by *margin*.

    Args:
        values: new values, absolute values below 1, any shape.
        q: the old numbers at the last plane, with their signs (`wire.version_delta`).
        planes: number of planes of *q*, from 1.
        margin: part of an interval's length.
    """
    settled, inside = np.clip(values, -_BELOW_1, _BELOW_1), np.ones(values.shape, dtype=np.bool_)
    for plane in range(planes):
        step = 2.0 ** -(plane + 1)
        known = np.sign(q) * (np.abs(q) >> (planes - 1 - plane))
        low = np.where(known > 0, known, known - 1) * step
        high = np.where(known < 0, known, known + 1) * step
        inside &= (settled > low - margin * step) & (settled < high + margin * step)
        inner = step * 2.0**-20  # an interval is open at its outer end
        settled = np.where(inside, np.clip(settled, low + inner, high - inner), settled)
    return settled


def _encode_group(geometry: Geometry, group: GroupBlocks, table: Float32Array, margin: float) -> GroupBlocks:
    ids = group.ranking()
    reader, encoded = CellReader(geometry, group.blocks), [b""] * len(ids)
    for cell in cells_of(geometry, ids).values():
        block, planes = ids[cell.indices[0]], cell.planes[-1]
        rows = reader.groups.rows(geometry.cell(block)[0])
        values = table[rows, geometry.columns(block)].astype(np.float64)
        settled = settle(values, reader.numbers(cell, planes), planes, margin).astype(np.float32)
        held = 0
        for index, reached in zip(cell.indices, cell.planes, strict=True):
            encoded[index] = reader.list_of(index) + geometry.codec.coder.encode(settled, held, reached)[1]
            held = reached
    sizes = np.array([len(data) for data in encoded])
    if (sizes > 0xFFFF).any():
        raise ValueError(f"a block of {sizes.max()} bytes is too large")
    blocks = Blocks(group.blocks.ids, sizes.astype("<u2").tobytes(), b"", b"".join(encoded))

    def layers(stored: Sequence[int]) -> Layers:
        ends = np.cumsum(stored)
        counts = group.layers.blocks[1:]
        return Layers.above_zero(counts, ends[np.array(counts) - 1].tolist())

    return GroupBlocks.of(geometry, blocks, layers)
