"""The block store: what training leaves, immutable, on disk and in memory.

A store is a folder with a manifest and safetensors files. The model version is the hash of their
content; every file is checked against the manifest's checksum when it is read. Per user group the
blocks lie in ranking order with running sums, so that an update's payload is a slice.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from wire.blocks import Blocks, ends
from wire.errors import InputError, RemoteProtocolError
from wire.geometry import Float32Array, Geometry
from wire.layers import Layers

FORMAT = 2
MANIFEST = "manifest.json"
USERS = "users.safetensors"

_TENSOR_TYPES = {"ids": np.uint16, "sizes": np.uint16, "scales": np.float32, "data": np.uint8}


@dataclass(frozen=True)
class GroupBlocks:
    """The blocks of one user group, in ranking order."""

    blocks: Blocks
    starts: tuple[int, ...]
    """Where each block starts in the blocks' data, and the end of the last one."""
    layers: Layers

    @classmethod
    def of(
        cls, geometry: Geometry, blocks: Blocks, layers: Callable[[Sequence[int]], Layers]
    ) -> "GroupBlocks":
        """Return *blocks* with their layers, which *layers* cuts by the stored bytes of each block.

        Raises:
            ValueError: blocks and geometry, or blocks and layers, do not fit.
        """
        try:
            sizes = blocks.checked_sizes(geometry)
        except RemoteProtocolError as error:
            raise ValueError(str(error)) from None
        table = layers([size + geometry.codec.overhead for size in sizes])
        if table.blocks[-1] != len(sizes):
            raise ValueError(f"the layers have {table.blocks[-1]} blocks, there are {len(sizes)}")
        return cls(blocks, tuple(ends(sizes)), table)

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return len(self.starts) - 1

    def ranking(self) -> list[int]:
        """Return the block ids."""
        return self.blocks.block_ids()


@dataclass(frozen=True)
class BlockStore:
    """All that the cloud needs to answer a budget report."""

    version: str
    geometry: Geometry
    groups: tuple[GroupBlocks, ...]
    user_groups: NDArray[np.int64]
    """The group of each user, shape (U,)."""
    user_vectors: Float32Array
    """Each user's vector in the basis of the user's group, shape (U, d)."""
    report: Mapping[str, object]
    """What each stage of training did, and the quality it reached."""

    @property
    def users(self) -> int:
        """How many users the model knows."""
        return len(self.user_groups)

    @property
    def layers(self) -> int:
        """The most layers that any group has."""
        return max(group.layers.top for group in self.groups)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table of contents of a store folder."""

    format: int
    version: str
    geometry: Geometry
    layers: tuple[Layers, ...]
    files: dict[str, str]
    """SHA-256 of every file."""
    report: dict[str, object]


class _AnyManifest(msgspec.Struct, frozen=True):
    """What the manifest of any version says."""

    format: int


def build_store(
    geometry: Geometry,
    *,
    groups: Sequence[GroupBlocks],
    user_vectors: Float32Array,
    user_groups: NDArray[np.int64],
    report: Mapping[str, object],
) -> BlockStore:
    """Return the store of encoded groups, named by its content.

    Args:
        geometry: how tables are cut and stored.
        groups: the blocks of each user group.
        user_vectors: shape (U, d), to go with the blocks.
        user_groups: shape (U,), values 0 to G - 1.
        report: what training did, JSON types only.
    """
    vectors = user_vectors.astype(np.float32)
    store = BlockStore("", geometry, tuple(groups), user_groups.astype(np.int64), vectors, report)
    return replace(store, version=_version(_files(store), geometry, store))


def save_store(store: BlockStore, folder: Path) -> None:
    """Write *store* to *folder*, which appears whole or not at all.

    An existing folder is left as it is: a store never changes.
    """
    if (folder / MANIFEST).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        files = _files(store)
        for name, raw in files.items():
            (draft / name).write_bytes(raw)
        manifest = Manifest(
            format=FORMAT,
            version=store.version,
            geometry=store.geometry,
            layers=tuple(group.layers for group in store.groups),
            files={name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()},
            report=dict(store.report),
        )
        (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        draft.chmod(0o755)
        _move_into_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load_store(folder: Path) -> BlockStore:
    """Read the store in *folder*, every file checked against its checksum.

    Raises:
        InputError: there is none, or it is damaged.
    """
    manifest = _read_manifest(folder)
    files = {name: _read_file(folder, name, checksum) for name, checksum in manifest.files.items()}
    try:
        users = safetensors.numpy.load(files[USERS])
        groups = tuple(
            _group_blocks(manifest.geometry, safetensors.numpy.load(raw), layers)
            for raw, layers in zip(_group_files(files), manifest.layers, strict=True)
        )
        store = BlockStore(
            manifest.version,
            manifest.geometry,
            groups,
            users["user_groups"],
            users["user_vectors"],
            manifest.report,
        )
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: block store is not readable: {error}") from None
    if _version(files, store.geometry, store) != store.version:
        raise InputError(
            f"{folder / MANIFEST}: block store is corrupted: its version is not that of its content"
        )
    return store


def default_root() -> Path:
    """Return the folder that caches stores: PEELFLEET_STORE, else the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("PEELFLEET_STORE") or cache / "peelfleet" / "stores")


def store_key(*parts: object) -> str:
    """Return the name under which a store made from *parts* is cached: a hash of all of them.

    The code that trains and encodes, and the libraries it stands on, count too: where one of them
    changes, a model is trained anew.
    """
    digest = hashlib.sha256(_code_digest())
    for part in parts:
        digest.update(msgspec.json.encode(part, order="deterministic") + b"\0")
    return digest.hexdigest()[:16]


def _code_digest() -> bytes:
    """Return a hash of everything that decides what training makes of given data and settings."""
    folder = Path(__file__).parent
    sources = [path for path in folder.rglob("*.py") if path.stem not in ("responder", "service")]
    sources += [
        folder.parent / "wire" / f"{name}.py"
        for name in ("blocks", "geometry", "layers", "metrics", "planes", "streams")
    ]
    digest = hashlib.sha256()
    for library in ("torch", "numpy", "constriction"):
        digest.update(version(library).encode() + b"\0")
    for path in sorted(sources):
        digest.update(path.read_bytes() + b"\0")
    return digest.digest()


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
        files[f"group-{number:04d}.safetensors"] = safetensors.numpy.save(tensors)
    return files


def _group_files(files: Mapping[str, bytes]) -> Sequence[bytes]:
    return [raw for name, raw in sorted(files.items()) if name != USERS]


def _version(files: Mapping[str, bytes], geometry: Geometry, store: BlockStore) -> str:
    layers = [group.layers for group in store.groups]
    digest = hashlib.sha256(msgspec.json.encode([FORMAT, geometry, layers]))
    for name in sorted(files):
        digest.update(name.encode() + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()[:16]


def _move_into_place(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        # Another process has just written the same store: content-addressed, so it is as good.
        if not (folder / MANIFEST).exists():
            raise


def _read_manifest(folder: Path) -> Manifest:
    try:
        raw = (folder / MANIFEST).read_bytes()
        found = msgspec.json.decode(raw, type=_AnyManifest).format
        if found != FORMAT:
            raise InputError(
                f"{folder / MANIFEST}: block store of format {found}, this version reads format {FORMAT}; "
                "train again, or use the version of peelfleet that wrote it"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except OSError as error:
        raise InputError(f"{folder}: no block store here: {error.strerror}: {MANIFEST}") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{folder / MANIFEST}: block store is corrupted: {error}") from None
    return manifest


def _read_file(folder: Path, name: str, checksum: str) -> bytes:
    if Path(name).name != name:
        raise InputError(f"{folder / MANIFEST}: file name {name!r} must not leave the folder")
    try:
        raw = (folder / name).read_bytes()
    except OSError as error:
        raise InputError(f"{folder / name}: block store is corrupted: {error.strerror}") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != checksum:
        raise InputError(
            f"{folder / name}: block store is corrupted: SHA-256 is {found[:12]}..., the manifest says "
            f"{checksum[:12]}...; remove {folder} to train again"
        )
    return raw
