"""Deltas between versions: whatever is held and changes, they lead to the bytes of the new version."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.blocks.store import BlockStore
from cloud.service.deltas import first_blocks
from tests.worlds import a_lineage, a_store
from wire.codecs import Codec
from wire.errors import RemoteProtocolError
from wire.version_delta import (
    HeldBlocks,
    add_vector_change,
    apply_delta,
    apply_vector_change,
    encode_delta,
    encode_vector_change,
    vector_change_of,
    without_vector_change,
)

CODECS = (Codec.PLANES, Codec.CODED)
LINEAGES = {codec: a_lineage(codec=codec, versions=4) for codec in CODECS}
OWN_ORDER = a_lineage(versions=4, own_order=True)


def delta_between(old: BlockStore, new: BlockStore, held: int, count: int) -> bytes:
    found = encode_delta(old.geometry, first_blocks(old, 0, held), first_blocks(new, 0, count))
    assert found is not None
    return found


@given(st.data())
def test_a_delta_applied_to_the_old_blocks_gives_the_new_ones_whatever_is_held(data: st.DataObject) -> None:
    versions = data.draw(st.sampled_from([*LINEAGES.values(), OWN_ORDER]))
    old, new = data.draw(st.sampled_from(versions)), data.draw(st.sampled_from(versions))
    held = data.draw(st.integers(1, old.groups[0].count))
    count = data.draw(st.integers(1, held))
    delta = delta_between(old, new, held, count)
    found = apply_delta(old.geometry, first_blocks(old, 0, held), delta)
    assert found == first_blocks(new, 0, count)


@given(st.data())
def test_a_damaged_delta_is_refused_or_leads_to_the_same_blocks(data: st.DataObject) -> None:
    """Bits that no number depends on may be anything: the checksum is over the new blocks."""
    old, new, *_ = LINEAGES[Codec.CODED]
    held = old.groups[0].count
    delta = bytearray(delta_between(old, new, held, held))
    delta[data.draw(st.integers(0, len(delta) - 1))] ^= data.draw(st.integers(1, 255))
    del delta[data.draw(st.integers(0, len(delta))) :]
    try:
        found = apply_delta(old.geometry, first_blocks(old, 0, held), bytes(delta))
    except RemoteProtocolError:
        return
    assert found == first_blocks(new, 0, held)


def test_a_delta_for_other_blocks_than_those_held_is_refused() -> None:
    old, new, newer, _ = LINEAGES[Codec.CODED]
    held = old.groups[0].count
    delta = delta_between(old, new, held, held)
    for other in (first_blocks(newer, 0, held), first_blocks(old, 0, held - 1)):
        with pytest.raises(RemoteProtocolError):
            apply_delta(old.geometry, other, delta)


def test_few_changes_take_few_bytes_and_none_nearly_none() -> None:
    old, new, *_ = LINEAGES[Codec.CODED]
    held = old.groups[0].count
    whole = len(first_blocks(new, 0, held).blocks.data)
    assert len(delta_between(old, old, held, held)) <= 12
    assert len(delta_between(old, new, held, held)) < whole / 2


def test_there_is_no_delta_to_another_ranking_or_with_a_codec_without_planes() -> None:
    old, new, *_ = LINEAGES[Codec.CODED]
    other = first_blocks(new, 0, 4)
    ids = other.blocks.ids
    turned = HeldBlocks(other.blocks._replace(ids=ids[2:4] + ids[:2] + ids[4:]), other.layers)
    assert encode_delta(old.geometry, first_blocks(old, 0, 4), turned) is None
    integers = a_store(codec=Codec.INT8)
    assert encode_delta(integers.geometry, *[first_blocks(integers, 0, 4)] * 2) is None


NUMBERS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8), st.integers(-8, 3))
def test_the_change_of_a_vector_leads_to_exactly_the_new_vector(
    pairs: list[tuple[float, float]], exponent: int
) -> None:
    old, new = np.array(pairs, dtype=np.float32).T
    new = (np.rint(new / 2.0**exponent) * 2.0**exponent).astype(np.float32)
    change = encode_vector_change(old, new)
    assert change is not None
    assert apply_vector_change(old, change).tolist() == new.tolist()


def test_a_vectors_change_travels_in_the_delta_and_is_taken_out_again() -> None:
    old, new, *_ = LINEAGES[Codec.CODED]
    delta, change = delta_between(old, new, 4, 4), b"any bytes"
    whole = add_vector_change(delta, change)
    assert (vector_change_of(whole), without_vector_change(whole)) == (change, delta)
    assert apply_delta(old.geometry, first_blocks(old, 0, 4), whole) == first_blocks(new, 0, 4)
