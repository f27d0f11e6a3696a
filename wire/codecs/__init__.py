"""The registry of codecs: the ways in which the numbers of a block are stored.

To add a codec, write a coder in a file of this folder and add one line to `Codec`. A codec of a plug-in
is a `Codec`, too: `Codec(name)` finds it, and a loop over `Codec` has our own ones only.
"""

from enum import StrEnum
from typing import Final, Self

from wire.codecs.block_coder import BlockCoder, CellCoder
from wire.codecs.coded_planes import CodedPlaneCoder
from wire.codecs.floats import FloatCoder
from wire.codecs.planes import PlainPlaneCoder
from wire.codecs.scaled_integers import Int4Coder, Int8Coder
from wire.errors import InputError
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, new_member


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

    @classmethod
    def _missing_(cls, value: object) -> object:
        """Return the codec of a plug-in; None, which is an unknown name, where there is none that works."""
        found = _plugin_coder(value)
        return None if found is None else new_member(cls, str(value), coder=found)

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


def _check_plugin(name: str, found: object) -> BlockCoder:
    coder = found() if isinstance(found, type) and issubclass(found, BlockCoder) else found
    if not isinstance(coder, BlockCoder):
        raise ValueError("must be a class derived from wire.codecs.block_coder.BlockCoder, or one coder")
    if not (coder.embedded or isinstance(coder, CellCoder)):
        raise ValueError(f"{type(coder).__name__} must be derived from CellCoder, or be embedded")
    if coder.scale_bytes not in (0, 4):
        raise ValueError(f"scale_bytes(={coder.scale_bytes}) must be 0 or 4")
    return coder


CODEC_PLUGINS: Final[PluginRegistry[BlockCoder]] = PluginRegistry(
    PluginKind.CODEC, [str(codec) for codec in Codec], _check_plugin
)
"""The coders of plug-ins."""


def _plugin_coder(name: object) -> BlockCoder | None:
    """Return the coder of the plug-in called *name*; None if there is none that works."""
    try:
        return CODEC_PLUGINS.find(name) if isinstance(name, str) else None
    except InputError:
        return None
