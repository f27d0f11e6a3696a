"""Codecs `fp32` and `fp16`: little-endian floating-point numbers, row by row."""

import numpy as np

from wire.arrays import Float32Array
from wire.codecs.block_coder import CellCoder


class FloatCoder(CellCoder):
    """Stores numbers as the numpy type *dtype*."""

    def __init__(self, dtype: str) -> None:
        self._dtype = np.dtype(dtype)

    def block_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of a block of that shape."""
        return rows * columns * self._dtype.itemsize

    def encode(self, values: Float32Array, held: int, planes: int) -> tuple[float, bytes]:
        """Return scale 1 and the bytes of *values*."""
        return 1.0, values.astype(self._dtype).tobytes()

    def decode(self, data: bytes, scale: float, values: Float32Array, held: int, planes: int) -> Float32Array:
        """Return the numbers in *data*, in the shape of *values*."""
        return np.frombuffer(data, dtype=self._dtype).reshape(values.shape).astype(np.float32)
