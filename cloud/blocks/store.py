"""The block store: the immutable result of training, on disk and in memory.

A store is a folder with a manifest and safetensors files. The model version is the hash of their content;
every file is checked against the checksum in the manifest when it is read. The blocks of each user group lie
in ranking order with running sums of their sizes, so that the payload of an update is a slice.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from cloud.blocks.unknown_codec import unreadable_manifest
from wire.arrays import Float32Array
from wire.blocks import Blocks, block_offsets
from wire.errors import InputError, RemoteProtocolError
from wire.geometry import Geometry
from wire.input_files import read_at_most
from wire.layers import Layers
from wire.output_files import atomic_folder
from wire.text import printable

FORMAT = 3
OLDEST_FORMAT = 2  # without origin
MANIFEST = "manifest.json"
USERS = "users.safetensors"

MOST_MANIFEST_BYTES = 2**30
MOST_FILE_BYTES = 64 * 2**30

_CONTENT_FORMAT = 2  # part of the hash of a version: a manifest may grow without new versions
_TENSOR_TYPES = {"ids": np.uint16, "sizes": np.uint16, "scales": np.float32, "data": np.uint8}
_USER_TYPES = {"user_groups": np.int64, "user_vectors": np.float32}


@dataclass(frozen=True)
class GroupBlocks:
    """The blocks of one user group, in ranking order."""

    blocks: Blocks
    starts: tuple[int, ...]
    """The start of each block in the data of *blocks*, and the end of the last one."""
    layers: Layers

    @classmethod
    def of(
        cls, geometry: Geometry, blocks: Blocks, layers: Callable[[Sequence[int]], Layers]
    ) -> "GroupBlocks":
        """Return *blocks* with the layer table that *layers* makes from the stored bytes of each block.

        Raises:
            ValueError: the blocks do not fit the geometry or the layers.
        """
        try:
            sizes = blocks.checked_sizes(geometry)
        except RemoteProtocolError as error:
            raise ValueError(str(error)) from None
        table = layers([size + geometry.codec.overhead for size in sizes])
        if table.blocks[-1] != len(sizes):
            raise ValueError(f"the layers have {table.blocks[-1]} blocks, there are {len(sizes)}")
        return cls(blocks, tuple(block_offsets(sizes)), table)

    @property
    def count(self) -> int:
        """The number of blocks."""
        return len(self.starts) - 1

    def ranking(self) -> list[int]:
        """Return the block ids."""
        return self.blocks.block_ids()


@dataclass(frozen=True)
class BlockStore:
    """All data that the cloud needs to answer a budget report."""

    version: str
    geometry: Geometry
    groups: tuple[GroupBlocks, ...]
    user_groups: NDArray[np.int64]
    """The group of each user, shape (U,)."""
    user_vectors: Float32Array
    """Each user's vector in the basis of the user's group, shape (U, d)."""
    report: Mapping[str, object]
    """Figures of each stage of training, and the quality that it reached."""

    @property
    def users(self) -> int:
        """The number of users that the model knows."""
        return len(self.user_groups)

    @property
    def layers(self) -> int:
        """The largest number of layers of any group."""
        return max(group.layers.top for group in self.groups)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Data and settings that a store was trained with, and its key in the cache."""

    key: str
    data: dict[str, object]
    """The name of the data, the SHA-256 of the interactions, and their numbers; JSON types only."""
    settings: dict[str, object]
    """All of `model`; JSON types only."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of the manifest of a store."""

    format: int
    version: str
    geometry: Geometry
    layers: tuple[Layers, ...]
    files: dict[str, str]
    """SHA-256 of every file."""
    report: dict[str, object]
    origin: Origin | None = None
    """None in stores of format 2, and in stores that were not trained by `peelfleet`."""


class _AnyManifest(msgspec.Struct, frozen=True):
    """The field that manifests of all formats have."""

    format: int


def build_store(
    geometry: Geometry,
    *,
    groups: Sequence[GroupBlocks],
    user_vectors: Float32Array,
    user_groups: NDArray[np.int64],
    report: Mapping[str, object],
) -> BlockStore:
    """Return the store of encoded groups; its version is a hash of its content.

    Args:
        geometry: the blocks of a table and their codec.
        groups: the blocks of each user group.
        user_vectors: shape (U, d), scaled for the blocks.
        user_groups: shape (U,), values 0 to G - 1.
        report: figures of training, JSON types only.
    """
    vectors = user_vectors.astype(np.float32)
    store = BlockStore("", geometry, tuple(groups), user_groups.astype(np.int64), vectors, report)
    return replace(store, version=_version(_files(store), geometry, store))


def save_store(store: BlockStore, folder: Path, origin: Origin | None = None) -> None:
    """Write *store* to *folder*, completely or not at all.

    An existing folder is not changed: a store is immutable.

    Args:
        store: the store.
        folder: the new folder.
        origin: data and settings of the store.
    """
    if (folder / MANIFEST).exists():
        return
    files = _files(store)
    try:
        with atomic_folder(folder) as draft:
            _write(draft, files, store, origin)
    except OSError:
        # Another process has just written the same store, with the same content.
        if not (folder / MANIFEST).exists():
            raise


def _write(draft: Path, files: Mapping[str, bytes], store: BlockStore, origin: Origin | None) -> None:
    for name, raw in files.items():
        (draft / name).write_bytes(raw)
    manifest = Manifest(
        format=FORMAT,
        version=store.version,
        geometry=store.geometry,
        layers=tuple(group.layers for group in store.groups),
        files={name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()},
        report=dict(store.report),
        origin=origin,
    )
    (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def load_store(folder: Path, origin: Origin | None = None) -> BlockStore:
    """Read the store in *folder* and check its checksums and its content.

    Args:
        folder: the folder of the store.
        origin: data and settings that it must have; None: any.

    Raises:
        InputError: there is no store, it is damaged, or it has another origin.
    """
    manifest = _read_manifest(folder)
    if origin is not None:
        _check_origin(folder, manifest.origin, origin)
    _check_names(folder, manifest)
    files = {name: _read_file(folder, name, checksum) for name, checksum in manifest.files.items()}
    try:
        users = _tensors(files[USERS], _USER_TYPES)
        groups = tuple(
            _group_blocks(manifest.geometry, _tensors(files[_group_name(number)], _TENSOR_TYPES), layers)
            for number, layers in enumerate(manifest.layers)
        )
        store = BlockStore(
            manifest.version,
            manifest.geometry,
            groups,
            users["user_groups"],
            users["user_vectors"],
            manifest.report,
        )
        _check_users(store)
        for group in store.groups:
            _check_group(store.geometry, group)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: block store is not readable: {error}") from None
    if _version(files, store.geometry, store) != store.version:
        raise InputError(
            f"{folder / MANIFEST}: block store is corrupted: its version is not that of its content"
        )
    return store


def read_origin(folder: Path) -> Origin | None:
    """Return the data and settings that the store in *folder* was trained with; None: it does not say.

    Raises:
        InputError: there is no store, or its manifest is damaged.
    """
    return _read_manifest(folder).origin


def read_version(folder: Path) -> str:
    """Return the version that the store in *folder* says it has; `load_store` checks it.

    Raises:
        InputError: there is no store, or its manifest is damaged.
    """
    return _read_manifest(folder).version


def _check_origin(folder: Path, stored: Origin | None, expected: Origin) -> None:
    """Check that a cached store has the data and settings that its folder name stands for."""
    advice = f"remove {folder} to train again"
    if stored is None:
        raise InputError(f"{folder / MANIFEST}: does not say what it was trained with; {advice}")
    if stored.data.get("digest") != expected.data.get("digest"):
        raise InputError(
            f"{folder / MANIFEST}: this block store was trained with other data "
            f"({printable(stored.data.get('name'), 40)}), not with {expected.data.get('name')}; {advice}"
        )
    if stored.settings != expected.settings:
        keys = sorted(key for key in expected.settings if stored.settings.get(key) != expected.settings[key])
        raise InputError(
            f"{folder / MANIFEST}: this block store was trained with other settings of model "
            f"({', '.join(keys) or 'more of them'}); {advice}"
        )
    if stored.key != expected.key:
        raise InputError(
            f"{folder / MANIFEST}: this block store belongs to {printable(stored.key, 40)}, not to "
            f"{expected.key}; {advice}"
        )


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Check that the manifest lists exactly the files of a store."""
    for name in manifest.files:
        if Path(name).name != name or "\0" in name:
            shown = printable(name, 40)
            raise InputError(f"{folder / MANIFEST}: file name '{shown}' must not leave the folder")
    expected = {USERS, *(_group_name(number) for number in range(len(manifest.layers)))}
    if manifest.files.keys() != expected or len(expected) < 2:
        wrong = sorted(manifest.files.keys() ^ expected) or ["no user group"]
        raise InputError(
            f"{folder / MANIFEST}: block store is corrupted: it lists {len(manifest.files)} files for "
            f"{len(manifest.layers)} user groups: {printable(wrong[0], 40)}"
        )


def _tensors(raw: bytes, types: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file after a check of their types."""
    tensors = safetensors.numpy.load(raw)
    for name, tensor in tensors.items():
        if tensor.dtype != types.get(name):
            raise ValueError(f"tensor {printable(name, 40)} of type {tensor.dtype} does not belong there")
    return tensors


def _check_users(store: BlockStore) -> None:
    groups, vectors = store.user_groups, store.user_vectors
    if groups.ndim != 1 or vectors.shape != (len(groups), store.geometry.dim):
        raise ValueError(
            f"user_groups of shape {groups.shape} and user_vectors of shape {vectors.shape} must be "
            f"(users,) and (users, {store.geometry.dim})"
        )
    if not ((groups >= 0) & (groups < len(store.groups))).all():
        raise ValueError(f"user_groups must be from 0 to {len(store.groups) - 1}")
    if not np.isfinite(vectors).all():
        raise ValueError("user_vectors must be finite")


def _check_group(geometry: Geometry, group: GroupBlocks) -> None:
    """Check that a ranking ranks every item, repeats no block, and has layers with the bytes of their blocks.

    Not every cell must be present: a group may leave out slices without information, and item groups if items
    without a block can be ranked.
    """
    ids = np.array(group.ranking())
    cells, planes = np.divmod(ids, geometry.planes)
    if len(np.unique(ids)) < len(ids):
        raise ValueError("a ranking must have no block twice")
    if geometry.floor and len(np.unique(cells // geometry.slices)) < geometry.item_groups:
        raise ValueError("a ranking must have a block of every item group")
    order = np.argsort(cells, kind="stable")
    same = np.diff(cells[order]) == 0
    if not (np.diff(planes[order]) > 0)[same].all():
        raise ValueError("a ranking must bring each cell from plane to higher plane")
    blocks = group.layers.blocks
    stored = tuple(group.starts[count] + count * geometry.codec.overhead for count in blocks)
    if stored != group.layers.bytes:
        raise ValueError("layers must have the bytes of their blocks")
    if not np.isfinite(np.frombuffer(group.blocks.scales, dtype="<f4")).all():
        raise ValueError("scales must be finite")


def _group_blocks(geometry: Geometry, tensors: Mapping[str, NDArray[Any]], layers: Layers) -> GroupBlocks:
    raw = {name: tensor.tobytes() for name, tensor in tensors.items()}
    blocks = Blocks(raw["ids"], raw.get("sizes", b""), raw.get("scales", b""), raw["data"])
    return GroupBlocks.of(geometry, blocks, lambda _: layers)


def _files(store: BlockStore) -> dict[str, bytes]:
    users: dict[str, NDArray[Any]] = {"user_groups": store.user_groups, "user_vectors": store.user_vectors}
    files = {USERS: safetensors.numpy.save(users)}
    for number, group in enumerate(store.groups):
        tensors: dict[str, NDArray[Any]] = {  # Any: of several types
            name: np.frombuffer(raw, dtype=_TENSOR_TYPES[name])
            for name, raw in group.blocks._asdict().items()
            if raw or name in ("ids", "data")
        }
        files[_group_name(number)] = safetensors.numpy.save(tensors)
    return files


def _group_name(number: int) -> str:
    return f"group-{number:04d}.safetensors"


def _version(files: Mapping[str, bytes], geometry: Geometry, store: BlockStore) -> str:
    layers = [group.layers for group in store.groups]
    digest = hashlib.sha256(msgspec.json.encode([_CONTENT_FORMAT, geometry, layers]))
    for name in sorted(files):
        digest.update(name.encode() + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()[:16]


def _read_manifest(folder: Path) -> Manifest:
    try:
        raw = read_at_most(folder / MANIFEST, MOST_MANIFEST_BYTES, "a manifest")
        stored = msgspec.json.decode(raw, type=_AnyManifest).format
        if not OLDEST_FORMAT <= stored <= FORMAT:
            raise InputError(
                f"{folder / MANIFEST}: block store of format {stored}, this version reads formats "
                f"{OLDEST_FORMAT} to {FORMAT}; train again, or use the version of peelfleet that wrote it"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except OSError as error:
        raise InputError(f"{folder}: no block store here: {error.strerror}: {MANIFEST}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(unreadable_manifest(folder, MANIFEST, raw, error)) from None
    return manifest


def _read_file(folder: Path, name: str, checksum: str) -> bytes:
    try:
        raw = read_at_most(folder / name, MOST_FILE_BYTES, "a part of a block store")
    except OSError as error:
        raise InputError(f"{folder / name}: block store is corrupted: {error.strerror}") from None
    actual = hashlib.sha256(raw).hexdigest()
    if actual != checksum:
        raise InputError(
            f"{folder / name}: block store is corrupted: SHA-256 is {actual[:12]}..., the manifest says "
            f"{printable(checksum, 12)}; remove {folder} to train again"
        )
    return raw
