"""Codec `bf16`: the upper half of each float32, little-endian, row by row."""

import numpy as np
from numpy.typing import NDArray

from wire.codecs.block_coder import CellCoder

Numbers = NDArray[np.float32]


class Bfloat16Coder(CellCoder):
    """Stores a number in two bytes: the sign, all of the exponent, and 7 bits of the fraction."""

    def block_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of a block of that shape."""
        return rows * columns * 2

    def encode(self, values: Numbers, held: int, planes: int) -> tuple[float, bytes]:
        """Return scale 1 and the bytes of *values*."""
        bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
        return 1.0, (bits >> 16).astype("<u2").tobytes()

    def decode(self, data: bytes, scale: float, values: Numbers, held: int, planes: int) -> Numbers:
        """Return the numbers in *data*, in the shape of *values*."""
        bits = np.frombuffer(data, dtype="<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(values.shape).astype(np.float32)
