"""A store is written whole, read back equal, and damage to it is found."""

from pathlib import Path

import numpy as np
import pytest

from cloud.store import MANIFEST, BlockStore, GroupBlocks, load_store, save_store, store_key
from tests.worlds import a_store
from wire.blocks import decode_block
from wire.errors import InputError
from wire.geometry import Codec
from wire.layers import Layers


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
    for place, block in enumerate(group.ranking()):
        raw = group.blocks.data[group.starts[place] : group.starts[place + 1]]
        values = decode_block(raw, 1.0, Codec.FP32, geometry.shape(block))
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
        InputError, match=r"block store of format 1, this version reads format 2; train again"
    ):
        load_store(tmp_path / "store")


def test_blocks_that_do_not_fill_their_geometry_are_refused() -> None:
    store = a_store()
    group, larger = store.groups[0], a_store(items=24).geometry
    with pytest.raises(ValueError, match="16 blocks need"):
        GroupBlocks.of(larger, group.blocks, lambda _: group.layers)
    with pytest.raises(ValueError, match="the layers have 1 blocks, there are 16"):
        GroupBlocks.of(store.geometry, group.blocks, lambda _: Layers.above_zero([1], [30]))
