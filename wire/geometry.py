"""How an item table is cut into blocks, and how a block is stored: both ends must agree.

Letters: I items, d dimensions, M item groups, N slices of w dimensions. Items are in catalogue
order, most popular first. Block ``m * N + n`` is the rows of item group m, ``m * I // M`` up to
``(m + 1) * I // M``, and the columns of slice n, ``n * w`` up to ``(n + 1) * w``.
"""

import functools
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

ID_BYTES = 2  # block ids are unsigned 16-bit numbers, on the wire and on the device
MAX_BLOCKS = 2**16


class Codec(StrEnum):
    """How the numbers of a block are stored."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"  # symmetric, one float32 scale per block

    @property
    def value_type(self) -> np.dtype[np.generic]:
        """The stored type of a number, little-endian."""
        return np.dtype({"fp32": "<f4", "fp16": "<f2", "int8": "i1"}[self.value])

    @property
    def scale_bytes(self) -> int:
        """Bytes of scale that each block carries beside its numbers."""
        return 4 if self is Codec.INT8 else 0


class Geometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shape of an item table and of its blocks."""

    items: int
    dim: int
    item_groups: int
    slice_width: int
    codec: Codec

    def __post_init__(self) -> None:
        if not 1 <= self.item_groups <= self.items:
            raise ValueError(f"item_groups(={self.item_groups}) must be from 1 to items(={self.items})")
        if not 1 <= self.slice_width <= self.dim:
            raise ValueError(f"slice_width(={self.slice_width}) must be from 1 to dim(={self.dim})")
        if self.blocks > MAX_BLOCKS:
            raise ValueError(f"blocks(={self.blocks}) must be at most {MAX_BLOCKS}")

    @property
    def slices(self) -> int:
        """N; the last slice is narrower where w does not divide d."""
        return -(-self.dim // self.slice_width)

    @property
    def blocks(self) -> int:
        """M * N."""
        return self.item_groups * self.slices

    def rows(self, block: int) -> slice:
        """Return the items of *block*."""
        m = block // self.slices
        return slice(m * self.items // self.item_groups, (m + 1) * self.items // self.item_groups)

    def columns(self, block: int) -> slice:
        """Return the dimensions of *block*."""
        n = block % self.slices
        return slice(n * self.slice_width, min((n + 1) * self.slice_width, self.dim))

    def shape(self, block: int) -> tuple[int, int]:
        """Return (rows, columns) of *block*."""
        rows, columns = self.rows(block), self.columns(block)
        return rows.stop - rows.start, columns.stop - columns.start

    def data_bytes(self, block: int) -> int:
        """Return the bytes of the numbers of *block*, without its id and scale."""
        rows, columns = self.shape(block)
        return rows * columns * self.codec.value_type.itemsize


@functools.lru_cache(maxsize=64)
def data_sizes(geometry: Geometry) -> tuple[int, ...]:
    """Return `Geometry.data_bytes` of every block, by block id."""
    return tuple(geometry.data_bytes(block) for block in range(geometry.blocks))


def stored_overhead(geometry: Geometry) -> int:
    """Return the bytes that a device stores for a block beside its numbers: the id and the scale."""
    return ID_BYTES + geometry.codec.scale_bytes


def encode_block(values: Float32Array, codec: Codec) -> tuple[float, bytes]:
    """Return the scale and the stored bytes of *values*, shape (rows, columns).

    int8: the scale is max|v| / 127, so the error is at most half a scale.
    """
    if codec is not Codec.INT8:
        return 1.0, values.astype(codec.value_type).tobytes()
    # Subnormal scales cannot divide exactly: a block that small is stored as zeros.
    scale = max(np.float32(np.abs(values).max() / 127), np.finfo(np.float32).tiny)
    return float(scale), np.rint(values / scale).astype(np.int8).tobytes()


def decode_block(
    data: bytes | memoryview, scale: float, codec: Codec, shape: tuple[int, int]
) -> Float32Array:
    """Return the numbers of a block, shape *shape*, from its stored bytes."""
    values = np.frombuffer(data, dtype=codec.value_type).reshape(shape).astype(np.float32)
    return values * np.float32(scale) if codec is Codec.INT8 else values
