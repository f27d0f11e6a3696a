"""A PEE as a file: everything that a device needs to recommend to one user without a network.

It is a safetensors file. Its ``__metadata__`` holds the fields of `Fields`, its tensors hold

    ids             U16 [B]     block ids, in ranking order
    sizes           U16 [B]     bytes of each block, where the codec is embedded
    scales          F32 [B]     where the codec has scales
    data            U8 [bytes]  the blocks' numbers, in the same order
    user_vector     F32 [d]
    item_name_ends  U32 [I]     where the name of each item ends in item_names; the first one starts at 0
    item_names      U8 [bytes]  in catalogue order, UTF-8; both are left out where items have numbers only
    item_title_ends U32 [I]     likewise the titles of items for people, empty where an item has none
    item_titles     U8 [bytes]  both are left out where no item has a title
    known_items     U32 [known] items that the user has met, ascending: left out of recommendations

B blocks, I items, d dimensions. Numbers are little-endian. The checksum is the SHA-256 of all other fields in
the order of their names, then of the tensors in the order of theirs: for each the name and the content, both
after their length in 8 bytes. It does not depend on the order in which a safetensors writer stores them.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import msgspec
import numpy as np
import safetensors

from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import streaming_scores
from wire.arrays import Float32Array
from wire.blocks import Blocks
from wire.errors import InputError, Reason, RemoteProtocolError
from wire.geometry import Geometry
from wire.input_files import read_at_most
from wire.layers import Layers
from wire.messages import Count, ModelVersion
from wire.ranking_metrics import IntArray, top_k
from wire.units import BYTE_UNITS, approximate_bytes

FORMAT = "peelfleet-pee-1"
MAX_FILE_BYTES = BYTE_UNITS["GiB"]
RANKING_BYTES = BYTE_UNITS["GiB"] // 2
RANKING_TIMES = 100
"""Ranking may take `RANKING_BYTES` plus this many times the size of the file."""

_DTYPES = {
    "item_name_ends": ("U32", "<u4"),
    "item_title_ends": ("U32", "<u4"),
    "known_items": ("U32", "<u4"),
    "scales": ("F32", "<f4"),
    "user_vector": ("F32", "<f4"),
    "ids": ("U16", "<u2"),
    "sizes": ("U16", "<u2"),
    "data": ("U8", "u1"),
    "item_names": ("U8", "u1"),
    "item_titles": ("U8", "u1"),
}  # in the order of the data section: widest first, so that every tensor is aligned
_NAMES = ("item_name_ends", "item_names")
_TITLES = ("item_title_ends", "item_titles")
_OPTIONAL = ("sizes", "scales", *_NAMES, *_TITLES)


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a PEE file, as text, without the checksum."""

    format: str = FORMAT
    model: ModelVersion
    """The model version of the blocks."""
    group: Count
    """The user group of the ranking."""
    layer: Annotated[int, msgspec.Meta(ge=1)]
    """The layer that they complete."""
    budget_bytes: Count
    """The budget that selected them."""
    source: str
    """The name of the data."""
    user: str
    """The user's name in the data."""


class ItemNames:
    """The names of all items, by item number; stored as bytes, since few of them are ever shown.

    Args:
        text: the names end to end, UTF-8.
        ends: the offset of the end of each, shape (I,).

    Raises:
        ValueError: *text* is not UTF-8, or the ends do not divide it into names.
    """

    def __init__(self, text: bytes, ends: IntArray) -> None:
        text.decode()
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends])
        if (np.diff(starts) < 0).any() or starts[-1] != len(text):
            raise ValueError(f"the ends of the names must rise to {len(text)}")
        inner = starts[starts < len(text)]
        if (np.frombuffer(text, dtype=np.uint8)[inner] & 0xC0 == 0x80).any():
            raise ValueError("a name must not end inside a character")
        self.text = text
        self.ends = ends
        self._numbers: dict[str, int] | None = None  # made when a name is first looked up

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """Return the item names for a list of names."""
        encoded = [name.encode() for name in names]
        ends = np.array(list(itertools.accumulate(map(len, encoded))), dtype=np.int64)
        return cls(b"".join(encoded), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, item: int) -> str:
        return self.text[int(self.ends[item - 1]) if item else 0 : int(self.ends[item])].decode()

    def number(self, name: str) -> int | None:
        """Return the number of the item *name*; None if there is none."""
        if self._numbers is None:
            self._numbers = {self[item]: item for item in range(len(self))}
        return self._numbers.get(name)


class ItemNumbers:
    """Item numbers in place of names, as on a device, which has no names. They take no memory.

    Args:
        count: the number of items.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, item: int) -> str:
        return str(item)

    def number(self, name: str) -> int | None:
        """Return the number of the item *name*; None if there is none."""
        is_number = name.isascii() and name.isdigit() and len(name) < 20
        return int(name) if is_number and int(name) < self._count else None


@dataclass(frozen=True, eq=False)
class Pee:
    """The PEE of one user, with everything that recommending needs."""

    fields: Fields
    shelf: BlockPrefix
    """The blocks of the PEE, and no others."""
    user_vector: Float32Array
    """Shape (d,)."""
    item_names: ItemNames | ItemNumbers
    known_items: IntArray
    """Numbers of the items that the user has met, ascending."""
    item_titles: ItemNames | None = None
    """Titles of all items, empty where there is none; None if no item has one."""

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return len(self.shelf.ids)

    @property
    def resident_bytes(self) -> int:
        """Bytes that a device stores for the blocks, all overhead included."""
        return self.shelf.resident[-1]

    @property
    def ranked_items(self) -> int:
        """The number of items that can be ranked: those with a block, or all if the others score 0."""
        if self.shelf.ids and not self.shelf.geometry.floor:
            return self.shelf.geometry.items
        held = {self.shelf.geometry.cell(block)[0] for block in self.shelf.ids}
        return sum(items.stop - items.start for items in map(self.shelf.geometry.item_group, held))


class Recommendation(NamedTuple):
    """An item and its rank among the recommendations, from 1."""

    rank: int
    item: str
    score: float
    title: str = ""
    """The item's title; empty if it has none."""


def recommend(pee: Pee, k: int, *, known: bool = False) -> list[Recommendation]:
    """Return the *k* best items for the user of *pee*, fewer if no more can be ranked.

    One item group is decoded at a time: see `devices.recommender.scoring.streaming_scores` for the memory.

    Args:
        pee: the PEE that the device holds.
        k: at least 1.
        known: whether items that the user has met are recommended too.

    Raises:
        RemoteProtocolError: the bytes of a block are not valid in its codec.
    """
    # Compared as float32, ties by the lower item: as `wire.ranking_metrics.rank` does it.
    scores = streaming_scores(pee.shelf, pee.blocks, pee.user_vector[None]).astype(np.float32)
    if not known:
        scores[:, pee.known_items] = -np.inf
    (best,) = top_k(scores, min(k, len(pee.item_names))).tolist()
    ranked = [(item, float(scores[0, item])) for item in best if scores[0, item] > -np.inf]
    titles = pee.item_titles
    return [
        Recommendation(rank, pee.item_names[item], score, "" if titles is None else titles[item])
        for rank, (item, score) in enumerate(ranked, 1)
    ]


def prefix_of(geometry: Geometry, blocks: Blocks) -> BlockPrefix:
    """Return a shelf of its own with *blocks*.

    Raises:
        RemoteProtocolError: they are no blocks of a ranking of such a table.
    """
    shelf = BlockPrefix(geometry, Layers.above_zero((), ()))
    shelf.append(blocks)
    return shelf


# --- the file ---------------------------------------------------------------------------------------


def encode_pee(pee: Pee) -> bytes:
    """Return the file; the same PEE gives the same bytes."""
    fields = {name: str(value) for name, value in msgspec.structs.asdict(pee.fields).items()}
    fields["geometry"] = msgspec.json.encode(pee.shelf.geometry).decode()
    tensors = {
        **pee.shelf.part(0, pee.blocks)._asdict(),
        "user_vector": pee.user_vector.astype("<f4").tobytes(),
        "known_items": pee.known_items.astype("<u4").tobytes(),
    }
    names = pee.item_names
    if isinstance(names, ItemNames):
        tensors |= {"item_name_ends": names.ends.astype("<u4").tobytes(), "item_names": names.text}
    if (titles := pee.item_titles) is not None:
        tensors |= {"item_title_ends": titles.ends.astype("<u4").tobytes(), "item_titles": titles.text}
    blocks = ("sizes", "scales")
    present = [name for name in _DTYPES if name in tensors and (tensors[name] or name not in blocks)]
    tensors = {name: tensors[name] for name in present}
    # Written here, because the library's writer orders metadata differently in each process.
    header: dict[str, object] = {"__metadata__": {**fields, "sha256": _checksum(fields, tensors)}}
    offset = 0
    for name, raw in tensors.items():
        dtype, kind = _DTYPES[name]
        header[name] = {
            "dtype": dtype,
            "shape": [len(raw) // np.dtype(kind).itemsize],
            "data_offsets": [offset, offset + len(raw)],
        }
        offset += len(raw)
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


def decode_pee(raw: bytes) -> Pee:
    """Return the PEE in the file content *raw*, after checking all of it.

    Raises:
        RemoteProtocolError: it is damaged, or is not a PEE file.
    """
    try:
        entries = safetensors.deserialize(raw)  # type: ignore[no-untyped-call]
        metadata = msgspec.json.decode(
            raw[8 : 8 + int.from_bytes(raw[:8], "little")], type=_FileHeader
        ).metadata
        if metadata.get("format") != FORMAT:
            raise ValueError(f"format(={metadata.get('format')!r}) must be {FORMAT!r}")
        tensors = {name: _tensor(name, described) for name, described in entries}
        claimed = metadata.pop("sha256", "")
        if missing := [name for name in _DTYPES if name not in tensors and name not in _OPTIONAL]:
            raise ValueError(f"tensor {missing[0]!r} is missing")
        if claimed != (counted := _checksum(metadata, tensors)):
            raise RemoteProtocolError(Reason.CHECKSUM, f"counted {counted[:12]}, it says {claimed[:12]}")
        geometry = msgspec.json.decode(metadata.pop("geometry", ""), type=Geometry)
        fields = msgspec.convert(metadata, Fields, strict=False)  # not strict: numbers are strings
        _check_ranking(geometry, len(raw))
        return _build_pee(fields, geometry, tensors)
    except (safetensors.SafetensorError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(Reason.MALFORMED, str(error)) from None


def begins_as_pee(head: bytes) -> bool:
    """Return True if a file that begins with *head* is a PEE file, of any version, complete or not."""
    return head[8:].startswith(f'{{"__metadata__":{{"format":"{FORMAT.rstrip("1")}'.encode())


def read_pee(path: Path) -> Pee:
    """Return the PEE in the file *path*.

    Raises:
        InputError: it cannot be read, is damaged, or is not a PEE file.
    """
    try:
        return decode_pee(read_at_most(path, MAX_FILE_BYTES, "a PEE file", pipes=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except RemoteProtocolError as error:
        raise InputError(f"{path}: damaged, or not a PEE file: {error.detail}") from None


class _FileHeader(msgspec.Struct, frozen=True, rename={"metadata": "__metadata__"}):
    metadata: dict[str, str] = {}


def _tensor(name: str, described: Mapping[str, Any]) -> bytes:  # Any: as the library describes a tensor
    dtype, _ = _DTYPES.get(name, ("no tensor of a PEE file", ""))
    if described["dtype"] != dtype or len(described["shape"]) != 1:
        raise ValueError(
            f"tensor {name!r} is {described['dtype']} {described['shape']}, expected {dtype} [n]"
        )
    return bytes(described["data"])


def _checksum(fields: Mapping[str, str], tensors: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    named = [(name, text.encode()) for name, text in sorted(fields.items())]
    for name, content in [*named, *sorted(tensors.items())]:
        for chunk in (name.encode(), content):
            digest.update(len(chunk).to_bytes(8, "little"))  # lengths separate neighbours
            digest.update(chunk)
    return digest.hexdigest()


def _check_ranking(geometry: Geometry, file_bytes: int) -> None:
    """Check, before memory is allocated, that ranking takes no more than such a file may need.

    Raises:
        ValueError: it takes more.
    """
    rows = -(-geometry.items // geometry.item_groups)
    needed = 12 * rows * geometry.dim + 32 * geometry.items  # an item group's numbers; scores and their order
    most = RANKING_BYTES + RANKING_TIMES * file_bytes
    if needed > most:
        raise ValueError(
            f"ranking {geometry.items} items of {geometry.dim} dimensions in {geometry.item_groups} item "
            f"groups would take {approximate_bytes(needed)}; a file of {approximate_bytes(file_bytes)} may "
            f"ask for {approximate_bytes(most)}"
        )


def _build_pee(fields: Fields, geometry: Geometry, tensors: Mapping[str, bytes]) -> Pee:
    """Return the PEE that a file describes.

    Raises:
        RemoteProtocolError: the blocks are not valid.
        ValueError: something else is not valid.
    """

    def numbers(name: str) -> Any:  # Any: an array of the tensor's type
        return np.frombuffer(tensors.get(name, b""), dtype=_DTYPES[name][1])

    shelf = prefix_of(geometry, Blocks(*(tensors.get(name, b"") for name in Blocks._fields)))
    names = _names(tensors, _NAMES) or ItemNumbers(geometry.items)
    titles = _names(tensors, _TITLES)
    known, vector = numbers("known_items").astype(np.int64), numbers("user_vector").astype(np.float32)
    pee = Pee(fields, shelf, vector, names, known, titles)
    if (len(names), len(vector)) != (geometry.items, geometry.dim):
        raise ValueError(
            f"{len(names)} item names and a vector of {len(vector)}: "
            f"there must be {geometry.items} and {geometry.dim}"
        )
    if titles is not None and len(titles) != geometry.items:
        raise ValueError(f"{len(titles)} item titles: there must be {geometry.items}")
    if not (np.isfinite(vector).all() and np.isfinite(numbers("scales")).all()):
        raise ValueError("the user's vector and the scales must be finite")
    if (np.diff(known) <= 0).any() or (known >= geometry.items).any():
        raise ValueError(f"known_items must rise and stay below {geometry.items}")
    if not 0 < pee.resident_bytes <= fields.budget_bytes:
        raise ValueError(f"blocks of {pee.resident_bytes} B on a budget of {fields.budget_bytes} B")
    return pee


def _names(tensors: Mapping[str, bytes], keys: tuple[str, str]) -> ItemNames | None:
    """Return the texts of two tensors, their ends and their bytes; None if there are none."""
    present = [name in tensors for name in keys]
    if not any(present):
        return None
    if not all(present):
        raise ValueError(f"tensor {keys[present.index(False)]!r} is missing")
    ends = np.frombuffer(tensors[keys[0]], dtype=_DTYPES[keys[0]][1])
    return ItemNames(tensors[keys[1]], ends.astype(np.int64))
