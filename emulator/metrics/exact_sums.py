"""Exact sums of many numbers, so that a figure does not depend on how a run was cut into ranges.

Numbers are split into limbs of a few bits at fixed positions. Sums of limbs are exact in a float, so a sum is
one whole number, whatever the order. Floats are first cut to a multiple of 2^-52.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.row_index import FloatArray

LIMB_BITS = 26
"""Sums of 2^27 limbs are exact in a float."""
FRACTION_BITS = 2 * LIMB_BITS
"""Binary places of a float that are summed."""

Values = NDArray[Any]  # Any: whole numbers of any width, truth values or floats


def fraction_bits(values: Values) -> int:
    """Return the number of binary places in the sums of *values*: 0 for whole numbers and truth values."""
    return FRACTION_BITS if values.dtype.kind == "f" else 0


def limbs(values: Values) -> Iterator[tuple[int, FloatArray]]:
    """Yield the limbs of *values*, each with the number of bits by which its sums are to be shifted left.

    The shifted sums add up to the sum of the values, times two to the power of `fraction_bits`. Limbs of a
    fraction that are 0 in all values are left out.
    """
    if values.dtype.kind != "f":
        yield from _whole_limbs(values, 0)
        return
    whole = np.floor(values)
    yield from _whole_limbs(whole.astype(np.int64), FRACTION_BITS)
    rest = values - whole
    for shift in (LIMB_BITS, 0):
        rest = rest * float(1 << LIMB_BITS)
        limb = np.floor(rest)
        if limb.any():
            yield shift, limb
        rest = rest - limb


def _whole_limbs(values: Values, first: int) -> Iterator[tuple[int, FloatArray]]:
    if values.dtype.kind == "b" or not len(values):
        yield first, values.astype(np.float64)
        return
    bits = max(abs(int(values.max())), abs(int(values.min()))).bit_length()
    for shift in range(0, max(bits, 1), LIMB_BITS):
        part = values >> shift if shift else values
        if shift + LIMB_BITS < bits:
            part = part & ((1 << LIMB_BITS) - 1)
        yield first + shift, part.astype(np.float64)


def exact_sum(values: Values) -> int:
    """Return the sum of *values*, times two to the power of their `fraction_bits`, however large."""
    return sum(int(limb.sum()) << shift for shift, limb in limbs(values))


def add_shifted(sums: list[int], limb_sums: FloatArray, shift: int) -> None:
    """Add sums of limbs, shifted to their place, to *sums*."""
    for index in np.flatnonzero(limb_sums).tolist():
        sums[index] += int(limb_sums[index]) << shift
