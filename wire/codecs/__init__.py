"""The registry of codecs: the ways in which the numbers of a block are stored.

To add a codec, write a coder in a file of this folder and add one line to `Codec`.
"""

from enum import StrEnum
from typing import Self

from wire.codecs.block_coder import BlockCoder
from wire.codecs.coded_planes import CodedPlaneCoder
from wire.codecs.floats import FloatCoder
from wire.codecs.planes import PlainPlaneCoder
from wire.codecs.scaled_integers import Int4Coder, Int8Coder


class Codec(StrEnum):
    """The codecs: the name of each in scenarios and on the wire, and its coder."""

    coder: BlockCoder

    def __new__(cls, name: str, coder: BlockCoder) -> Self:
        """Return the codec *name*, which stores blocks by *coder*."""
        codec = str.__new__(cls, name)
        codec._value_ = name
        codec.coder = coder
        return codec

    FP32 = "fp32", FloatCoder("<f4")
    FP16 = "fp16", FloatCoder("<f2")
    INT8 = "int8", Int8Coder()
    INT4 = "int4", Int4Coder()
    PLANES = "planes", PlainPlaneCoder()
    CODED = "coded", CodedPlaneCoder()

    @property
    def embedded(self) -> bool:
        """True if a block refines the earlier blocks of its cell."""
        return self.coder.embedded

    @property
    def scale_bytes(self) -> int:
        """Bytes of scale that each block has beside its numbers."""
        return self.coder.scale_bytes

    @property
    def overhead(self) -> int:
        """Bytes that a device stores for a block beside its numbers."""
        return self.coder.overhead
