"""Blocks tile the table, and their numbers survive storage up to the stated error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.geometry import Codec, Geometry, data_sizes, decode_block, encode_block


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    items, dim = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    return Geometry(
        items=items,
        dim=dim,
        item_groups=draw(st.integers(1, items)),
        slice_width=draw(st.integers(1, dim)),
        codec=draw(st.sampled_from(Codec)),
    )


@given(geometries())
def test_blocks_cover_every_number_of_the_table_once(geometry: Geometry) -> None:
    covered = np.zeros((geometry.items, geometry.dim), dtype=int)
    for block in range(geometry.blocks):
        covered[geometry.rows(block), geometry.columns(block)] += 1
    assert (covered == 1).all()
    assert sum(data_sizes(geometry)) == covered.size * geometry.codec.value_type.itemsize


@given(
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-100, 100, width=32)),
    st.sampled_from(Codec),
)
def test_a_block_decodes_to_itself_up_to_its_quantization(values: np.ndarray, codec: Codec) -> None:
    scale, data = encode_block(values, codec)
    error = np.abs(decode_block(data, scale, codec, (3, 2)) - values)
    allowed = {Codec.FP32: 0.0, Codec.FP16: np.abs(values).max() * 2**-11 + 6e-8, Codec.INT8: scale * 0.501}
    assert (error <= allowed[codec]).all()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"item_groups": 7}, r"item_groups\(=7\) must be from 1 to items\(=6\)"),
        ({"slice_width": 5}, r"slice_width\(=5\) must be from 1 to dim\(=4\)"),
        ({"items": 70000, "item_groups": 70000}, r"blocks\(=140000\) must be at most 65536"),
    ],
)
def test_an_impossible_geometry_names_the_rule(change: dict[str, int], rule: str) -> None:
    shape = {"items": 6, "dim": 4, "item_groups": 2, "slice_width": 2} | change
    with pytest.raises(ValueError, match=rule):
        Geometry(**shape, codec=Codec.FP32)
