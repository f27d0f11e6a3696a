"""Codecs `int8` and `int4`: symmetric integers with one float32 scale per block.

The scale is max|x| / 127 or max|x| / 7, so the error is at most half a scale.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from wire.arrays import Float32Array
from wire.codecs.block_coder import CellCoder


class ScaledIntegerCoder(CellCoder):
    """Stores numbers as integers from -*levels* to *levels*, times the scale of the block."""

    scale_bytes = 4
    levels: int

    def encode(self, values: Float32Array, held: int, planes: int) -> tuple[float, bytes]:
        """Return the scale and the bytes of *values*."""
        # A subnormal scale cannot divide exactly: a block with numbers that small is stored as zeros.
        scale = max(np.float32(np.abs(values).max() / self.levels), np.finfo(np.float32).tiny)
        return float(scale), self._pack(np.rint(values / scale).astype(np.int8))

    def decode(self, data: bytes, scale: float, values: Float32Array, held: int, planes: int) -> Float32Array:
        """Return the numbers in *data*, in the shape of *values*."""
        integers = self._unpack(data)[: values.size]
        return integers.reshape(values.shape).astype(np.float32) * np.float32(scale)

    @abstractmethod
    def _pack(self, integers: NDArray[np.int8]) -> bytes: ...

    @abstractmethod
    def _unpack(self, data: bytes) -> NDArray[np.int8]: ...


class Int8Coder(ScaledIntegerCoder):
    """Stores a number in a byte."""

    levels = 127

    def block_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of a block of that shape."""
        return rows * columns

    def _pack(self, integers: NDArray[np.int8]) -> bytes:
        return integers.tobytes()

    def _unpack(self, data: bytes) -> NDArray[np.int8]:
        return np.frombuffer(data, dtype=np.int8)


class Int4Coder(ScaledIntegerCoder):
    """Stores two numbers in a byte, -7 to 7 as 1 to 15, the first one in the low half."""

    levels = 7

    def block_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of a block of that shape."""
        return -(-rows * columns // 2)

    def _pack(self, integers: NDArray[np.int8]) -> bytes:
        flat = integers.reshape(-1)
        shifted = np.append(flat, np.zeros(len(flat) % 2, dtype=np.int8)).astype(np.uint8) + np.uint8(8)
        return np.asarray(shifted[::2] | shifted[1::2] << 4, dtype=np.uint8).tobytes()

    def _unpack(self, data: bytes) -> NDArray[np.int8]:
        pairs = np.frombuffer(data, dtype=np.uint8)
        return np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1).astype(np.int8) - np.int8(8)
