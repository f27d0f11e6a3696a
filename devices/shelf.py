"""Where the blocks of a device lie: for each user group, the start of its ranking, as bytes.

Devices that hold PEEs of one model and group hold prefixes of the same ranking. An emulated fleet
keeps one shelf for all of them and a number per device; a device on its own keeps its own shelf.
"""

import struct

import numpy as np

from wire.blocks import Blocks, ends
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry
from wire.layers import Layers
from wire.messages import ModelNotice
from wire.pee import Part


class Shelf:
    """The first blocks of one ranking.

    Args:
        geometry: how the model's tables are cut.
        layers: the layer table of the group.
    """

    def __init__(self, geometry: Geometry, layers: Layers) -> None:
        self.geometry = geometry
        self.layers = layers
        self.ids: list[int] = []
        self.scales = bytearray()
        self.data = bytearray()
        self.starts = [0]
        """Where each block's numbers start in *data*, and where the last one ends."""
        self.resident = [0]
        """Bytes that a device stores for the first n blocks, all overhead included."""
        self._planes: dict[tuple[int, int], int] = {}
        self._seen: dict[tuple[int, int], int] = {}

    def add(self, part: Part) -> None:
        """Take in the blocks of *part*; those that are already here must be equal.

        Raises:
            RemoteProtocolError: the part skips blocks, names unknown ones, has the wrong size, or
                contradicts what is here.
        """
        layout = part.layout
        first, count = layout.first, layout.blocks
        if self._seen.get((first, count)) == part.data_crc32:
            return  # the same bytes came before, for another device
        if first > len(self.ids):
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"first(={first}) must be at most {len(self.ids)}")
        known = min(len(self.ids) - first, count)
        blocks = part.content()
        starts = ends(blocks.checked_sizes(self.geometry))
        codec = self.geometry.codec
        if blocks.part(0, known, starts, codec) != self.part(first, first + known):
            raise RemoteProtocolError(
                Reason.CONTENT, f"blocks {first} to {first + count} differ from those held"
            )
        if count > known:
            self.fill(blocks.part(known, count, starts, codec))
        self._seen[first, count] = part.data_crc32

    def fill(self, blocks: Blocks) -> None:
        """Put blocks behind those that are here.

        Raises:
            RemoteProtocolError: a block comes twice, or brings its cell back to an earlier plane.
        """
        sizes, geometry = blocks.checked_sizes(self.geometry), self.geometry
        planes = dict(self._planes)
        for block in blocks.block_ids():
            cell, plane = geometry.cell(block), geometry.plane(block)
            if planes.get(cell, -1) >= plane:
                raise RemoteProtocolError(
                    Reason.CONTENT, f"block {block}: cell {cell} has plane {planes[cell]} already"
                )
            planes[cell] = plane
        self._planes = planes
        self.ids += blocks.block_ids()
        self.scales += blocks.scales
        self.data += blocks.data
        self.starts += [self.starts[-1] + end for end in ends(sizes)[1:]]
        self.resident += [
            self.resident[-1] + end + place * geometry.codec.overhead
            for place, end in enumerate(ends(sizes)[1:], start=1)
        ]

    def cut(self, count: int) -> None:
        """Keep the first *count* blocks and give the memory of the others back."""
        if count < len(self.ids):
            rest = Shelf(self.geometry, self.layers)
            rest.fill(self.part(0, count))
            self.__dict__ = rest.__dict__

    def part(self, first: int, end: int) -> Blocks:
        """Return the blocks *first* up to *end*, as they came."""
        starts, width = self.starts, self.geometry.codec.scale_bytes
        sizes = [starts[place + 1] - starts[place] for place in range(first, end)]
        return Blocks(
            np.array(self.ids[first:end], dtype="<u2").tobytes(),
            np.array(sizes, dtype="<u2").tobytes() if self.geometry.codec.embedded else b"",
            bytes(self.scales[width * first : width * end]),
            bytes(self.data[starts[first] : starts[end]]),
        )

    def block(self, place: int) -> tuple[bytes, float]:
        """Return the numbers and the scale of the block at *place* of the ranking; 1 where it has none."""
        scale = struct.unpack_from("<f", self.scales, 4 * place)[0] if self.scales else 1.0
        return bytes(self.data[self.starts[place] : self.starts[place + 1]]), scale


class Shelves:
    """The shelves of every model that has been announced, by model version and user group."""

    def __init__(self) -> None:
        self._notices: dict[str, ModelNotice] = {}
        self._shelves: dict[tuple[str, int], Shelf] = {}

    def announce(self, notice: ModelNotice) -> None:
        """Learn a model's geometry: parts of unknown models are refused."""
        self._notices[notice.version] = notice

    def put(self, model: str, group: int, shelf: Shelf) -> None:
        """Use a shelf that is filled already: whatever arrives for it must be equal."""
        self._shelves[model, group] = shelf

    def open(self, part: Part) -> Shelf:
        """Return the shelf that an introducing *part* belongs to, a new one with its layer table if need be.

        Raises:
            RemoteProtocolError: the model is unknown, or the layer table is missing or wrong.
        """
        model, group = part.layout.model, part.layout.group
        notice = self._notices.get(model)
        if notice is None or group >= notice.user_groups:
            raise RemoteProtocolError(
                Reason.UNKNOWN_MODEL, f"model {model!r}, group {group} was not announced"
            )
        try:
            layers = Layers.above_zero(_u32(part.tensor("layer_blocks")), _u32(part.tensor("layer_bytes")))
        except ValueError as error:
            raise RemoteProtocolError(Reason.MALFORMED, f"layer table: {error}") from None
        shelf = self._shelves.setdefault((model, group), Shelf(notice.geometry, layers))
        if shelf.layers != layers:
            raise RemoteProtocolError(Reason.CONTENT, "the layer table differs from the one held")
        return shelf


def _u32(raw: bytes) -> list[int]:
    values: list[int] = np.frombuffer(raw, dtype="<u4").tolist()
    return values
