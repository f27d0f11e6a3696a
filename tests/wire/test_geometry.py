"""Blocks tile the table, plane after plane."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.codecs import Codec
from wire.geometry import Geometry, Unheld


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    items, dim, codec = draw(st.integers(1, 40)), draw(st.integers(1, 12)), draw(st.sampled_from(Codec))
    return Geometry(
        items=items,
        dim=dim,
        item_groups=draw(st.integers(1, items)),
        slice_width=draw(st.integers(1, dim)),
        codec=codec,
        planes=draw(st.integers(1, 16)) if codec.embedded else 1,
    )


@given(geometries())
def test_blocks_cover_every_number_of_the_table_once_a_plane(geometry: Geometry) -> None:
    covered = np.zeros((geometry.planes, geometry.items, geometry.dim), dtype=int)
    for block in range(geometry.blocks):
        at = geometry.rows(block), geometry.columns(block)
        covered[(geometry.plane(block), *at)] += 1
        assert covered[0][at].shape == geometry.shape(block)
        m, n = geometry.cell(block)
        assert block == (m * geometry.slices + n) * geometry.planes + geometry.plane(block)
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"item_groups": 7}, r"item_groups\(=7\) must be from 1 to items\(=6\)"),
        ({"slice_width": 5}, r"slice_width\(=5\) must be from 1 to dim\(=4\)"),
        ({"planes": 2}, r"planes\(=2\) of codec fp32 must be from 1 to 1"),
        ({"items": 70000, "item_groups": 70000}, r"blocks\(=140000\) must be at most 65536"),
        ({"order": "own"}, r"order\(=own\) needs unheld\(=zero\) and a codec whose blocks have sizes"),
        ({"item_group_ends": (4, 4)}, r"must rise item group by item group to items\(=6\)"),
        ({"item_group_ends": (6,)}, r"must rise item group by item group to items\(=6\)"),
        ({"item_group_ends": tuple(range(257))}, r"item_group_ends\(=257 numbers\) must be at most 256"),
    ],
)
def test_an_impossible_geometry_names_the_rule(change: dict[str, Any], rule: str) -> None:
    shape: dict[str, Any] = {"items": 6, "dim": 4, "item_groups": 2, "slice_width": 2} | change
    with pytest.raises(ValueError, match=rule):
        msgspec.convert({**shape, "codec": "fp32"}, Geometry)


def test_a_notice_says_what_items_without_a_block_score_only_where_they_score_something() -> None:
    """So the geometry of a store of before is the same text, and clients of before refuse the new one."""
    before = b'{"items":6,"dim":4,"item_groups":2,"slice_width":2,"codec":"fp32","planes":1,"score":"aligned"'
    old = msgspec.json.decode(before + b"}", type=Geometry)
    assert (msgspec.json.encode(old), old.floor) == (before + b"}", True)
    new = msgspec.structs.replace(old, unheld=Unheld.ZERO)
    assert (msgspec.json.encode(new), new.floor) == (before + b',"unheld":"zero"}', False)
    with pytest.raises(msgspec.ValidationError, match=r"Invalid enum value 'mean' - at `\$\.unheld`"):
        msgspec.json.decode(before + b',"unheld":"mean"}', type=Geometry)
