"""The random numbers of numpy's `Generator` over PCG64, in compiled code: the same draws, bit by bit.

A stream is a record with the state of its generator, so a device may have any number of them and the kernel
keeps them in an array. `wire.random_streams.stream` is the definition; `devices.kernel.self_check` compares.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.np.random import _constants as tables
from numpy.typing import NDArray

from devices.kernel.compiler import compiled, entry_point

STREAM = np.dtype(
    [("hi", "u8"), ("lo", "u8"), ("inc_hi", "u8"), ("inc_lo", "u8"), ("has_half", "u8"), ("half", "u8")]
)
"""The state of a stream: two numbers of 128 bits, and the half of a number that is left over."""

Record = Any
"""A record of a structured array: numba knows its fields, Python does not."""

_MULT_HI, _MULT_LO = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
_MULT_LO_0, _MULT_LO_1 = _MULT_LO & np.uint64(0xFFFFFFFF), _MULT_LO >> np.uint64(32)
_ZERO, _ONE, _LOW, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFF), np.uint64(2**64 - 1)
_U3, _U8, _U9, _U11, _U32, _U58, _U63, _U64 = (np.uint64(bits) for bits in (3, 8, 9, 11, 32, 58, 63, 64))
_BYTE, _MANTISSA = np.uint64(0xFF), np.uint64(0x000FFFFFFFFFFFFF)
_KI, _WI, _FI = tables.ki_double, tables.wi_double, tables.fi_double
_KE, _WE, _FE = tables.ke_double, tables.we_double, tables.fe_double
_NORMAL_R, _NORMAL_INV_R = float(tables.ziggurat_nor_r), float(tables.ziggurat_nor_inv_r)
_EXPONENTIAL_R = float(tables.ziggurat_exp_r)


@compiled
def next_bits(stream: Record) -> Any:
    """Return the next 64 bits."""
    lo, hi = stream.lo, stream.hi
    lo_0, lo_1 = lo & _LOW, lo >> _U32
    low, first, second = lo_0 * _MULT_LO_0, lo_0 * _MULT_LO_1, lo_1 * _MULT_LO_0
    middle = (low >> _U32) + (first & _LOW) + (second & _LOW)
    carry = lo_1 * _MULT_LO_1 + (first >> _U32) + (second >> _U32) + (middle >> _U32)
    hi = carry + hi * _MULT_LO + lo * _MULT_HI
    product = (low & _LOW) | (middle << _U32)
    lo = product + stream.inc_lo
    hi = hi + stream.inc_hi
    if lo < product:
        hi = hi + _ONE
    stream.lo, stream.hi = lo, hi
    word, turn = hi ^ lo, hi >> _U58
    return (word >> turn) | (word << ((_U64 - turn) & _U63))


@compiled
def next_half(stream: Record) -> Any:
    """Return the next 32 bits; each number of 64 bits gives two."""
    if stream.has_half != _ZERO:
        stream.has_half = _ZERO
        return stream.half
    bits = next_bits(stream)
    stream.has_half, stream.half = _ONE, bits >> _U32
    return bits & _LOW


@compiled
def random(stream: Record) -> float:
    """Return a number from 0 to below 1, as `Generator.random`."""
    return float(np.float64(next_bits(stream) >> _U11) * (1.0 / 9007199254740992.0))


@compiled
def standard_exponential(stream: Record) -> float:
    """Return a number as `Generator.standard_exponential`."""
    while True:
        bits = next_bits(stream) >> _U3
        index = np.int64(bits & _BYTE)
        bits = bits >> _U8
        x = np.float64(bits) * _WE[index]
        if bits < _KE[index]:
            return float(x)
        if index == 0:
            return float(_EXPONENTIAL_R - np.log1p(-random(stream)))
        if (_FE[index - 1] - _FE[index]) * random(stream) + _FE[index] < np.exp(-x):
            return float(x)


@compiled
def standard_normal(stream: Record) -> float:
    """Return a number as `Generator.standard_normal`."""
    while True:
        bits = next_bits(stream)
        index = np.int64(bits & _BYTE)
        bits = bits >> _U8
        size = (bits >> _ONE) & _MANTISSA
        x = np.float64(size) * _WI[index]
        if bits & _ONE:
            x = -x
        if size < _KI[index]:
            return float(x)
        if index == 0:
            while True:
                tail = -_NORMAL_INV_R * np.log1p(-random(stream))
                height = -np.log1p(-random(stream))
                if height + height > tail * tail:
                    return float(-(_NORMAL_R + tail) if (size >> _U8) & _ONE else _NORMAL_R + tail)
        elif (_FI[index - 1] - _FI[index]) * random(stream) + _FI[index] < np.exp(-0.5 * x * x):
            return float(x)


@compiled
def pareto(stream: Record, shape: float) -> float:
    """Return a number as `Generator.pareto`."""
    return float(np.expm1(standard_exponential(stream) / shape))


@compiled
def integer(stream: Record, low: int, high: int) -> int:
    """Return a number from *low* to *high*, both possible, as `Generator.integers`; signed, 64 bits."""
    span = np.uint64(high) - np.uint64(low)
    if span == _ZERO:
        return low
    if span == _LOW:
        return np.int64(np.uint64(low) + next_half(stream))  # type: ignore[return-value]
    if span == _ALL:
        return np.int64(next_bits(stream))  # type: ignore[return-value]
    if span < _LOW:
        return np.int64(np.uint64(low) + _below_32(stream, span))  # type: ignore[return-value]
    return np.int64(np.uint64(low) + _below_64(stream, span))  # type: ignore[return-value]


@compiled
def _below_32(stream: Record, span: Any) -> Any:
    """Return a number from 0 to *span*, which is below 2^32 - 1, by Lemire's method."""
    count = span + _ONE
    product = next_half(stream) * count
    rest = product & _LOW
    if rest < count:
        threshold = (_LOW - span) % count
        while rest < threshold:
            product = next_half(stream) * count
            rest = product & _LOW
    return product >> _U32


@compiled
def _below_64(stream: Record, span: Any) -> Any:
    """Return a number from 0 to *span* by Lemire's method."""
    count = span + _ONE
    high, rest = _product(next_bits(stream), count)
    if rest < count:
        threshold = (_ALL - span) % count
        while rest < threshold:
            high, rest = _product(next_bits(stream), count)
    return high


@compiled
def _product(a: Any, b: Any) -> Any:
    """Return the higher and the lower half of a product of 128 bits."""
    a_0, a_1, b_0, b_1 = a & _LOW, a >> _U32, b & _LOW, b >> _U32
    low, first, second = a_0 * b_0, a_0 * b_1, a_1 * b_0
    middle = (low >> _U32) + (first & _LOW) + (second & _LOW)
    high = a_1 * b_1 + (first >> _U32) + (second >> _U32) + (middle >> _U32)
    return high, (low & _LOW) | (middle << _U32)


_XSHIFT = np.uint32(16)
_INIT_A, _MULT_A = np.uint32(0x43B0D7E5), np.uint32(0x931E8875)
_INIT_B, _MULT_B = np.uint32(0x8B51F9DD), np.uint32(0x58F38DED)
_MIX_L, _MIX_R = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)


@compiled
def _hashed(value: Any, constants: NDArray[np.uint32], multiplier: Any) -> Any:
    """Return the hash of a word, as `SeedSequence`; the first of *constants* moves on."""
    value = np.uint32(value ^ constants[0])
    constants[0] = np.uint32(constants[0] * multiplier)
    value = np.uint32(value * constants[0])
    return np.uint32(value ^ (value >> _XSHIFT))


@compiled
def _mixed(x: Any, y: Any) -> Any:
    """Return a mixture of two words, as `SeedSequence`."""
    result = np.uint32(np.uint32(x * _MIX_L) - np.uint32(y * _MIX_R))
    return np.uint32(result ^ (result >> _XSHIFT))


@compiled
def _seed_words(words: NDArray[np.uint32], pool: NDArray[np.uint32], out: NDArray[np.uint32]) -> None:
    """Write the eight words that `SeedSequence` makes of its eight."""
    constants = np.empty(1, np.uint32)
    constants[0] = _INIT_A
    for at in range(4):
        pool[at] = _hashed(words[at], constants, _MULT_A)
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = _mixed(pool[target], _hashed(pool[source], constants, _MULT_A))
    for source in range(4, 8):
        for target in range(4):
            pool[target] = _mixed(pool[target], _hashed(words[source], constants, _MULT_A))
    constants[0] = _INIT_B
    for at in range(8):
        out[at] = _hashed(pool[at % 4], constants, _MULT_B)


@entry_point
def _seed_all(words: NDArray[np.uint32], streams: NDArray[Any]) -> None:
    """Seed each of *streams* with a row of *words*."""
    pool, out = np.empty(4, np.uint32), np.empty(8, np.uint32)
    for at in range(len(words)):
        _seed_words(words[at], pool, out)
        stream = streams[at]
        state_hi = np.uint64(out[0]) | (np.uint64(out[1]) << _U32)
        state_lo = np.uint64(out[2]) | (np.uint64(out[3]) << _U32)
        inc_hi = np.uint64(out[4]) | (np.uint64(out[5]) << _U32)
        inc_lo = np.uint64(out[6]) | (np.uint64(out[7]) << _U32)
        stream.inc_hi = (inc_hi << _ONE) | (inc_lo >> _U63)
        stream.inc_lo = (inc_lo << _ONE) | _ONE
        stream.hi, stream.lo = _ZERO, _ZERO
        stream.has_half, stream.half = _ZERO, _ZERO
        next_bits(stream)
        lo = stream.lo + state_lo
        stream.hi = stream.hi + state_hi
        if lo < state_lo:
            stream.hi = stream.hi + _ONE
        stream.lo = lo
        next_bits(stream)


def make_streams(seed: int, names: Sequence[str]) -> NDArray[Any]:
    """Return the streams called *names* of the run with *seed*.

    Args:
        seed: below 2^128.
        names: the parts of each name, joined by `SEPARATOR`.
    """
    words = np.zeros((len(names), 8), np.uint32)
    words[:, :4] = [seed >> bits & 0xFFFFFFFF for bits in (0, 32, 64, 96)]
    digests = b"".join([hashlib.blake2b(name.encode(), digest_size=16).digest() for name in names])
    words[:, 4:] = np.frombuffer(digests, "<u4").reshape(-1, 4)
    streams = np.zeros(len(names), STREAM)
    _seed_all(words, streams)
    return streams


SEPARATOR = "\x1f"
"""Stands between the parts of a stream's name (`wire.random_streams`)."""
