"""The blocks of devices: for each user group, the first blocks of its ranking, as bytes.

Devices that hold PEEs of one model and group hold prefixes of the same ranking. An emulated fleet
keeps one prefix for all of them and a number per device; a device on its own keeps its own prefix.
"""

import operator
import struct
from typing import NamedTuple

import numpy as np

from wire.blocks import Blocks, block_offsets
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry
from wire.layers import Layers
from wire.messages import ModelNotice
from wire.update_part import Part
from wire.version_delta import HeldBlocks, apply_delta, without_vector_change

LAYER_TABLE = ("layer_blocks", "layer_bytes")
MOST_NOTICES = 64
"""Number of the newest model versions whose notices are kept, besides those of versions that are held."""
MOST_SEEN = 2**14
"""Number of parts that are known by their checksum to be equal, and are not compared again."""


class BlockPrefix:
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
        """Start of each block's numbers in *data*, and the end of the last one."""
        self.resident = [0]
        """Bytes that a device stores for the first n blocks, all overhead included."""
        self._planes: dict[tuple[int, int], int] = {}
        self._seen: dict[tuple[int, int], int] = {}
        self.derived: set[tuple[str, int, bytes]] = set()
        """Deltas that led to blocks which were here: version and number of blocks before, and the bytes."""
        self.holders = 0
        """Number of devices that hold blocks of it."""
        self.permanent = False
        """True if no block is ever released: it was filled before any device came."""

    def check(self, part: Part) -> "Addition":
        """Return the blocks of *part* that are new; nothing is changed.

        Raises:
            RemoteProtocolError: the part skips blocks, names unknown ones, has the wrong size, or
                contradicts what is here.
        """
        layout = part.layout
        first, count = layout.first, layout.blocks
        if not count or self._seen.get((first, count)) == part.data_crc32:
            return NOTHING_NEW  # no blocks, or the same bytes came before, for another device
        if first > len(self.ids):
            raise RemoteProtocolError(Reason.OUT_OF_RANGE, f"first(={first}) must be at most {len(self.ids)}")
        return self.compare(first, part.content(), part.data_crc32)

    def compare(self, first: int, blocks: Blocks, data_crc32: int | None = None) -> "Addition":
        """Return those of *blocks*, the first of which is at index *first*, that are new; nothing is changed.

        Args:
            first: at most the number of blocks that are here.
            blocks: in ranking order.
            data_crc32: the checksum by which they are known later; None for blocks that came otherwise.

        Raises:
            RemoteProtocolError: they name unknown blocks, have the wrong size, or contradict those here.
        """
        count = len(blocks.ids) // 2
        known = min(len(self.ids) - first, count)
        starts = block_offsets(blocks.checked_sizes(self.geometry))
        codec = self.geometry.codec
        if blocks.part(0, known, starts, codec) != self.part(first, first + known):
            raise RemoteProtocolError(
                Reason.CONTENT, f"blocks {first} to {first + count} differ from those held"
            )
        new = blocks.part(known, count, starts, codec)
        self._check_planes(new)
        if data_crc32 is None:
            return Addition((0, 0), 0, new, self._stored(new))
        return Addition((first, count), data_crc32, new, self._stored(new))

    def add(self, addition: "Addition") -> None:
        """Add what `check` has returned, as long as nothing else has been added or truncated since."""
        if addition.blocks.ids:
            self._append(addition.blocks)
        if addition.span != (0, 0):
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            self._seen[addition.span] = addition.data_crc32

    def append(self, blocks: Blocks) -> None:
        """Append blocks.

        Raises:
            RemoteProtocolError: a block comes twice, or brings its cell back to an earlier plane.
        """
        blocks.checked_sizes(self.geometry)
        self._check_planes(blocks)
        self._append(blocks)

    def _check_planes(self, blocks: Blocks) -> None:
        """Check that no block comes twice, or brings its cell back to an earlier plane.

        Raises:
            RemoteProtocolError: one does.
        """
        geometry, brought = self.geometry, dict[tuple[int, int], int]()
        for block in blocks.block_ids():
            cell, plane = geometry.cell(block), geometry.plane(block)
            before = brought.get(cell, self._planes.get(cell, -1))
            if before >= plane:
                raise RemoteProtocolError(
                    Reason.CONTENT, f"block {block}: cell {cell} has plane {before} already"
                )
            brought[cell] = plane

    def _append(self, blocks: Blocks) -> None:
        sizes, geometry = blocks.checked_sizes(self.geometry), self.geometry
        self.resident += self._stored(blocks)
        ids = blocks.block_ids()
        self._planes.update((geometry.cell(block), geometry.plane(block)) for block in ids)
        self.ids += ids
        self.scales += blocks.scales
        self.data += blocks.data
        self.starts += [self.starts[-1] + end for end in block_offsets(sizes)[1:]]

    def _stored(self, blocks: Blocks) -> list[int]:
        """Return the bytes stored up to each of *blocks*, if they are appended."""
        running = block_offsets(blocks.checked_sizes(self.geometry))[1:]
        return [
            self.resident[-1] + end + place * self.geometry.codec.overhead
            for place, end in enumerate(running, start=1)
        ]

    def truncate(self, count: int) -> None:
        """Free the memory of the blocks beyond the first *count*; only where one device holds them."""
        if count >= len(self.ids):
            return
        geometry = self.geometry
        del self.ids[count:], self.starts[count + 1 :], self.resident[count + 1 :]
        del self.data[self.starts[count] :], self.scales[geometry.codec.scale_bytes * count :]
        self._planes = {geometry.cell(block): geometry.plane(block) for block in self.ids}
        self._seen = {}
        self.derived = set()

    def part(self, first: int, end: int) -> Blocks:
        """Return the blocks *first* up to *end*, as they came."""
        starts, width = self.starts, self.geometry.codec.scale_bytes
        sizes = list(map(operator.sub, starts[first + 1 : end + 1], starts[first:end]))
        return Blocks(
            np.array(self.ids[first:end], dtype="<u2").tobytes(),
            np.array(sizes, dtype="<u2").tobytes() if self.geometry.codec.embedded else b"",
            bytes(self.scales[width * first : width * end]),
            bytes(self.data[starts[first] : starts[end]]),
        )

    def block(self, index: int) -> tuple[bytes, float]:
        """Return the numbers and the scale of the block at *index* of the ranking; 1 where it has none."""
        scale = struct.unpack_from("<f", self.scales, 4 * index)[0] if self.scales else 1.0
        return bytes(self.data[self.starts[index] : self.starts[index + 1]]), scale


class Addition(NamedTuple):
    """The new blocks of a part, checked and not yet added."""

    span: tuple[int, int]
    """The part's first index in the ranking, and its number of blocks."""
    data_crc32: int
    blocks: Blocks
    """The blocks that are not held yet."""
    resident: list[int]
    """Bytes that a device stores up to each of them, earlier blocks included."""

    def bytes_of(self, count: int, prefix: BlockPrefix) -> int:
        """Return the bytes that a device stores for the first *count* blocks of *prefix* and these."""
        known = len(prefix.resident)
        return prefix.resident[count] if count < known else self.resident[count - known]


NOTHING_NEW = Addition((0, 0), 0, Blocks(b"", b"", b"", b""), [])


class BlockCache:
    """The blocks that devices hold, by model version and user group."""

    def __init__(self) -> None:
        self._notices: dict[str, ModelNotice] = {}
        self._prefixes: dict[tuple[str, int], BlockPrefix] = {}

    def announce(self, notice: ModelNotice) -> None:
        """Learn a model's geometry: parts of unknown models are refused.

        The newest `MOST_NOTICES` are kept, and those of models that are held.
        """
        self._notices.pop(notice.version, None)
        self._notices[notice.version] = notice
        if len(self._notices) > MOST_NOTICES:
            held = {model for model, _ in self._prefixes}
            oldest = next((version for version in self._notices if version not in held), notice.version)
            del self._notices[oldest]

    def notice(self, model: str) -> ModelNotice | None:
        """Return the notice of a model version, None where it is not known (any more)."""
        return self._notices.get(model)

    def preload(self, model: str, group: int, prefix: BlockPrefix) -> None:
        """Use a prefix that is filled already: all blocks that arrive for it must be equal."""
        prefix.permanent = True
        self._prefixes[model, group] = prefix

    def find(self, part: Part) -> BlockPrefix:
        """Return the prefix that an introducing *part* belongs to; a new one if it is not known.

        Nothing is kept of a new one before `enter`.

        Raises:
            RemoteProtocolError: the model is unknown, or the layer table is missing or wrong.
        """
        model, group = part.layout.model, part.layout.group
        notice = self._notices.get(model)
        if notice is None or group >= notice.user_groups:
            raise RemoteProtocolError(
                Reason.UNKNOWN_MODEL, f"model {model!r}, group {group} was not announced"
            )
        layers = _layers(part, notice)
        prefix = self._prefixes.get((model, group)) or BlockPrefix(notice.geometry, layers)
        if prefix.layers != layers:
            raise RemoteProtocolError(Reason.CONTENT, "the layer table differs from the one held")
        return prefix

    def derive(
        self, part: Part, base: BlockPrefix, base_model: str, held: int
    ) -> tuple[BlockPrefix, "Addition"]:
        """Return the prefix of the version that a delta leads to, and the blocks of it that are new there.

        Nothing is kept of a new prefix before `enter`, nor of its blocks before `BlockPrefix.add`.

        Args:
            part: with the delta.
            base: the prefix that the device holds.
            base_model: its version.
            held: the number of blocks that the device holds of it.

        Raises:
            RemoteProtocolError: the version is unknown, or the delta is damaged or for other blocks.
        """
        model, group, delta = part.layout.model, part.layout.group, part.tensor("delta")
        notice = self._notices.get(model)
        if notice is None or group >= notice.user_groups or notice.geometry != base.geometry:
            raise RemoteProtocolError(
                Reason.UNKNOWN_MODEL, f"model {model!r}, group {group} was not announced, or is cut otherwise"
            )
        prefix, key = self._prefixes.get((model, group)), (base_model, held, without_vector_change(delta))
        if prefix is not None and key in prefix.derived:
            return prefix, NOTHING_NEW  # it led here before, for another device
        new = apply_delta(base.geometry, HeldBlocks(base.part(0, held), base.layers), delta)
        prefix = prefix or BlockPrefix(notice.geometry, new.layers)
        if prefix.layers != new.layers:
            raise RemoteProtocolError(Reason.CONTENT, "the layer table differs from the one held")
        addition = prefix.compare(0, new.blocks)
        if len(prefix.derived) >= MOST_SEEN:
            prefix.derived.clear()
        if not addition.blocks.ids:
            prefix.derived.add(key)
        return prefix, addition

    def enter(self, model: str, group: int, prefix: BlockPrefix) -> None:
        """Keep *prefix* as long as devices hold it, and count one more."""
        self._prefixes[model, group] = prefix
        prefix.holders += 1

    def leave(self, model: str, group: int, prefix: BlockPrefix) -> None:
        """Release *prefix* for one device; it is dropped when no device holds it."""
        prefix.holders -= 1
        if not (prefix.holders or prefix.permanent):
            self._prefixes.pop((model, group), None)


def _layers(part: Part, notice: ModelNotice) -> Layers:
    """Return the layer table of an introduction.

    Raises:
        RemoteProtocolError: it is missing or wrong, or larger than the notice says that it can be.
    """
    spans = part.layout.spans
    count = max(end - begin for begin, end in (spans.get(each, (0, 0)) for each in LAYER_TABLE)) // 4
    if count > notice.layers:  # before anything is made of it
        raise RemoteProtocolError(
            Reason.MALFORMED, f"layer table: {count} layers, the notice says at most {notice.layers}"
        )
    try:
        layers = Layers.above_zero(*(_u32(part.tensor(each)) for each in LAYER_TABLE))
    except ValueError as error:
        raise RemoteProtocolError(Reason.MALFORMED, f"layer table: {error}") from None
    if layers.blocks[-1] > notice.geometry.blocks:
        raise RemoteProtocolError(
            Reason.MALFORMED,
            f"layer table: {layers.blocks[-1]} blocks, the geometry has {notice.geometry.blocks}",
        )
    return layers


def _u32(raw: bytes) -> list[int]:
    values: list[int] = np.frombuffer(raw, dtype="<u4").tolist()
    return values
