"""Where the blocks of a device lie: for each user group, the start of its ranking, as bytes.

Devices that hold PEEs of one model and group hold prefixes of the same ranking. An emulated fleet
keeps one shelf for all of them and a number per device; a device on its own keeps its own shelf.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry, data_sizes, stored_overhead
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
        """Bytes that a device stores for the first n blocks, ids and scales included."""
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
        known = len(self.ids) - first
        if known < 0:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"first(={first}) must be at most {len(self.ids)}")
        blocks = _Blocks(part.tensor("ids"), part.tensor("scales"), part.tensor("data"))
        ids = self._checked_ids(blocks)
        if ids[:known] != self.ids[first : first + count] or not self._same(blocks, first, min(known, count)):
            raise RemoteProtocolError(
                Reason.CONTENT, f"blocks {first} to {first + count} differ from those held"
            )
        if count > known:
            width = self.geometry.codec.scale_bytes
            self.fill(
                ids[known:],
                blocks.scales[width * known :],
                blocks.data[self.starts[-1] - self.starts[first] :],
            )
        self._seen[first, count] = part.data_crc32

    def fill(self, ids: Sequence[int], scales: bytes, data: bytes) -> None:
        """Put blocks behind those that are here.

        Raises:
            RemoteProtocolError: a block comes twice.
        """
        if len(set(ids)) != len(ids) or not set(ids).isdisjoint(self.ids):
            raise RemoteProtocolError(Reason.CONTENT, "a block must not come twice in a ranking")
        sizes, overhead = data_sizes(self.geometry), stored_overhead(self.geometry)
        self.data += data
        self.scales += scales
        self.ids += ids
        for block in ids:
            self.starts.append(self.starts[-1] + sizes[block])
            self.resident.append(self.resident[-1] + sizes[block] + overhead)

    def _checked_ids(self, blocks: "_Blocks") -> list[int]:
        ids: list[int] = np.frombuffer(blocks.ids, dtype="<u2").tolist()
        if ids and max(ids) >= self.geometry.blocks:
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"block(={max(ids)}) of {self.geometry.blocks}")
        sizes = data_sizes(self.geometry)
        wanted = (sum([sizes[block] for block in ids]), len(ids) * self.geometry.codec.scale_bytes)
        if (len(blocks.data), len(blocks.scales)) != wanted:
            raise RemoteProtocolError(
                Reason.MALFORMED,
                f"{len(ids)} blocks need {wanted} bytes, not {(len(blocks.data), len(blocks.scales))}",
            )
        return ids

    def _same(self, blocks: "_Blocks", first: int, count: int) -> bool:
        start, end = self.starts[first], self.starts[first + count]
        width = self.geometry.codec.scale_bytes
        return (
            self.data[start:end] == blocks.data[: end - start]
            and self.scales[width * first : width * (first + count)] == blocks.scales[: width * count]
        )


class _Blocks(NamedTuple):
    ids: bytes
    scales: bytes
    data: bytes


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
