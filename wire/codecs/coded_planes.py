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
from wire.codecs.planes import PlaneCoder, PlaneCounts, PlaneReader, PlaneWriter, Uint16Array
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
_CODE_CHANCES = np.concatenate([_CODE_CHANCES, np.full((1, CODES), 1 / CODES)])  # of a column of zeros
_BOUNDS: Chances = np.round(4096 * 0.6 * 1.5 ** -(np.arange(CODES - 1) + 0.5)) / 4096

REFINEMENT_CHANCES: Chances = np.array([0, 1536, 1728, 1728, 1920]) / 4096
"""The chance that the next bit of q is 1, for q = 1, 2, 3, and 4 and above: measured on MovieLens-1M."""


def _pairs(chances: Chances) -> Chances:
    """Return the chances of 0 and 1: the coder takes half the time if it need not make them of one number."""
    return np.stack([1 - chances, chances], axis=-1)


_SIGNIFICANT_PAIRS, _REFINEMENT_PAIRS = _pairs(SIGNIFICANT), _pairs(REFINEMENT_CHANCES)
_ACTIVE_PAIRS = _pairs(np.array(ACTIVE[::-1]))  # not empty, empty
_SIGNIFICANT_BITS, _OTHER_BITS = -np.log2(SIGNIFICANT), -np.log2(1 - SIGNIFICANT)


class CodedPlaneCoder(PlaneCoder):
    """The codec `coded`: range-coded planes."""

    def writer(self, zeros: NDArray[np.int64]) -> PlaneWriter:
        """Return a range encoder."""
        return _RangeWriter(zeros)

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
    bits = fresh[..., None] * _SIGNIFICANT_BITS + (zeros - fresh)[..., None] * _OTHER_BITS
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
    exceeded = ((root / (1 + root))[..., None] < _BOUNDS).sum(axis=-1)
    return _CODE_CHANCES[np.where(known > 0, exceeded, CODES)]


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
    """Return the chances that a column is not active, and is, shape (..., 2).

    Args:
        empty: True where all numbers of a column are 0.
    """
    return _ACTIVE_PAIRS.take(empty, axis=0)


def _bit_table(codes: NDArray[np.integer]) -> Chances:
    """Return the chances that the next bit of q is 0 and 1, for q = 0, 1, 2, 3 and 4, shape (..., 5, 2).

    Args:
        codes: of columns, shape (...).
    """
    table = np.empty((*codes.shape, *_REFINEMENT_PAIRS.shape))
    table[:] = _REFINEMENT_PAIRS
    table[..., 0, :] = _SIGNIFICANT_PAIRS[codes]
    return table


def _bit_chances(before: NDArray[np.integer], table: Chances, written: NDArray[np.bool_] | None) -> Chances:
    """Return the chances that the next bit of q is 0 and 1, of the numbers of which it is *written*.

    Args:
        before: q, shape (rows, columns).
        table: `_bit_table` of the columns.
        written: a choice of the numbers, None for all.
    """
    columns, kinds, _ = table.shape
    indices = np.minimum(before, kinds - 1)
    indices += np.arange(0, columns * kinds, kinds, dtype=before.dtype)
    chosen = indices.reshape(-1) if written is None else indices[written]
    return np.asarray(table.reshape(-1, 2).take(chosen, axis=0))


class _RangeWriter:
    def __init__(self, zeros: NDArray[np.int64]) -> None:
        import constriction  # only needed for this codec

        self._categorical = constriction.stream.model.Categorical(perfect=False)
        self._even = constriction.stream.model.Bernoulli(0.5, perfect=False)
        self._new_encoder = constriction.stream.queue.RangeEncoder
        self._encoder = self._new_encoder()
        before, fresh = zeros[:-1], zeros[:-1] - zeros[1:]  # (P, columns)
        known = zeros[0] - before
        self._active, self._incomplete, self._known = fresh > 0, before > 0, known > 0
        self._active_chances = _active_chances(known == 0)
        self._codes, self._code_chances = best_codes(before, fresh), code_chances(known, before)
        self._table = _bit_table(self._codes)

    def plane(self, plane: int, after: Uint16Array) -> None:
        active, incomplete, table = self._active[plane], self._incomplete[plane], self._table[plane]
        self._write(active[incomplete], self._active_chances[plane, incomplete])
        self._write(self._codes[plane, active], self._code_chances[plane, active])
        columns = active | self._known[plane]
        if not columns.any():
            return
        if not columns.all():
            after, table = after[:, columns], table[columns]
            active, incomplete = active[columns], incomplete[columns]
        written = None if (active | ~incomplete).all() else (after > 1) | active
        bits = after & np.uint16(1)
        self._write(
            bits.reshape(-1) if written is None else bits[written],
            _bit_chances(after >> np.uint16(1), table, written),
        )

    def signs(self, negative: NDArray[np.bool_]) -> None:
        if len(negative):
            self._encoder.encode(negative.astype(np.int32), self._even)

    def _write(self, values: NDArray[np.generic], chances: Chances) -> None:
        """Write *values* with the chances of each possible value, shape (values, possible values)."""
        if len(values):
            self._encoder.encode(values.astype(np.int32), self._categorical, chances)

    def close(self) -> bytes:
        """Return the shortest bytes that decode, if zeros are read after them."""
        data = shortest_bytes(self._encoder)
        self._encoder = self._new_encoder()  # its `clear` would keep a carry that is pending
        return data


class _RangeReader:
    def __init__(self, data: bytes) -> None:
        import constriction  # only needed for this codec

        self._categorical = constriction.stream.model.Categorical(perfect=False)
        self._even = constriction.stream.model.Bernoulli(0.5, perfect=False)
        self._decoder = constriction.stream.queue.RangeDecoder(coder_words(data))

    def plane(self, before: Int32Array, zero: NDArray[np.bool_]) -> Int32Array:
        zeros, after = _count_by_column(zero), 2 * before
        incomplete, active, codes = zeros > 0, np.zeros(len(zeros), dtype=bool), np.zeros_like(zeros)
        known = len(zero) - zeros
        active[incomplete] = self._read(_active_chances(known == 0)[incomplete])
        codes[active] = self._read(code_chances(known[active], zeros[active]))
        written = ~zero | active
        after[written] += self._read(_bit_chances(before, _bit_table(codes), written))
        return after

    def signs(self, count: int) -> Int32Array:
        if not count:
            return np.zeros(0, dtype=np.int32)
        values: Int32Array = self._decoder.decode(self._even, count)
        return values

    def _read(self, chances: Chances) -> Int32Array:
        if not len(chances):
            return np.zeros(0, dtype=np.int32)
        values: Int32Array = self._decoder.decode(self._categorical, chances)
        return values
