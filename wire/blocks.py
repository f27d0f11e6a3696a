"""Blocks as bytes: how numbers become a block's bytes and back, and many blocks end to end."""

import functools
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Codec, Float32Array, Geometry
from wire.planes import decode_planes

_TYPES = {Codec.FP32: "<f4", Codec.FP16: "<f2", Codec.INT8: "i1"}
_LEVELS = {Codec.INT8: 127, Codec.INT4: 7}


class Blocks(NamedTuple):
    """Blocks of one ranking, in order, as they are stored and sent: little-endian, end to end."""

    ids: bytes
    """Unsigned 16 bit."""
    sizes: bytes
    """Bytes of each block in *data*, unsigned 16 bit; nothing where the geometry says them."""
    scales: bytes
    """One float32 per block, or nothing where the codec has no scales."""
    data: bytes

    def block_ids(self) -> list[int]:
        """Return the ids as numbers."""
        return _numbers(self.ids)

    def checked_sizes(self, geometry: Geometry) -> list[int]:
        """Return the bytes of each block, everything being as long as it must be.

        Raises:
            RemoteProtocolError: a block does not exist, or something is too long or too short.
        """
        ids = self.block_ids()
        if ids and max(ids) >= geometry.blocks:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"block(={max(ids)}) of {geometry.blocks}")
        if geometry.codec.embedded:
            sizes = _numbers(self.sizes)
        else:
            known = data_sizes(geometry)
            sizes = [known[block] for block in ids]
        wanted = (len(ids), sum(sizes), len(ids) * geometry.codec.scale_bytes)
        if (len(sizes), len(self.data), len(self.scales)) != wanted or (
            self.sizes and not geometry.codec.embedded
        ):
            raise RemoteProtocolError(
                Reason.MALFORMED,
                f"{len(ids)} blocks need {wanted} sizes, bytes and bytes of scales, "
                f"not {(len(sizes), len(self.data), len(self.scales))}",
            )
        return sizes

    def part(self, first: int, end: int, starts: Sequence[int], codec: Codec) -> "Blocks":
        """Return the blocks *first* up to *end*; *starts* is where each lies in *data*."""
        return Blocks(
            self.ids[2 * first : 2 * end],
            self.sizes[2 * first : 2 * end],
            self.scales[codec.scale_bytes * first : codec.scale_bytes * end],
            self.data[starts[first] : starts[end]],
        )


def block_offsets(sizes: Sequence[int]) -> list[int]:
    """Return 0 and the running sums of *sizes*: where each block starts, and where the last one ends."""
    return list(accumulate(sizes, initial=0))


@functools.lru_cache(maxsize=8)  # each of up to 65,536 numbers
def data_sizes(geometry: Geometry) -> tuple[int, ...]:
    """Return the bytes of every block, by block id, for codecs that store a number in so many bits."""
    shapes = (geometry.shape(block) for block in range(geometry.blocks))
    if geometry.codec is Codec.INT4:
        return tuple(-(-rows * columns // 2) for rows, columns in shapes)
    width = np.dtype(_TYPES[geometry.codec]).itemsize
    return tuple(rows * columns * width for rows, columns in shapes)


def encode_block(values: Float32Array, codec: Codec) -> tuple[float, bytes]:
    """Return the scale and the stored bytes of *values*, shape (rows, columns), by a codec of one plane.

    int8 and int4: the scale is max|v| / 127 or / 7, so the error is at most half a scale.
    """
    if codec not in _LEVELS:
        return 1.0, values.astype(_TYPES[codec]).tobytes()
    # Subnormal scales cannot divide exactly: a block that small is stored as zeros.
    scale = max(np.float32(np.abs(values).max() / _LEVELS[codec]), np.finfo(np.float32).tiny)
    levels = np.rint(values / scale).astype(np.int8)
    return float(scale), (levels if codec is Codec.INT8 else _nibbles(levels.reshape(-1))).tobytes()


def decode_block(data: bytes, scale: float, codec: Codec, shape: tuple[int, int]) -> Float32Array:
    """Return the numbers of a block, shape *shape*, by a codec of one plane."""
    if codec is Codec.INT4:
        pairs = np.frombuffer(data, dtype=np.uint8)
        levels = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[: shape[0] * shape[1]]
        values = (levels.astype(np.float32) - 8).reshape(shape)
    else:
        values = np.frombuffer(data, dtype=_TYPES[codec]).reshape(shape).astype(np.float32)
    return values * np.float32(scale) if codec in _LEVELS else values


def refined(
    values: Float32Array, held: int, block: int, data: bytes, scale: float, geometry: Geometry
) -> Float32Array:
    """Return a cell's numbers after *block*.

    Args:
        values: the cell as it is known, shape (rows, columns).
        held: how many planes of it are known.
        block: which block came.
        data: its bytes.
        scale: its scale; 1 where the codec has none.
        geometry: how the table is cut.

    Raises:
        RemoteProtocolError: *data* are not such a block.
    """
    if geometry.codec.embedded:
        return decode_planes(data, values, held, geometry.plane(block) + 1, geometry.codec)
    return decode_block(data, scale, geometry.codec, (values.shape[0], values.shape[1]))


def _nibbles(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack levels -7 to 7, as 1 to 15, two a byte, the first one in the low half."""
    shifted = np.append(levels, np.zeros(len(levels) % 2, dtype=np.int8)).astype(np.uint8) + np.uint8(8)
    return np.asarray(shifted[::2] | shifted[1::2] << 4, dtype=np.uint8)


def _numbers(raw: bytes) -> list[int]:
    found: list[int] = np.frombuffer(raw, dtype="<u2").tolist()
    return found
