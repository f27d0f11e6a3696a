"""Codec `coded`: precision planes (`wire.codecs.planes`) written by a range coder.

For each plane the block has, before the bits of q:

- for each column that still has zeros, whether it is *active*: one of its numbers becomes non-zero;
- for each active column a code, the index of the chance in `SIGNIFICANT` under which its numbers become
  non-zero.

The range coder uses the chances of `ACTIVE`, `code_chances`, `SIGNIFICANT` and `REFINEMENT_CHANCES`, and 1/2
for signs. All chances are whole multiples of 1/4096, so that they are the same on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from wire.arrays import Int32Array
from wire.codecs.planes import PlaneCoder, PlaneCounts, PlaneReader, PlaneWriter
from wire.codecs.range_bits import coder_words, shortest_bytes

Chances = NDArray[np.float64]

CODES = 16
SIGNIFICANT: Chances = np.round(4096 * 0.6 * 1.5 ** -np.arange(CODES)) / 4096
"""The chances, by code, that a number of a column becomes non-zero."""

ACTIVE = (1024 / 4096, 3968 / 4096)
"""The chance that a column is active: while all its numbers are 0, and afterwards."""

_DISTANT = {-1: 1440, 1: 320, -2: 128, 2: 96}
_CODE_CHANCES: Chances = (
    np.array([[_DISTANT.get(code - expected, 16) for code in range(CODES)] for expected in range(CODES)])
    / 4096
)
np.fill_diagonal(_CODE_CHANCES, 0)
np.fill_diagonal(_CODE_CHANCES, 1 - _CODE_CHANCES.sum(axis=1))  # the expected code: the rest
_BOUNDS: Chances = np.round(4096 * 0.6 * 1.5 ** -(np.arange(CODES - 1) + 0.5)) / 4096

REFINEMENT_CHANCES: Chances = np.array([0, 1536, 1728, 1728, 1920]) / 4096
"""The chance that the next bit of q is 1, for q = 1, 2, 3, and 4 and above: measured on MovieLens-1M."""


class CodedPlaneCoder(PlaneCoder):
    """The codec `coded`: range-coded planes."""

    def writer(self) -> PlaneWriter:
        """Return a range encoder."""
        return _RangeWriter()

    def reader(self, data: bytes) -> PlaneReader:
        """Return a range decoder of *data*."""
        return _RangeReader(data)

    def plane_bits(self, counts: PlaneCounts) -> NDArray[np.float64]:
        """Return the information of each plane of each column in bits, shape (P, d)."""
        bits = column_bits(counts.known, counts.zeros, counts.fresh)
        for q, count, ones in counts.refined:
            chance = REFINEMENT_CHANCES[q]
            bits -= ones * np.log2(chance) + (count - ones) * np.log2(1 - chance)
        return np.asarray(bits)


def best_codes(zeros: NDArray[np.integer], fresh: NDArray[np.integer]) -> Int32Array:
    """Return the code of each column with the smallest number of bits.

    Args:
        zeros: counts of numbers that are still 0, any shape.
        fresh: counts of those that become non-zero.
    """
    bits = -(fresh[..., None] * np.log2(SIGNIFICANT) + (zeros - fresh)[..., None] * np.log2(1 - SIGNIFICANT))
    return np.asarray(bits.argmin(axis=-1), dtype=np.int32)


def code_chances(known: NDArray[np.integer], zeros: NDArray[np.integer]) -> Chances:
    """Return the chance of each code of an active column, shape (..., 16).

    If a share s of the column's numbers lies beyond the last threshold, then with a Laplace distribution
    sqrt(s) lies beyond half of it. So a number that is still 0 becomes non-zero with the chance sqrt(s) / (1
    + sqrt(s)). In a column of zeros all codes are equally likely.

    Args:
        known: counts of numbers that are not 0, any shape.
        zeros: counts of numbers that are 0.
    """
    root = np.sqrt(known / (known + zeros))
    exceeded = (root / (1 + root))[..., None] < _BOUNDS
    return np.where(known[..., None] > 0, _CODE_CHANCES[exceeded.sum(axis=-1)], 1 / CODES)


def column_bits(
    known: NDArray[np.integer], zeros: NDArray[np.integer], fresh: NDArray[np.integer]
) -> Chances:
    """Return the information, in bits, of one plane of columns, without the next bits of non-zero numbers.

    Args:
        known: counts of numbers that are not 0 before the plane, any shape.
        zeros: counts of numbers that are 0.
        fresh: counts of those that become non-zero.
    """
    codes = best_codes(zeros, fresh)
    chance = SIGNIFICANT[codes]
    code = np.take_along_axis(code_chances(known, zeros), codes[..., None], axis=-1)[..., 0]
    active = np.where(known > 0, ACTIVE[1], ACTIVE[0])
    written = fresh * (1 - np.log2(chance)) - (zeros - fresh) * np.log2(1 - chance) - np.log2(code * active)
    bits = np.where(fresh > 0, written, -np.log2(1 - active)) * (zeros > 0)
    return np.asarray(bits)


def _count_by_column(chosen: NDArray[np.bool_]) -> Int32Array:
    """Return the number of chosen numbers of each column, shape (columns,)."""
    rows = np.ones(len(chosen), dtype=np.float32)  # an exact sum, faster as a matrix product
    return (rows @ chosen.astype(np.float32)).astype(np.int32)


def _active_chances(empty: NDArray[np.bool_]) -> Chances:
    """Return the chance that a column is active; *empty*: all its numbers are 0; shape (columns,)."""
    return np.where(empty, *ACTIVE)


def _bit_chances(before: Int32Array, codes: NDArray[np.integer]) -> Chances:
    """Return the chance that the next bit of q is 1, shape (rows, columns)."""
    refined = REFINEMENT_CHANCES.take(np.minimum(before, 4))
    np.copyto(refined, SIGNIFICANT[codes], where=before == 0)
    return refined


class _RangeWriter:
    def __init__(self) -> None:
        import constriction  # only needed for this codec

        self._categorical = constriction.stream.model.Categorical(perfect=False)
        self._bernoulli = constriction.stream.model.Bernoulli(perfect=False)
        self._even = constriction.stream.model.Bernoulli(0.5, perfect=False)
        self._encoder = constriction.stream.queue.RangeEncoder()

    def plane(
        self, before: Int32Array, after: Int32Array, zero: NDArray[np.bool_], fresh: NDArray[np.bool_]
    ) -> None:
        zeros, new = _count_by_column(zero), _count_by_column(fresh)
        active, incomplete = new > 0, zeros > 0
        codes = best_codes(zeros, new)
        self._write(self._bernoulli, active[incomplete], _active_chances(zeros == len(zero))[incomplete])
        self._write(self._categorical, codes[active], code_chances(len(zero) - zeros, zeros)[active])
        written = ~zero | active
        self._write(self._bernoulli, (after & 1)[written], _bit_chances(before, codes)[written])

    def signs(self, negative: NDArray[np.bool_]) -> None:
        if len(negative):
            self._encoder.encode(negative.astype(np.int32), self._even)

    def _write(self, model: object, values: NDArray[np.generic], chances: Chances) -> None:
        if len(values):
            self._encoder.encode(values.astype(np.int32), model, chances)

    def close(self) -> bytes:
        """Return the shortest bytes that decode, if zeros are read after them."""
        return shortest_bytes(self._encoder)


class _RangeReader:
    def __init__(self, data: bytes) -> None:
        import constriction  # only needed for this codec

        self._categorical = constriction.stream.model.Categorical(perfect=False)
        self._bernoulli = constriction.stream.model.Bernoulli(perfect=False)
        self._decoder = constriction.stream.queue.RangeDecoder(coder_words(data))

    def plane(self, before: Int32Array, zero: NDArray[np.bool_]) -> Int32Array:
        zeros, after = _count_by_column(zero), 2 * before
        incomplete, active, codes = zeros > 0, np.zeros(len(zeros), dtype=bool), np.zeros_like(zeros)
        active[incomplete] = self._read(self._bernoulli, _active_chances(zeros == len(zero))[incomplete])
        codes[active] = self._read(self._categorical, code_chances(len(zero) - zeros, zeros)[active])
        written = ~zero | active
        after[written] += self._read(self._bernoulli, _bit_chances(before, codes)[written])
        return after

    def signs(self, count: int) -> Int32Array:
        return self._read(self._bernoulli, np.full(count, 0.5))

    def _read(self, model: object, chances: Chances) -> Int32Array:
        if not len(chances):
            return np.zeros(0, dtype=np.int32)
        values: Int32Array = self._decoder.decode(model, chances)
        return values
