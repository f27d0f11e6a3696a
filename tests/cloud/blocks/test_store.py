"""Stores are written atomically and read back equal; damage is detected."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from cloud.blocks.store import MANIFEST, BlockStore, GroupBlocks, Origin, build_store, load_store, save_store
from cloud.blocks.store_cache import store_key
from tests.worlds import a_store
from wire.codecs import Codec
from wire.errors import InputError
from wire.geometry import Unheld
from wire.layers import Layers


def change(path: Path, target: str) -> None:
    """Make *path* a link to *target*."""
    path.unlink()
    path.symlink_to(target)


def same(one: BlockStore, other: BlockStore) -> bool:
    return (
        (one.version, one.geometry, one.groups, dict(one.report))
        == (other.version, other.geometry, other.groups, dict(other.report))
        and np.array_equal(one.user_groups, other.user_groups)
        and np.array_equal(one.user_vectors, other.user_vectors)
    )


@pytest.mark.parametrize("codec", Codec)
def test_a_store_is_read_back_as_it_was_written(tmp_path: Path, codec: Codec) -> None:
    store = a_store(codec=codec)
    save_store(store, tmp_path / "store")
    assert same(load_store(tmp_path / "store"), store)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_blocks_lie_in_ranking_order() -> None:
    store = a_store(codec=Codec.FP32)
    group, geometry = store.groups[0], store.geometry
    for index, block in enumerate(group.ranking()):
        raw = group.blocks.data[group.starts[index] : group.starts[index + 1]]
        values = Codec.FP32.coder.decode(raw, 1.0, np.empty(geometry.shape(block), np.float32), 0, 1)
        # the world's number of (item, dimension) is 100 item + dimension
        rows, columns = geometry.rows(block), geometry.columns(block)
        assert values[0, 0] == 100 * rows.start + columns.start


def test_the_version_is_that_of_the_content() -> None:
    assert a_store().version == a_store().version
    assert a_store().version != a_store(codec=Codec.FP16).version
    changed = a_store(seed=2)
    assert changed.version != a_store().version


def test_a_store_never_changes(tmp_path: Path) -> None:
    save_store(a_store(), tmp_path / "store")
    save_store(a_store(seed=2), tmp_path / "store")
    assert load_store(tmp_path / "store").version == a_store().version


@pytest.mark.parametrize("name", ["users.safetensors", "group-0000.safetensors"])
def test_a_flipped_bit_is_found_by_its_checksum(tmp_path: Path, name: str) -> None:
    save_store(a_store(), tmp_path / "store")
    damaged = tmp_path / "store" / name
    raw = bytearray(damaged.read_bytes())
    raw[-1] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(
        InputError, match=rf"{name}: block store is corrupted: SHA-256 is .* remove .* to train again"
    ):
        load_store(tmp_path / "store")


def test_a_manifest_that_was_tampered_with_is_found(tmp_path: Path) -> None:
    save_store(a_store(), tmp_path / "store")
    manifest = tmp_path / "store" / MANIFEST
    manifest.write_text(manifest.read_text().replace(a_store().version, "0" * 16))
    with pytest.raises(InputError, match="its version is not that of its content"):
        load_store(tmp_path / "store")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "no block store here"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "block store is corrupted"),
        (lambda folder: (folder / "users.safetensors").unlink(), "block store is corrupted: No such file"),
        (
            lambda folder: (folder / MANIFEST).write_text(
                (folder / MANIFEST).read_text().replace('"users.safetensors"', '"../users.safetensors"')
            ),
            "must not leave the folder",
        ),
        (
            lambda folder: (folder / MANIFEST).write_text(
                (folder / MANIFEST).read_text().replace('"users.safetensors"', r'"users\u0000"')
            ),
            "must not leave the folder",
        ),
        (
            lambda folder: (folder / MANIFEST).write_text(
                (folder / MANIFEST).read_text().replace("group-0001", "group-0002")
            ),
            "it lists 3 files for 2 user groups: group-0001.safetensors",
        ),
        (
            lambda folder: change(folder / MANIFEST, "/dev/zero"),
            "is no regular file, and cannot be a manifest",
        ),
        (lambda folder: change(folder / "users.safetensors", "/dev/zero"), "is no regular file"),
    ],
)
def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    save_store(a_store(), tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(InputError, match=message):
        load_store(tmp_path / "store")


def test_a_cache_key_depends_on_every_part() -> None:
    assert store_key("data", {"dim": 64}) == store_key("data", {"dim": 64})
    assert (
        len({store_key("data", {"dim": 64}), store_key("data", {"dim": 32}), store_key("more", {"dim": 64})})
        == 3
    )


def test_a_store_of_another_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    save_store(a_store(), tmp_path / "store")
    manifest = tmp_path / "store" / MANIFEST
    manifest.write_text('{"format": 1, "layers": "of another shape"}')
    with pytest.raises(
        InputError, match=r"block store of format 1, this version reads formats 2 to 3; train again"
    ):
        load_store(tmp_path / "store")


def test_blocks_that_do_not_fill_their_geometry_are_refused() -> None:
    store = a_store()
    group, larger = store.groups[0], a_store(items=24).geometry
    with pytest.raises(ValueError, match="16 blocks need"):
        GroupBlocks.of(larger, group.blocks, lambda _: group.layers)
    with pytest.raises(ValueError, match="the layers have 1 blocks, there are 16"):
        GroupBlocks.of(store.geometry, group.blocks, lambda _: Layers.above_zero([1], [30]))


def with_users(store: BlockStore, **changed: object) -> BlockStore:
    """Return a store of other users, whose version and checksums are those of its content."""
    fields = {"user_vectors": store.user_vectors, "user_groups": store.user_groups} | changed
    return build_store(store.geometry, groups=store.groups, report={}, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"user_groups": np.array([0, 1, 0, 1, 0, 2])}, "user_groups must be from 0 to 1"),
        ({"user_groups": np.array([0, 1, 0, 1, 0, -1])}, "user_groups must be from 0 to 1"),
        (
            {"user_groups": np.array([0, 1])},
            r"user_groups of shape \(2,\) and user_vectors of shape \(6, 8\)",
        ),
        ({"user_vectors": np.ones((6, 4), np.float32)}, r"must be \(users,\) and \(users, 8\)"),
        ({"user_vectors": np.full((6, 8), np.nan, np.float32)}, "user_vectors must be finite"),
    ],
)
def test_users_that_do_not_fit_are_refused_when_a_store_is_read(
    changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    """Checksums and the version fit: whoever made it meant it."""
    save_store(with_users(a_store(), **changed), tmp_path / "store")
    with pytest.raises(InputError, match=f"block store is not readable: .*{message}"):
        load_store(tmp_path / "store")


def test_tensors_of_other_types_are_refused(tmp_path: Path) -> None:
    save_store(a_store(), tmp_path / "store")
    manifest, users = tmp_path / "store" / MANIFEST, tmp_path / "store" / "users.safetensors"
    tensors = safetensors.numpy.load_file(users)
    tensors["user_groups"] = tensors["user_groups"].astype(np.float64)
    before = hashlib.sha256(users.read_bytes()).hexdigest()
    safetensors.numpy.save_file(tensors, users)
    after = hashlib.sha256(users.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(before, after))
    with pytest.raises(InputError, match="tensor user_groups of type float64 does not belong there"):
        load_store(tmp_path / "store")


def test_a_ranking_has_every_block_once(tmp_path: Path) -> None:
    store = a_store()
    group = store.groups[0]
    twice = group.blocks._replace(ids=group.blocks.ids[:2] + group.blocks.ids[:-2])
    wrong = replace(store, groups=(replace(group, blocks=twice), *store.groups[1:]))
    again = build_store(
        wrong.geometry,
        groups=wrong.groups,
        user_vectors=wrong.user_vectors,
        user_groups=wrong.user_groups,
        report={},
    )
    save_store(again, tmp_path / "store")
    with pytest.raises(InputError, match="must have no block twice"):
        load_store(tmp_path / "store")


def test_a_group_may_do_without_slices_that_tell_it_nothing(tmp_path: Path) -> None:
    """Its ranking ends before the last layer: every item has its floor, not every cell is there."""
    store = a_store()
    group, codec = store.groups[0], store.geometry.codec
    known, sizes = group.layers.blocks[:-1], group.layers.bytes[:-1]
    blocks = group.blocks.part(0, known[-1], group.starts, codec)
    short = GroupBlocks.of(store.geometry, blocks, lambda _: Layers(known, sizes))
    assert known[-1] < store.geometry.blocks
    again = build_store(
        store.geometry,
        groups=(short, *store.groups[1:]),
        user_vectors=store.user_vectors,
        user_groups=store.user_groups,
        report={},
    )
    save_store(again, tmp_path / "store")
    assert load_store(tmp_path / "store").groups[0].layers.blocks == known


def test_only_where_items_without_a_block_score_0_a_ranking_may_leave_out_item_groups(tmp_path: Path) -> None:
    store = a_store()
    blocks = store.groups[0].blocks.part(0, 3, store.groups[0].starts, store.geometry.codec)
    for unheld in Unheld:
        geometry = msgspec.structs.replace(store.geometry, unheld=unheld)
        short = GroupBlocks.of(geometry, blocks, lambda sizes: Layers.above_zero([3], [sum(sizes)]))
        again = build_store(
            geometry,
            groups=(short, *store.groups[1:]),
            user_vectors=store.user_vectors,
            user_groups=store.user_groups,
            report={},
        )
        save_store(again, tmp_path / unheld)
    assert load_store(tmp_path / Unheld.ZERO).groups[0].count == 3
    with pytest.raises(InputError, match="a ranking must have a block of every item group"):
        load_store(tmp_path / Unheld.LAST)


def test_layers_have_the_bytes_of_their_blocks(tmp_path: Path) -> None:
    store = a_store()
    layers = store.groups[0].layers
    larger = Layers(layers.blocks, tuple(2 * size for size in layers.bytes))
    groups = (replace(store.groups[0], layers=larger), *store.groups[1:])
    wrong = build_store(
        store.geometry,
        groups=groups,
        user_vectors=store.user_vectors,
        user_groups=store.user_groups,
        report={},
    )
    save_store(wrong, tmp_path / "store")
    with pytest.raises(InputError, match="layers must have the bytes of their blocks"):
        load_store(tmp_path / "store")


def test_a_store_of_format_2_is_read(tmp_path: Path) -> None:
    """Stores of an older peelfleet do not say where they come from, and keep their version."""
    save_store(a_store(), tmp_path / "store")
    manifest = tmp_path / "store" / MANIFEST
    tree = json.loads(manifest.read_text())
    del tree["origin"]
    manifest.write_text(json.dumps(tree | {"format": 2}))
    assert load_store(tmp_path / "store").version == a_store().version


ORIGIN = Origin(key="mine", data={"name": "w", "digest": "d"}, settings={"codec": "int8", "layers": 64})


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (None, "does not say what it was trained with"),
        (msgspec.structs.replace(ORIGIN, key="theirs"), "belongs to theirs, not to mine"),
        (
            msgspec.structs.replace(ORIGIN, data={"name": "v", "digest": "e"}),
            r"was trained with other data \(v\), not with w",
        ),
        (
            msgspec.structs.replace(ORIGIN, settings={"codec": "fp32", "layers": 64}),
            r"was trained with other settings of model \(codec\)",
        ),
    ],
)
def test_a_store_of_something_else_is_refused(actual: Origin | None, message: str, tmp_path: Path) -> None:
    save_store(a_store(), tmp_path / "store", actual)
    with pytest.raises(InputError, match=f"{message}; remove .* to train again"):
        load_store(tmp_path / "store", ORIGIN)
    save_store(a_store(), tmp_path / "right", ORIGIN)
    assert load_store(tmp_path / "right", ORIGIN).version == a_store().version
