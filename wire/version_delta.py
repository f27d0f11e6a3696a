"""Deltas between model versions: they turn the first blocks of one version into those of the next.

Two versions of a lineage have the same geometry, ranking and number of blocks in each layer: only numbers
differ, and few of them by more than a step. So a delta does not send blocks. It sends, for each number of the
cells that are held, the change of its q (`wire.codecs.planes`, with its sign) at the last plane that the new
blocks have. The device decodes the old blocks of a cell, adds the changes, and encodes the new blocks, which
are the same bytes as the cloud's. A list of items at the start of a block (`wire.item_lists`) stays as it is.
A checksum of the new blocks proves it.

A delta is, little-endian:

    U32   CRC-32 of the new ids, sizes and data, and the bytes of all layers from 0 as U32, end to end
    U16   number of new blocks, less 1
    U16   bytes of the change of the user's vector
    bytes the change of the user's vector (`encode_vector_change`); none if it stays
    bytes from one range coder (`wire.codecs.range_bits`), in this order:
          the change of the growth in bytes of each layer that has more blocks than the delta, from the
          layer before it;
          five bits each: the chance of a change where |q| was 0, was 1, was more; the low bits of a change;
          cell by cell, ascending: which numbers change, row by row; the signs of the changes; their sizes
          less 1

Only codecs of precision planes have deltas. Letters: d dimensions.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wire.arrays import Float32Array
from wire.blocks import Blocks, block_offsets
from wire.codecs.planes import PlaneCoder, magnitudes, reconstruct
from wire.codecs.range_bits import (
    CODE_BITS,
    SENT_CHANCES,
    BitReader,
    BitWriter,
    WholeNumbers,
    best_code,
    best_low_bits,
)
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry
from wire.item_lists import read_lists
from wire.layers import Layers
from wire.ranking_metrics import FloatArray

_HEAD = struct.Struct("<IHH")
_CLASSES = 3
"""Classes of numbers by |q| before the change: 0, 1 and more."""
_MOST_STEPS = 2**31
"""Changes of a vector are smaller, in steps."""


@dataclass(frozen=True)
class HeldBlocks:
    """The first blocks of a ranking, with the ranking's layer table."""

    blocks: Blocks
    layers: Layers

    @property
    def count(self) -> int:
        """The number of blocks."""
        return len(self.blocks.ids) // 2


class CellBlocks(NamedTuple):
    """The blocks of a cell that are held."""

    shape: tuple[int, int]
    indices: list[int]
    """Their indices in the ranking."""
    planes: list[int]
    """The planes after each of them."""


def has_deltas(geometry: Geometry) -> bool:
    """Tell whether versions with this geometry have deltas."""
    return isinstance(geometry.codec.coder, PlaneCoder)


def encode_delta(geometry: Geometry, old: HeldBlocks, new: HeldBlocks) -> bytes | None:
    """Return the delta from *old* blocks to *new* ones, without a change of the user's vector.

    Args:
        geometry: of both versions.
        old: the blocks that the device holds.
        new: the blocks that it will hold, at least one and at most as many.

    Returns:
        The delta; None where there is none: rankings, layers or item groups differ, or the codec has no
        planes.
    """
    count = new.count
    same = new.blocks.ids == old.blocks.ids[: 2 * count] and new.layers.blocks == old.layers.blocks
    if not (count and same and has_deltas(geometry)):
        return None
    writer = BitWriter()
    writer.signed(np.diff(_later_sizes(new.layers, count)) - np.diff(_later_sizes(old.layers, count)))
    read_old, read_new = CellReader(geometry, old.blocks), CellReader(geometry, new.blocks)
    if any(read_old.list_of(index) != read_new.list_of(index) for index in range(count)):
        return None
    changes = [
        (read_old.numbers(before, after.planes[-1]), read_new.numbers(after, after.planes[-1]))
        for before, after in _pairs_of_cells(geometry, old, count)
    ]
    _write_changes(writer, changes)
    return _HEAD.pack(_checksum(new), count - 1, 0) + writer.close()


def add_vector_change(delta: bytes, change: bytes) -> bytes:
    """Return a *delta* without a change of the user's vector with that *change* (`encode_vector_change`)."""
    checksum, last, _ = _HEAD.unpack_from(delta)
    return _HEAD.pack(checksum, last, len(change)) + change + delta[_HEAD.size :]


def apply_delta(geometry: Geometry, old: HeldBlocks, delta: bytes) -> HeldBlocks:
    """Return the new blocks.

    Args:
        geometry: of both versions.
        old: the blocks that are held; the delta is for exactly these.
        delta: from `encode_delta`.

    Raises:
        RemoteProtocolError: it is damaged, or for other blocks.
    """
    checksum, count, _ = _head(delta)
    if count > old.count or not has_deltas(geometry):
        raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"a delta of {count} blocks on {old.count} held")
    try:
        new = _apply(geometry, old, count, BitReader(delta[_HEAD.size + len(vector_change_of(delta)) :]))
    except (AssertionError, ValueError, OverflowError) as error:
        raise RemoteProtocolError(Reason.CONTENT, f"{len(delta)} bytes are no delta: {error}") from None
    if _checksum(new) != checksum:
        raise RemoteProtocolError(
            Reason.CONTENT, f"a delta leads to other blocks than the {count} of the cloud"
        )
    return new


def without_vector_change(delta: bytes) -> bytes:
    """Return *delta* as it was before `add_vector_change`: the same for all users with the same blocks.

    Raises:
        RemoteProtocolError: it is cut off.
    """
    checksum, count, length = _head(delta)
    return _HEAD.pack(checksum, count - 1, 0) + delta[_HEAD.size + length :]


def vector_change_of(delta: bytes) -> bytes:
    """Return the change of the user's vector in *delta*; nothing if it stays.

    Raises:
        RemoteProtocolError: it is cut off.
    """
    length = _head(delta)[2]
    return delta[_HEAD.size : _HEAD.size + length]


def block_count_of(delta: bytes) -> int:
    """Return the number of new blocks that *delta* leads to.

    Raises:
        RemoteProtocolError: it is cut off.
    """
    return _head(delta)[1]


def encode_vector_change(old: Float32Array, new: Float32Array) -> bytes | None:
    """Return the change of a user's vector, shape (d,): an exponent e, and its numbers in steps of 2^e.

    The step is the largest power of two of which all *new* numbers are multiples. What is written is the
    difference to the old numbers, rounded to steps. Nothing is returned for a vector that stays, None for one
    that has no such step that is large enough.
    """
    if np.array_equal(old, new):
        return b""
    exponent = _lowest_exponent(new)
    if not -127 <= exponent <= 127:
        return None
    steps = _in_steps(new, exponent) - _in_steps(old, exponent)
    if np.abs(steps).max() >= _MOST_STEPS:
        return None
    writer = BitWriter()
    writer.signed(steps.astype(np.int64))
    return struct.pack("<b", exponent) + writer.close()


def apply_vector_change(old: Float32Array, change: bytes) -> Float32Array:
    """Return the vector *old* after *change*.

    Raises:
        RemoteProtocolError: it is damaged.
    """
    if not change:
        return old
    try:
        steps = BitReader(change[1:]).signed(len(old))
    except (AssertionError, ValueError, OverflowError) as error:
        raise RemoteProtocolError(Reason.CONTENT, f"a vector's change: {error}") from None
    exponent: int = struct.unpack_from("<b", change)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        new = ((_in_steps(old, exponent) + steps) * 2.0**exponent).astype(np.float32)
    if not np.isfinite(new).all():
        raise RemoteProtocolError(Reason.CONTENT, "a vector's change leads to numbers that are not finite")
    return new


def _head(delta: bytes) -> tuple[int, int, int]:
    """Return the checksum, the number of new blocks, and the bytes of the change of the vector."""
    if len(delta) < _HEAD.size:
        raise RemoteProtocolError(Reason.MALFORMED, f"a delta of {len(delta)} bytes")
    checksum, last, length = _HEAD.unpack_from(delta)
    if _HEAD.size + length > len(delta):
        raise RemoteProtocolError(Reason.MALFORMED, f"a vector's change of {length} bytes in {len(delta)}")
    return checksum, last + 1, length


def _checksum(held: HeldBlocks) -> int:
    blocks, layers = held.blocks, np.array(held.layers.bytes, dtype="<u4").tobytes()
    return zlib.crc32(layers, zlib.crc32(blocks.data, zlib.crc32(blocks.sizes, zlib.crc32(blocks.ids))))


def _later_sizes(layers: Layers, count: int) -> WholeNumbers:
    """Return the bytes of the last layer with at most *count* blocks, and of those after it."""
    return np.array(layers.bytes[layers.complete(count) :], dtype=np.int64)


# --- cells ------------------------------------------------------------------------------------------


def cells_of(geometry: Geometry, ids: Sequence[int]) -> dict[tuple[int, int], CellBlocks]:
    """Return the cells of the blocks *ids*, in the order of the cells.

    Raises:
        ValueError: a block is not there, or brings its cell back.
    """
    cells: dict[tuple[int, int], CellBlocks] = {}
    for index, block in enumerate(ids):
        cell = cells.setdefault(geometry.cell(block), CellBlocks(geometry.shape(block), [], []))
        planes = geometry.plane(block) + 1
        if block >= geometry.blocks or (cell.planes and cell.planes[-1] >= planes):
            raise ValueError(f"block {block} at index {index}")
        cell.indices.append(index)
        cell.planes.append(planes)
    return dict(sorted(cells.items()))


def _pairs_of_cells(
    geometry: Geometry, old: HeldBlocks, count: int
) -> Iterator[tuple[CellBlocks, CellBlocks]]:
    """Yield each cell as held before and as held after, with the first *count* blocks."""
    ids = old.blocks.block_ids()
    before = cells_of(geometry, ids)
    for key, cell in cells_of(geometry, ids[:count]).items():
        yield before[key], cell


class CellReader:
    """Decodes cells of the first blocks of a ranking, one at a time."""

    def __init__(self, geometry: Geometry, blocks: Blocks) -> None:
        self._coder, self._data = geometry.codec.coder, blocks.data
        self._starts = block_offsets(blocks.checked_sizes(geometry))
        self.groups, self._list_bytes = read_lists(geometry, blocks.block_ids(), self._data, self._starts)
        """The items of each item group."""

    def list_of(self, index: int) -> bytes:
        """Return the list of items at the start of the block at *index* of the ranking."""
        start = self._starts[index]
        return self._data[start : start + self._list_bytes[index]]

    def numbers(self, cell: CellBlocks, planes: int) -> WholeNumbers:
        """Return q of each number of a cell after *planes* planes, with its sign."""
        values, held = np.zeros(cell.shape, dtype=np.float32), 0
        for index, reached in zip(cell.indices, cell.planes, strict=True):
            data = self._data[self._starts[index] + self._list_bytes[index] : self._starts[index + 1]]
            values, held = self._coder.decode(data, 1.0, values, held, reached), reached
            if held >= planes:
                break
        q = magnitudes(values, held - 1) >> held - planes
        return np.where(np.signbit(values), -q, q).astype(np.int64)


def _encode_cell(geometry: Geometry, q: WholeNumbers, cell: CellBlocks) -> Iterator[tuple[int, bytes]]:
    """Yield the index and the bytes of each block of a cell with numbers *q* at its last plane."""
    values, held = reconstruct(np.abs(q).astype(np.int32), q < 0, cell.planes[-1] - 1), 0
    for index, planes in zip(cell.indices, cell.planes, strict=True):
        yield index, geometry.codec.coder.encode(values, held, planes)[1]
        held = planes


# --- changes ----------------------------------------------------------------------------------------


def _classes_of(q: WholeNumbers) -> NDArray[np.int64]:
    return np.minimum(np.abs(q), _CLASSES - 1)


def _write_changes(writer: BitWriter, cells: Sequence[tuple[WholeNumbers, WholeNumbers]]) -> None:
    """Write the changes of all cells, each given as q before and q after."""
    before = np.concatenate([old.reshape(-1) for old, _ in cells])
    steps = np.concatenate([(new - old).reshape(-1) for old, new in cells])
    classes, sizes = _classes_of(before), np.abs(steps[steps != 0]) - 1
    counts = np.bincount(classes, minlength=_CLASSES)
    ones = np.bincount(classes[steps != 0], minlength=_CLASSES)
    codes = [best_code(int(one), int(count)) for one, count in zip(ones, counts, strict=True)]
    low_bits = best_low_bits(sizes)
    for number in (*codes, low_bits):
        writer.number(number, CODE_BITS)
    for old, new in cells:
        change = (new - old).reshape(-1)
        writer.bits(change != 0, SENT_CHANCES[codes][_classes_of(old.reshape(-1))])
        writer.bits(change[change != 0] < 0)
        writer.numbers(np.abs(change[change != 0]) - 1, low_bits)


def _read_change(reader: BitReader, old: WholeNumbers, codes: Sequence[int], low_bits: int) -> WholeNumbers:
    """Return q of a cell after its change."""
    flat = old.reshape(-1)
    changed = reader.bits(len(flat), SENT_CHANCES[list(codes)][_classes_of(flat)])
    negative = reader.bits(int(changed.sum()))
    sizes = reader.numbers(len(negative), low_bits) + 1
    new = flat.copy()
    new[changed] += np.where(negative, -sizes, sizes)
    return new.reshape(old.shape)


def _apply(geometry: Geometry, old: HeldBlocks, count: int, reader: BitReader) -> HeldBlocks:
    later = _later_sizes(old.layers, count)
    growth = np.diff(later) + reader.signed(len(later) - 1)
    codes, low_bits = [reader.number(CODE_BITS) for _ in range(_CLASSES)], reader.number(CODE_BITS)
    cells, encoded = CellReader(geometry, old.blocks), [b""] * count
    for before, after in _pairs_of_cells(geometry, old, count):
        q = _read_change(reader, cells.numbers(before, after.planes[-1]), codes, low_bits)
        if (np.abs(q) >= 2 ** after.planes[-1]).any():
            raise ValueError("a number is too large")
        for index, data in _encode_cell(geometry, q, after):
            encoded[index] = cells.list_of(index) + data
    sizes = np.array([len(data) for data in encoded])
    if (sizes > 0xFFFF).any():
        raise ValueError("a block is too large")
    blocks = Blocks(old.blocks.ids[: 2 * count], sizes.astype("<u2").tobytes(), b"", b"".join(encoded))
    stored = np.concatenate([[0], np.cumsum(sizes + geometry.codec.overhead)])
    held = old.layers.blocks[: old.layers.complete(count) + 1]
    below = stored[list(held)].tolist()
    sizes_of_layers = [*below, *(below[-1] + np.cumsum(growth)).tolist()]
    return HeldBlocks(blocks, Layers(old.layers.blocks, tuple(sizes_of_layers)))


def _in_steps(vector: Float32Array, exponent: int) -> FloatArray:
    """Return *vector* in whole steps of 2^exponent, rounded half to even."""
    return np.asarray(np.rint(vector.astype(np.float64) * 2.0**-exponent))


def _lowest_exponent(vector: Float32Array) -> int:
    """Return the largest e for which all numbers are multiples of 2^e; 127 if all are 0."""
    fractions, exponents = np.frexp(vector[vector != 0].astype(np.float64))
    if not len(fractions):
        return 127
    whole = np.abs(fractions * 2.0**24).astype(np.int64)  # a float32 has 24 significant bits
    zeros = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    return int((exponents - 24 + zeros).min())
