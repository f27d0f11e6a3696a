"""The numbers of a block survive storage up to the stated error, and wrong lengths are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.blocks import Blocks, data_sizes
from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry

PLAIN = [codec for codec in Codec if not codec.embedded]


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        elements=st.floats(-100, 100, width=32),
    ),
    st.sampled_from(PLAIN),
)
def test_a_block_decodes_to_itself_up_to_its_quantization(values: np.ndarray, codec: Codec) -> None:
    rows, columns = values.shape
    geometry = Geometry(items=rows, dim=columns, item_groups=1, slice_width=columns, codec=codec)
    scale, data = codec.coder.encode(values, 0, 1)
    assert (len(data),) == data_sizes(geometry)
    error = np.abs(codec.coder.decode(data, scale, np.empty_like(values), 0, 1) - values)
    allowed = {
        Codec.FP32: 0.0,
        Codec.FP16: np.abs(values).max() * 2**-11 + 6e-8,
        Codec.INT8: scale * 0.501,
        Codec.INT4: scale * 0.501,
    }
    assert (error <= allowed[codec]).all()


@pytest.mark.parametrize(
    ("codec", "blocks", "reason"),
    [
        (Codec.FP16, Blocks(b"\2\0", b"", b"", b"12345678"), Reason.OUT_OF_RANGE),  # of blocks 0 and 1
        (Codec.FP16, Blocks(b"\1\0", b"", b"", b"1234567"), Reason.MALFORMED),  # a byte too few
        (Codec.FP16, Blocks(b"\1\0", b"\10\0", b"", b"12345678"), Reason.MALFORMED),  # a size, unasked
        (Codec.INT8, Blocks(b"\1\0", b"", b"", b"1234"), Reason.MALFORMED),  # no scale
        (Codec.CODED, Blocks(b"\1\0", b"\4\0", b"", b"12345"), Reason.MALFORMED),  # longer than its size
        (Codec.CODED, Blocks(b"\1\0", b"", b"", b"12345"), Reason.MALFORMED),  # no size
    ],
)
def test_blocks_of_the_wrong_length_are_refused(codec: Codec, blocks: Blocks, reason: Reason) -> None:
    geometry = Geometry(items=2, dim=4, item_groups=1, slice_width=2, codec=codec)
    with pytest.raises(RemoteProtocolError) as refused:
        blocks.checked_sizes(geometry)
    assert refused.value.reason is reason
