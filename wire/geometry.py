"""How an item table is cut into blocks, and how a block is stored: both ends must agree.

Letters: I items, d dimensions, M item groups, N slices of w dimensions, P precision planes. Items are
in catalogue order, most popular first. Cell ``(m, n)`` is the rows of item group m, ``m * I // M`` up
to ``(m + 1) * I // M``, and the columns of slice n, ``n * w`` up to ``(n + 1) * w``. Block
``(m * N + n) * P + p`` brings cell (m, n) to plane p, from whichever plane the cell's block before it
in the ranking brought it to. Most codecs have one plane: then a block is a whole cell.
"""

from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

ID_BYTES = 2  # block ids are unsigned 16-bit numbers, on the wire and on the device
SIZE_BYTES = 2  # so are the sizes of blocks, where they differ
MAX_BLOCKS = 2**16
MAX_PLANES = 16
MAX_ITEMS = 2**28
MAX_DIM = 2**16


class Codec(StrEnum):
    """How the numbers of a block are stored."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"  # symmetric, one float32 scale per block
    INT4 = "int4"  # likewise; two numbers a byte
    PLANES = "planes"  # embedded planes, plain bits: `wire.planes`
    CODED = "coded"  # embedded planes, entropy-coded

    @property
    def embedded(self) -> bool:
        """Whether a block refines what the cell's blocks before it brought."""
        return self in (Codec.PLANES, Codec.CODED)

    @property
    def scale_bytes(self) -> int:
        """Bytes of scale that each block carries beside its numbers."""
        return 4 if self in (Codec.INT8, Codec.INT4) else 0

    @property
    def overhead(self) -> int:
        """Bytes that a device stores for a block beside its numbers: the id, and the scale or the size."""
        return ID_BYTES + self.scale_bytes + (SIZE_BYTES if self.embedded else 0)


class Score(StrEnum):
    """How a device makes a score of the blocks that it holds: `devices.recommender.scoring`."""

    ALIGNED = "aligned"
    TILED = "tiled"  # the paper's own; its rank is that of one slice, however much is held


class Geometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shape of an item table and of its blocks."""

    items: int
    """I, the items of the catalogue, numbered from 0, most popular first."""
    dim: int
    """d, the dimensions of an embedding."""
    item_groups: int
    """M, the groups of neighbouring items that the table is cut into, from 1 to I."""
    slice_width: int
    """w, the dimensions of a slice, from 1 to d; the last slice is narrower where w does not divide d."""
    codec: Codec
    """How the numbers of a block are stored."""
    planes: int = 1
    """P: more than one where the codec is embedded."""
    score: Score = Score.ALIGNED
    """How a score is made of the blocks held."""

    def __post_init__(self) -> None:
        for name, most in (("items", MAX_ITEMS), ("dim", MAX_DIM)):
            if getattr(self, name) > most:  # before memory is taken for it
                raise ValueError(f"{name}(={getattr(self, name)}) must be at most {most}")
        if not 1 <= self.item_groups <= self.items:
            raise ValueError(f"item_groups(={self.item_groups}) must be from 1 to items(={self.items})")
        if not 1 <= self.slice_width <= self.dim:
            raise ValueError(f"slice_width(={self.slice_width}) must be from 1 to dim(={self.dim})")
        most = MAX_PLANES if self.codec.embedded else 1
        if not 1 <= self.planes <= most:
            raise ValueError(f"planes(={self.planes}) of codec {self.codec} must be from 1 to {most}")
        if self.blocks > MAX_BLOCKS:
            raise ValueError(f"blocks(={self.blocks}) must be at most {MAX_BLOCKS}")

    @property
    def slices(self) -> int:
        """N; the last slice is narrower where w does not divide d."""
        return -(-self.dim // self.slice_width)

    @property
    def blocks(self) -> int:
        """M * N * P."""
        return self.item_groups * self.slices * self.planes

    def cell(self, block: int) -> tuple[int, int]:
        """Return item group and slice (m, n) of *block*."""
        return divmod(block // self.planes, self.slices)

    def plane(self, block: int) -> int:
        """Return the plane p that *block* brings its cell to."""
        return block % self.planes

    def rows(self, block: int) -> slice:
        """Return the items of *block*."""
        m = block // self.planes // self.slices
        return slice(m * self.items // self.item_groups, (m + 1) * self.items // self.item_groups)

    def columns(self, block: int) -> slice:
        """Return the dimensions of *block*."""
        n = block // self.planes % self.slices
        return slice(n * self.slice_width, min((n + 1) * self.slice_width, self.dim))

    def shape(self, block: int) -> tuple[int, int]:
        """Return (rows, columns) of *block*."""
        rows, columns = self.rows(block), self.columns(block)
        return rows.stop - rows.start, columns.stop - columns.start
