"""The kernel's random numbers are numpy's, bit by bit, in any order of draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.kernel.random_numbers import SEPARATOR, make_streams
from devices.kernel.self_check import ROWS, draw_rows, numpy_rows
from wire.random_streams import stream

names = st.lists(st.text("abc-0123456789", min_size=1, max_size=12), min_size=1, max_size=4)


@given(seed=st.integers(0, 2**53), name=names)
def test_a_stream_begins_as_numpys(seed: int, name: list[str]) -> None:
    made = make_streams(seed, [SEPARATOR.join(name)])[0]

    state = stream(seed, *name).bit_generator.state["state"]
    assert int(made["hi"]) << 64 | int(made["lo"]) == state["state"]
    assert int(made["inc_hi"]) << 64 | int(made["inc_lo"]) == state["inc"]


@pytest.mark.parametrize("seed", range(20))
def test_draws_of_all_kinds_are_numpys(seed: int) -> None:
    rows = np.zeros((ROWS, 7))
    draw_rows(make_streams(seed, [SEPARATOR.join(("device", str(seed)))]), rows)

    assert np.array_equal(rows, numpy_rows(stream(seed, "device", seed), ROWS))
