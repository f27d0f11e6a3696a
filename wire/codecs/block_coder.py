"""The interface of a codec: an encoder, a decoder and the sizes that they lead to."""

from abc import ABC, abstractmethod
from typing import ClassVar

from wire.arrays import Float32Array

ID_BYTES = 2  # block ids are unsigned 16-bit numbers, on the wire and on the device
SIZE_BYTES = 2  # so are the sizes of blocks, if they are sent


class BlockCoder(ABC):
    """Encoder and decoder of the blocks of a table.

    A block brings a cell (item group, slice) of the table, shape (rows, columns), from *held* precision
    planes to *planes*. Codecs with one plane store a whole cell in a block: *held* is 0 and *planes* is 1.
    """

    scale_bytes: ClassVar[int] = 0
    """Bytes of the scale that each block has beside its numbers; 0 or 4."""
    embedded: ClassVar[bool] = False
    """True if a block refines the earlier blocks of its cell; then the size of each block is sent."""
    max_planes: ClassVar[int] = 1
    """Largest number of precision planes of a table."""
    usual_planes: ClassVar[int] = 1
    """Number of precision planes with which a table ranks as the exact one does."""

    @property
    def overhead(self) -> int:
        """Bytes that a device stores for a block beside its numbers: the id, and the scale or the size."""
        return ID_BYTES + self.scale_bytes + (SIZE_BYTES if self.embedded else 0)

    @abstractmethod
    def encode(self, values: Float32Array, held: int, planes: int) -> tuple[float, bytes]:
        """Return the scale (1 if the codec has none) and the bytes of a block.

        Args:
            values: the numbers of the cell, shape (rows, columns).
            held: planes that the decoder has, 0 or more.
            planes: planes that it has after the block, more than *held*.
        """

    @abstractmethod
    def decode(self, data: bytes, scale: float, values: Float32Array, held: int, planes: int) -> Float32Array:
        """Return the numbers of a cell after a block.

        Args:
            data: the bytes of the block.
            scale: its scale; 1 if the codec has none.
            values: the numbers of the cell before it, shape (rows, columns).
            held: planes of the cell before it.
            planes: planes of the cell after it.

        Raises:
            RemoteProtocolError: *data* are not a block of this codec.
        """


class CellCoder(BlockCoder):
    """A codec that stores a whole cell in a block, in a size that follows from its shape."""

    @abstractmethod
    def block_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of a block of that shape, overhead excluded."""
