"""Blocks as bytes: many blocks end to end, and their sizes."""

import functools
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from wire.codecs import Codec
from wire.codecs.block_coder import CellCoder
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry


class Blocks(NamedTuple):
    """Blocks of one ranking, in ranking order, as they are stored and sent: little-endian, end to end."""

    ids: bytes
    """Block ids, unsigned 16 bit."""
    sizes: bytes
    """Bytes of each block in *data*, unsigned 16 bit; empty if they follow from the geometry."""
    scales: bytes
    """One float32 per block; empty if the codec has no scales."""
    data: bytes

    def block_ids(self) -> list[int]:
        """Return the ids as numbers."""
        return _numbers(self.ids)

    def checked_sizes(self, geometry: Geometry) -> list[int]:
        """Return the bytes of each block, after a check of all lengths.

        Raises:
            RemoteProtocolError: a block does not exist, or a field is too long or too short.
        """
        ids = self.block_ids()
        if ids and max(ids) >= geometry.blocks:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"block(={max(ids)}) of {geometry.blocks}")
        if geometry.codec.embedded:
            sizes = _numbers(self.sizes)
        else:
            known = data_sizes(geometry)
            sizes = [known[block] for block in ids]
        expected = (len(ids), sum(sizes), len(ids) * geometry.codec.scale_bytes)
        if (len(sizes), len(self.data), len(self.scales)) != expected or (
            self.sizes and not geometry.codec.embedded
        ):
            raise RemoteProtocolError(
                Reason.MALFORMED,
                f"{len(ids)} blocks need {expected} sizes, bytes and bytes of scales, "
                f"not {(len(sizes), len(self.data), len(self.scales))}",
            )
        return sizes

    def part(self, first: int, end: int, starts: Sequence[int], codec: Codec) -> "Blocks":
        """Return the blocks *first* up to *end*, excluded; *starts* are the offsets of blocks in *data*."""
        return Blocks(
            self.ids[2 * first : 2 * end],
            self.sizes[2 * first : 2 * end],
            self.scales[codec.scale_bytes * first : codec.scale_bytes * end],
            self.data[starts[first] : starts[end]],
        )


def block_offsets(sizes: Sequence[int]) -> list[int]:
    """Return 0 and the running sums of *sizes*: the start of each block, and the end of the last one."""
    return list(accumulate(sizes, initial=0))


@functools.lru_cache(maxsize=8)  # entries have up to 65,536 numbers
def data_sizes(geometry: Geometry) -> tuple[int, ...]:
    """Return the bytes of every block, by block id, for codecs that store a whole cell in a block."""
    coder = geometry.codec.coder
    assert isinstance(coder, CellCoder)
    return tuple(coder.block_bytes(*geometry.shape(block)) for block in range(geometry.blocks))


def _numbers(raw: bytes) -> list[int]:
    numbers: list[int] = np.frombuffer(raw, dtype="<u2").tolist()
    return numbers
