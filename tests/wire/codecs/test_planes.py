"""Embedded planes: any division into blocks decodes to the same numbers, with falling error."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.codecs import Codec
from wire.codecs.coded_planes import REFINEMENT_CHANCES, column_bits
from wire.codecs.planes import RECONSTRUCTION_POINTS, CellEncoder, PlaneCoder, dequantise
from wire.errors import Reason, RemoteProtocolError

EMBEDDED = [codec for codec in Codec if codec.embedded]
cells = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.integers(1, 5)),
    elements=st.floats(-0.9375, 0.9375, width=32),
)
cuts = st.sets(st.integers(1, 12), min_size=1).map(sorted)


@given(cells, cuts, st.sampled_from(EMBEDDED))
def test_blocks_decode_one_after_the_other_to_what_is_known_after_each(
    values: np.ndarray, ends: list[int], codec: Codec
) -> None:
    known, held = np.zeros_like(values), 0
    for planes in ends:
        block = codec.coder.encode(values, held, planes)[1]
        known = codec.coder.decode(block, 1.0, known, held, planes)
        np.testing.assert_array_equal(known, dequantise(values, planes - 1))
        np.testing.assert_array_equal(known, dequantise(known, planes - 1))  # the numbers are the state
        held = planes


@given(cells, st.integers(1, 16))
def test_what_is_known_is_off_by_no_more_than_its_interval(values: np.ndarray, planes: int) -> None:
    error = np.abs(dequantise(values, planes - 1) - values)
    dead = np.abs(values) < 2.0**-planes
    assert (error[dead] <= 2.0**-planes).all()
    assert (error[~dead] <= max(1 - rest for rest in RECONSTRUCTION_POINTS) * 2.0**-planes * (1 + 1e-3)).all()


def test_three_numbers_by_hand() -> None:
    """.75, -.3 and .1 in plain planes.

    Plane 0, steps of 1/2: q = 1, 0, 0, bits 100; one sign, 0. Plane 1, steps of 1/4: q = 3, 1, 0, bits
    110; the second has just ceased to be 0, sign 1. So 1000 1101. After plane 0 the numbers are
    (1 + .4) / 2, 0, 0; after plane 1 (3 + .45) / 4, -(1 + .4) / 4, 0.
    """
    values = np.array([[0.75], [-0.3], [0.1]], dtype=np.float32)
    assert Codec.PLANES.coder.encode(values, 0, 2)[1] == bytes([0b10001101])
    after = [dequantise(values, plane)[:, 0].tolist() for plane in (0, 1)]
    assert after == [pytest.approx([0.7, 0, 0]), pytest.approx([0.8625, -0.35, 0])]


def test_the_range_coder_needs_hardly_more_than_the_information() -> None:
    """A block is a few bits longer than -log2 of the chances under which it is coded."""
    rng = np.random.default_rng(0)
    values = np.clip(rng.laplace(size=(185, 8)) * 0.04, -0.99, 0.99).astype(np.float32)
    q = [np.floor(np.abs(values) * 2 ** (plane + 1)).astype(int) for plane in range(6)]
    for plane in range(1, 6):
        zero, fresh = q[plane - 1] == 0, (q[plane - 1] == 0) & (q[plane] == 1)
        one = REFINEMENT_CHANCES[np.minimum(q[plane - 1], 4)]
        refining = -np.log2(np.where(q[plane] & 1, one, 1 - one)[~zero]).sum()
        bits = column_bits((~zero).sum(0), zero.sum(0), fresh.sum(0)).sum() + refining
        actual = 8 * len(Codec.CODED.coder.encode(values, plane, plane + 1)[1])
        assert bits - 8 <= actual <= bits + 16  # a last byte of zeros is left out; whole bytes are written


@given(st.binary(max_size=60), st.sampled_from(EMBEDDED), st.integers(0, 3), st.integers(1, 3))
def test_bytes_that_are_no_block_are_refused_or_are_some_numbers(
    data: bytes, codec: Codec, held: int, more: int
) -> None:
    known = (
        dequantise(np.full((7, 3), 0.3, dtype=np.float32), held - 1) if held else np.zeros((7, 3), np.float32)
    )
    try:
        values = codec.coder.decode(data, 1.0, known, held, held + more)
    except RemoteProtocolError as refused:
        assert refused.reason is Reason.CONTENT  # noqa: PT017  # whether it is refused is up to the bytes
    else:
        assert (np.abs(values) < 1).all()


def test_plain_planes_that_end_too_early_are_refused() -> None:
    block = Codec.PLANES.coder.encode(np.full((7, 3), 0.3, dtype=np.float32), 0, 2)[1]
    with pytest.raises(RemoteProtocolError, match="it ends too early"):
        Codec.PLANES.coder.decode(block[:-2], 1.0, np.zeros((7, 3), np.float32), 0, 2)


@pytest.mark.parametrize("codec", EMBEDDED)
def test_a_block_is_the_same_alone_and_after_others_of_its_cell(codec: Codec) -> None:
    """Of 136 blocks some end with a carry that is pending, which must not reach the next one."""
    values = np.random.default_rng(0).laplace(size=(40, 3)) * 0.05 * 0.5 ** np.arange(3)
    cell = np.clip(values, -0.99, 0.99).astype(np.float32)
    coder = codec.coder
    assert isinstance(coder, PlaneCoder)
    encoder = CellEncoder(coder, cell, 16)
    for held, planes in combinations(range(17), 2):
        assert encoder.block(held, planes) == coder.encode(cell, held, planes)[1]
