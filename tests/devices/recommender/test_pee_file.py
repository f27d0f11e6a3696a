"""A PEE file: what is written is read, recommends like the model it was cut from, and damage is found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.pee_file import (
    Fields,
    ItemNames,
    ItemNumbers,
    Pee,
    decode_pee,
    encode_pee,
    prefix_of,
    read_pee,
    recommend,
)
from devices.recommender.scoring import ItemTable
from tests.worlds import a_store
from wire.blocks import Blocks
from wire.codecs import Codec
from wire.errors import InputError, Reason, RemoteProtocolError
from wire.geometry import Geometry, Unheld
from wire.ranking_metrics import ItemLists, rank

NAMES = ("Amélie", "", "七人の侍", *(f"film {number}" for number in range(9)))


def a_pee(codec: Codec = Codec.INT8, *, layer: int = 9) -> Pee:
    """Return the PEE of user 3 of a store; it has met items 2, 5 and 11."""
    store = a_store(codec=codec)
    group = store.groups[1]
    layer = min(layer, group.layers.top)
    blocks = group.blocks.part(0, group.layers.blocks[layer], group.starts, codec)
    fields = Fields(
        model=store.version, group=1, layer=layer, budget_bytes=10_000, source="films", user="Zoë"
    )
    shelf = prefix_of(store.geometry, blocks)
    return Pee(fields, shelf, store.user_vectors[3], ItemNames.of(NAMES), np.array([2, 5, 11]))


PEE = a_pee()
FILE = encode_pee(PEE)


@pytest.mark.parametrize("codec", Codec)
def test_what_is_written_is_read_again_and_recommends_like_the_whole_model(codec: Codec) -> None:
    """The ranking is that of the emulated device: the same layer, the same items left out."""
    pee = a_pee(codec)
    again = decode_pee(encode_pee(pee))
    assert encode_pee(again) == encode_pee(pee)
    assert (again.fields, again.resident_bytes) == (pee.fields, pee.resident_bytes)
    store = a_store(codec=codec)
    whole = BlockPrefix(store.geometry, store.groups[1].layers)
    whole.append(store.groups[1].blocks)
    table = ItemTable(whole)
    table.hold(store.groups[1].layers.blocks[pee.fields.layer])
    known, nothing = (ItemLists.of_pairs(np.zeros(n, np.int64), np.array(items, np.int64), 1)
                      for n, items in ((3, [2, 5, 11]), (0, [])))  # fmt: skip
    wanted = rank(table.scores(store.user_vectors[3:4]), known, nothing, 9).items[0]
    assert [each.item for each in recommend(again, 9)] == [NAMES[item] for item in wanted.tolist()]
    assert [each.rank for each in recommend(again, 9)] == list(range(1, 10))


def test_known_items_are_left_out_unless_asked_for_and_no_more_come_than_there_are() -> None:
    known = {NAMES[item] for item in (2, 5, 11)}
    assert {each.item for each in recommend(PEE, 100)} == set(NAMES) - known
    assert {each.item for each in recommend(PEE, 100, known=True)} == set(NAMES)
    scores = [each.score for each in recommend(PEE, 100, known=True)]
    assert scores == sorted(scores, reverse=True)


def test_below_the_floor_only_items_with_a_block_are_recommended() -> None:
    pee = a_pee(layer=1)
    assert pee.ranked_items == 3  # one of four item groups
    assert len(recommend(pee, 100, known=True)) == 3


def test_where_items_without_a_block_score_0_every_item_is_recommended() -> None:
    """The three with a block score what they score without the others, which lie between them at 0."""
    few = a_pee(layer=1)
    geometry = changed(few.shelf.geometry, unheld=Unheld.ZERO)
    pee = replace(few, shelf=prefix_of(geometry, few.shelf.part(0, few.blocks)))
    assert decode_pee(encode_pee(pee)).ranked_items == 12
    found = {each.item: each.score for each in recommend(pee, 100, known=True)}
    own = {each.item: each.score for each in recommend(few, 100, known=True)}
    assert found == {name: own.get(name, 0.0) for name in NAMES}


def test_any_safetensors_reader_can_open_it(tmp_path: Path) -> None:
    tensors = safetensors.numpy.load(FILE)
    assert tensors["user_vector"].tolist() == PEE.user_vector.tolist()
    assert tensors["ids"].tolist() == PEE.shelf.ids
    assert tensors["item_names"].tobytes().decode() == "".join(NAMES)
    assert tensors["known_items"].tolist() == [2, 5, 11]
    assert set(tensors) == {
        "ids", "scales", "data", "user_vector", "item_name_ends", "item_names", "known_items",
    }  # fmt: skip


@given(st.data())
def test_a_damaged_byte_is_found_or_changes_nothing(data: st.DataObject) -> None:
    damaged = bytearray(FILE)
    damaged[data.draw(st.integers(0, len(FILE) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_pee(bytes(damaged))
    except RemoteProtocolError:
        return
    assert encode_pee(found) == FILE  # such as a space after the header that became a tab


@given(st.integers(0, len(FILE) - 1))
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode_pee(FILE[:length])
    assert refused.value.reason is Reason.MALFORMED


@given(st.binary(max_size=200))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_pee(raw)


def backwards(pee: Pee) -> Pee:
    """Turn the order of an embedded ranking round: a cell goes back to an earlier plane."""
    shelf = prefix_of(pee.shelf.geometry, pee.shelf.part(0, pee.blocks))
    shelf.ids.reverse()
    return replace(pee, shelf=shelf)


def twice(pee: Pee) -> Pee:
    shelf = prefix_of(pee.shelf.geometry, pee.shelf.part(0, pee.blocks))
    shelf.ids[1] = shelf.ids[0]
    return replace(pee, shelf=shelf)


def test_titles_come_along_and_files_without_them_are_what_they_were() -> None:
    titles = ("The Fabulous Destiny", "", "Seven Samurai", *[""] * 9)
    titled = decode_pee(encode_pee(replace(PEE, item_titles=ItemNames.of(titles))))
    assert [each[:3] for each in recommend(titled, 12)] == [each[:3] for each in recommend(PEE, 12)]
    assert [each.title for each in recommend(titled, 12, known=True)] == [
        titles[NAMES.index(each.item)] for each in recommend(PEE, 12, known=True)
    ]
    assert encode_pee(replace(titled, item_titles=None)) == FILE
    with pytest.raises(RemoteProtocolError, match="2 item titles: there must be 12"):
        decode_pee(encode_pee(replace(PEE, item_titles=ItemNames.of(["a", "b"]))))


def beyond(pee: Pee) -> Pee:
    shelf = prefix_of(pee.shelf.geometry, pee.shelf.part(0, pee.blocks))
    shelf.ids[1] = 999
    return replace(pee, shelf=shelf)


def misnamed(pee: Pee, text: bytes, ends: list[int]) -> Pee:
    names = ItemNames.of(NAMES)
    names.text, names.ends = text, np.array(ends)
    return replace(pee, item_names=names)


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (twice, r"cell \(\d, \d\) has plane 0 already"),
        (beyond, r"block\(=999\) of 16"),
        (
            lambda pee: replace(pee, user_vector=np.ones(9, np.float32)),
            "a vector of 9: there must be 12 and 8",
        ),
        (lambda pee: replace(pee, user_vector=np.full(8, np.nan, np.float32)), "must be finite"),
        (lambda pee: replace(pee, item_names=ItemNames.of(NAMES[:-1])), "11 item names"),
        (lambda pee: misnamed(pee, b"\xff" * 12, list(range(1, 13))), "can't decode byte 0xff"),
        (lambda pee: misnamed(pee, b"abc", [2, 1, *[3] * 10]), "must rise to 3"),
        (lambda pee: misnamed(pee, "é".encode(), [1, *[2] * 11]), "inside a character"),
        (lambda pee: replace(pee, known_items=np.array([5, 2])), "known_items must rise"),
        (lambda pee: replace(pee, known_items=np.array([12])), "stay below 12"),
        (lambda pee: replace(pee, fields=changed(pee.fields, budget_bytes=20)), "on a budget of 20 B"),
        (lambda pee: replace(pee, fields=changed(pee.fields, format="other")), "format.*must be"),
        (lambda pee: replace(pee, fields=changed(pee.fields, group=-1)), "Expected `int` >= 0"),
    ],
)
def test_contents_that_cannot_be_are_refused_whatever_the_checksum(
    forge: Callable[[Pee], Pee], message: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        decode_pee(encode_pee(forge(PEE)))


def test_planes_must_rise_within_a_cell() -> None:
    pee = a_pee(Codec.PLANES, layer=64)
    with pytest.raises(RemoteProtocolError, match="already"):
        decode_pee(encode_pee(backwards(pee)))


def test_another_safetensors_file_is_none(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for tensors, fields, message in (
        ({"weight": np.ones((2, 2), np.float32)}, None, r"format\(=None\) must be 'peelfleet-pee-1'"),
        ({"weight": np.ones((2, 2), np.float32)}, {"format": "peelfleet-pee-1"}, "expected no tensor"),
        ({"ids": np.ones(2, np.uint16)}, {"format": "peelfleet-pee-1"}, "tensor '.*' is missing"),
    ):
        file.write_bytes(safetensors.numpy.save(tensors, fields))
        with pytest.raises(InputError, match=f"model.safetensors: damaged, or not a PEE file: .*{message}"):
            read_pee(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.safetensors: cannot be read: No such file"):
        read_pee(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="is a folder, and cannot be a PEE file"):
        read_pee(tmp_path)


def test_a_file_without_names_calls_items_by_their_numbers_and_has_no_bytes_for_them() -> None:
    numbered = replace(PEE, item_names=ItemNumbers(12))
    file = encode_pee(numbered)
    again = decode_pee(file)
    assert encode_pee(again) == file
    wanted = [each._replace(item=str(NAMES.index(each.item))) for each in recommend(PEE, 12)]
    assert recommend(again, 12) == wanted
    assert set(safetensors.numpy.load(FILE)) - set(safetensors.numpy.load(file)) == {
        "item_names",
        "item_name_ends",
    }


def a_geometry_of(items: int, dim: int) -> Geometry:
    return Geometry(items=items, dim=dim, item_groups=1, slice_width=dim, codec=Codec.PLANES)


@pytest.mark.parametrize(("items", "dim"), [(2**28, 1), (20_000, 5_000), (2**20, 2**16)])
def test_a_small_file_that_asks_for_much_memory_is_refused_in_one_line(
    items: int, dim: int, tmp_path: Path
) -> None:
    blocks = Blocks(b"\0\0", b"\1\0", b"", b"\xff")
    vector, nothing = np.zeros(dim, dtype=np.float32), np.empty(0, dtype=np.int64)
    bomb = Pee(PEE.fields, prefix_of(a_geometry_of(items, dim), blocks), vector, ItemNumbers(items), nothing)
    path = tmp_path / "bomb"
    path.write_bytes(encode_pee(bomb))
    with pytest.raises(
        InputError, match=rf"ranking {items} items of {dim} dimensions .* would take"
    ) as refusal:
        read_pee(path)
    assert "\n" not in str(refusal.value)


def test_the_largest_catalogues_of_today_can_be_ranked_from_a_file_of_a_kibibyte() -> None:
    blocks = Blocks(b"\0\0", b"\1\0", b"", b"\xff")
    geometry = Geometry(items=10_000_000, dim=64, item_groups=5000, slice_width=64, codec=Codec.CODED)
    vector, nothing = np.zeros(64, dtype=np.float32), np.empty(0, dtype=np.int64)
    file = encode_pee(Pee(PEE.fields, prefix_of(geometry, blocks), vector, ItemNumbers(10_000_000), nothing))
    assert len(file) < 1500
    assert len(decode_pee(file).item_names) == 10_000_000


def test_what_has_no_end_is_no_pee_file() -> None:
    with pytest.raises(InputError, match="/dev/zero: is no regular file, and cannot be a PEE file"):
        read_pee(Path("/dev/zero"))
