"""Lists of items: by hand, back again, in any order of item groups, and refused when damaged."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry, ItemOrder, Unheld
from wire.item_lists import ItemGroups, decode_list, encode_list, read_lists


def test_a_list_by_hand() -> None:
    """Of ten items, those at the places 0, 3 and 9.

    Gap 0 with k = 2 (1 * 4 >= 4): 0 00. Then A = 4 and N = 2, so k = 1, and gap 2: 10 0. Then A = 6 and
    N = 3, so k = 1, and gap 5: 110 1. These are 0001 0011 01, and six zeros.
    """
    assert encode_list([0, 3, 9], 10) == bytes([0b00010011, 0b01000000])
    places, length = decode_list(bytes([0b00010011, 0b01000000, 255]), 3, 10)
    assert (places.tolist(), length) == ([0, 3, 9], 2)
    assert encode_list([0, 1, 2], 3) == b""


@given(st.sets(st.integers(0, 3000), min_size=1), st.binary(max_size=5))
def test_a_list_is_read_as_it_was_written_whatever_follows(chosen: set[int], behind: bytes) -> None:
    written = encode_list(sorted(chosen), 3001)
    places, length = decode_list(written + behind, len(chosen), 3001)
    assert (places.tolist(), length) == (sorted(chosen), len(written))


@given(st.permutations(range(4)), st.integers(0, 99))
def test_item_groups_may_come_in_any_order(order: list[int], seed: int) -> None:
    """Each list names items among those that no earlier one has; later blocks have none."""
    geometry = Geometry(
        items=40, dim=2, item_groups=4, slice_width=2, codec=Codec.CODED, planes=1,
        unheld=Unheld.ZERO, order=ItemOrder.OWN, item_group_ends=(3, 10, 22, 40),
    )  # fmt: skip
    items = np.random.default_rng(seed).permutation(40)
    writer, reader = ItemGroups(geometry), ItemGroups(geometry)
    ids, written, starts = [], b"", [0]
    for m in [*order, *order]:
        own = np.sort(items[geometry.item_group(m)])
        data = writer.write(m, own) + b"planes"
        assert reader.read(m, data) == len(data) - len(b"planes")
        np.testing.assert_array_equal(reader.rows(m), own)
        ids.append(m)
        written += data
        starts.append(len(written))
    lengths = [end - start - 6 for start, end in pairwise(starts)]
    groups, sizes = read_lists(geometry, ids, written, starts)
    assert sizes == lengths
    for m in ids:
        np.testing.assert_array_equal(groups.rows(m), reader.rows(m))
    assert lengths[3:] == [0] * 5


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\0"])
def test_bytes_that_are_no_list_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="have no list of 7 items") as refused:
        decode_list(data, 7, 10)
    assert refused.value.reason is Reason.CONTENT
