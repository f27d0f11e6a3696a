"""Codec `planes`, and the common part with `coded`: precision planes, most significant bit first.

A cell of a table is a matrix of numbers x with |x| < 1, shape (rows, columns). After plane p a number is
known by its sign and q = floor(|x| 2^(p + 1)). The interval of q = 0, the dead zone, is twice as wide as the
others. A decoder reconstructs x as 0 in the dead zone and else as sign (q + r) / 2^(p + 1), with r of
`RECONSTRUCTION_POINTS`. A block brings a cell from the planes that are held to one more or several more. It
has, per plane and in this order:

1. only with `coded`: the columns with a number that becomes non-zero in this plane
   (`wire.codecs.coded_planes`),
2. the next bit of q, row by row: of every number, but with `coded` only of non-zero numbers and active
   columns,
3. a sign (1: negative) for each number that became non-zero in this plane, row by row.

`planes` packs these bits, most significant first. Letters: P planes, d dimensions.
"""

from abc import abstractmethod
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wire.arrays import Float32Array, Int32Array
from wire.codecs.block_coder import BlockCoder
from wire.errors import Reason, RemoteProtocolError

Uint16Array = NDArray[np.uint16]

RECONSTRUCTION_POINTS = (0.40, 0.45)
"""The point of an interval at which a number is reconstructed: for q = 1, and for q > 1.

Small numbers are more likely, so it is below the middle.
"""


class PlaneCounts(NamedTuple):
    """Counts of the numbers of each column before each plane, for `PlaneCoder.plane_bits`; shapes (P, d)."""

    known: NDArray[np.int64]
    """Numbers that are not 0."""
    zeros: NDArray[np.int64]
    """Numbers that are 0."""
    fresh: NDArray[np.int64]
    """Numbers that become non-zero in the plane."""
    refined: tuple[tuple[int, NDArray[np.int64], NDArray[np.int64]], ...]
    """(q, count, ones) of numbers with q = 1, with 2 and 3, and from 4 up: *ones* of them have the next bit
    1."""


class PlaneWriter(Protocol):
    """Writes the planes of the blocks of a cell."""

    def plane(self, plane: int, after: Uint16Array) -> None:
        """Write the step to q *after* the plane; 0 and 1 were 0 before it, and 1 has become non-zero."""

    def signs(self, negative: NDArray[np.bool_]) -> None:
        """Write the signs of the numbers that became non-zero."""

    def close(self) -> bytes:
        """Return the bytes of the block, and begin the next."""


class PlaneReader(Protocol):
    """Reads the planes of a block."""

    def plane(self, before: Int32Array, zero: NDArray[np.bool_]) -> Int32Array:
        """Return q after the next plane, given q *before* it."""

    def signs(self, count: int) -> Int32Array:
        """Return the next *count* signs, 1 for negative."""


class PlaneCoder(BlockCoder):
    """A codec whose blocks are precision planes."""

    embedded = True
    max_planes = 16
    usual_planes = 12

    @abstractmethod
    def writer(self, zeros: NDArray[np.int64]) -> PlaneWriter:
        """Return a writer for the blocks of a cell.

        Args:
            zeros: numbers of each column that are 0 with 0, 1, ..., P planes held, shape (P + 1, columns).
        """

    @abstractmethod
    def reader(self, data: bytes) -> PlaneReader:
        """Return a reader of one block."""

    @abstractmethod
    def plane_bits(self, counts: PlaneCounts) -> NDArray[np.float64]:
        """Return the bits of each plane of each column, shape (P, d), to within a few bits."""

    def encode(self, values: Float32Array, held: int, planes: int) -> tuple[float, bytes]:
        """Return scale 1 and the block that brings a cell, |x| < 1, from *held* planes to *planes*."""
        return 1.0, CellEncoder(self, values, planes).block(held, planes)

    def decode(self, data: bytes, scale: float, values: Float32Array, held: int, planes: int) -> Float32Array:
        """Return a cell after a block; *values*, the numbers before it, are the whole state of the decoder.

        Raises:
            RemoteProtocolError: *data* are not such a block.
        """
        try:
            return self._decode(data, values, held, planes)
        except (AssertionError, ValueError, IndexError) as error:
            raise RemoteProtocolError(
                Reason.CONTENT, f"{len(data)} bytes are no block of planes: {error}"
            ) from None

    def _decode(self, data: bytes, values: Float32Array, held: int, planes: int) -> Float32Array:
        reader = self.reader(data)
        before = magnitudes(values, held - 1) if held else np.zeros(values.shape, dtype=np.int32)
        negative = np.signbit(values)
        for _ in range(held, planes):
            zero = before == 0
            after = reader.plane(before, zero)
            fresh = zero & (after == 1)
            negative[fresh] = reader.signs(int(fresh.sum()))
            before = after
        return reconstruct(before, negative, planes - 1)


class CellEncoder:
    """Encodes blocks of one cell; what they share is counted once.

    Args:
        coder: of the blocks.
        values: of the cell, |x| < 1.
        planes: P, the most that blocks bring.
    """

    def __init__(self, coder: PlaneCoder, values: Float32Array, planes: int) -> None:
        self._planes = planes
        self._q = magnitudes(values, planes - 1).astype(np.uint16)
        self._negative = np.signbit(values).reshape(-1)
        columns = values.shape[1]
        places = _LENGTHS[self._q]
        places *= columns
        places += np.arange(columns)
        lengths = np.bincount(places.reshape(-1), minlength=(planes + 1) * columns).reshape(-1, columns)
        self._writer = coder.writer(np.cumsum(lengths, axis=0)[::-1])

    def block(self, held: int, planes: int) -> bytes:
        """Return the block that brings the cell from *held* planes to *planes*."""
        for plane in range(held, planes):
            after = self._q >> np.uint16(self._planes - 1 - plane)
            self._writer.plane(plane, after)
            self._writer.signs(self._negative[np.flatnonzero(after == 1)])  # faster than by a choice
        return self._writer.close()


_LENGTHS: NDArray[np.int64] = np.frexp(np.arange(2**16))[1].astype(np.int64)
"""The number of bits of each number."""


class PlainPlaneCoder(PlaneCoder):
    """The codec `planes`: packed bits."""

    def writer(self, zeros: NDArray[np.int64]) -> PlaneWriter:
        """Return a writer of packed bits."""
        return _BitWriter()

    def reader(self, data: bytes) -> PlaneReader:
        """Return a reader of packed bits."""
        return _BitReader(data)

    def plane_bits(self, counts: PlaneCounts) -> NDArray[np.float64]:
        """Return the bits of each plane of each column, shape (P, d)."""
        return np.asarray(counts.known + counts.zeros + counts.fresh, dtype=np.float64)


def magnitudes(values: Float32Array, plane: int) -> Int32Array:
    """Return q of each number after *plane*: floor(|x| 2^(plane + 1))."""
    return (np.abs(values) * np.float32(2 ** (plane + 1))).astype(np.int32)  # rounded towards 0


def dequantise(values: Float32Array, plane: int) -> Float32Array:
    """Return *values* as a decoder knows them after *plane*; idempotent."""
    return reconstruct(magnitudes(values, plane), np.signbit(values), plane)


def reconstruct(q: Int32Array, negative: NDArray[np.bool_], plane: int) -> Float32Array:
    """Return the numbers as a decoder knows them that have *q* after *plane*."""
    point = np.where(q == 0, 0.0, np.where(q == 1, *RECONSTRUCTION_POINTS))
    sizes = ((q + point) * 2.0 ** -(plane + 1)).astype(np.float32)
    return np.where(negative & (q > 0), -sizes, sizes)


class _BitWriter:
    def __init__(self) -> None:
        self._bits: list[NDArray[np.uint8]] = []

    def plane(self, plane: int, after: Uint16Array) -> None:
        self._bits.append((after & 1).reshape(-1).astype(np.uint8))

    def signs(self, negative: NDArray[np.bool_]) -> None:
        self._bits.append(negative.astype(np.uint8))

    def close(self) -> bytes:
        bits, self._bits = self._bits, []
        return np.packbits(np.concatenate(bits)).tobytes()


class _BitReader:
    def __init__(self, data: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).astype(np.int32)
        self._position = 0

    def plane(self, before: Int32Array, zero: NDArray[np.bool_]) -> Int32Array:
        return 2 * before + self.signs(before.size).reshape(before.shape)

    def signs(self, count: int) -> Int32Array:
        self._position += count
        if self._position > len(self._bits):
            raise ValueError("it ends too early")
        return self._bits[self._position - count : self._position]
