"""Bits and whole numbers through one range coder, with chances that the writer chooses and sends.

A reader of bytes from a network never fails on their content: any bytes decode to something, and numbers
have a largest length.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wire.arrays import Int32Array

Chances = NDArray[np.float64]
Bits = NDArray[np.bool_]
WholeNumbers = NDArray[np.int64]

SENT_CHANCES: Chances = np.maximum(np.round(2048 * 0.78 ** np.arange(32)), 1) / 4096
"""The chances of a bit that can be sent, by their five-bit code: from 1/2 to 1/4096."""
CODE_BITS = 5
"""Bits of a code of a chance, and of the number of low bits of whole numbers."""
MOST_ROUNDS = 64
"""Largest number of bits of the high part of a whole number, which is written in unary."""
WORD_BYTES = 4
"""The range coder reads whole words."""


class BitWriter:
    """Writes bits by a range encoder."""

    def __init__(self) -> None:
        import constriction  # only needed for codecs with a range coder

        self._model = constriction.stream.model.Bernoulli(perfect=False)
        self._encoder = constriction.stream.queue.RangeEncoder()

    def bits(self, values: Bits, chances: Chances | float = 0.5) -> None:
        """Write *values*; *chances* are those of True, one or as many as values."""
        if len(values):
            every = np.broadcast_to(np.asarray(chances, dtype=np.float64), values.shape)
            self._encoder.encode(values.astype(np.int32), self._model, np.ascontiguousarray(every))

    def number(self, value: int, width: int) -> None:
        """Write a whole number of *width* bits."""
        self.bits((value >> np.arange(width)[::-1] & 1).astype(np.bool_))

    def numbers(self, values: WholeNumbers, low_bits: int) -> None:
        """Write whole numbers: *low_bits* bits of each, and the rest in unary, in rounds (Rice's code)."""
        self.bits((values[:, None] >> np.arange(low_bits)[::-1] & 1).astype(np.bool_).reshape(-1))
        rest = values >> low_bits
        while len(rest):
            self.bits(rest > 0)
            rest = rest[rest > 0] - 1

    def signed(self, values: WholeNumbers) -> None:
        """Write numbers of which many are 0, with the parameters that suit them."""
        changed = values != 0
        sizes = np.abs(values[changed]) - 1
        code, low_bits = best_code(int(changed.sum()), len(values)), best_low_bits(sizes)
        self.number(code, CODE_BITS)
        self.number(low_bits, CODE_BITS)
        self.bits(changed, float(SENT_CHANCES[code]))
        self.bits(values[changed] < 0)
        self.numbers(sizes, low_bits)

    def close(self) -> bytes:
        """Return the shortest bytes that decode, if zeros are read after them."""
        return shortest_bytes(self._encoder)


class BitReader:
    """Reads what `BitWriter` has written."""

    def __init__(self, data: bytes) -> None:
        import constriction  # only needed for codecs with a range coder

        self._model = constriction.stream.model.Bernoulli(perfect=False)
        self._decoder = constriction.stream.queue.RangeDecoder(coder_words(data))

    def bits(self, count: int, chances: Chances | float = 0.5) -> Bits:
        """Read *count* bits; *chances* are those of True, one or as many as bits."""
        if not count:
            return np.zeros(0, dtype=np.bool_)
        every = np.broadcast_to(np.asarray(chances, dtype=np.float64), (count,))
        read: Int32Array = self._decoder.decode(self._model, np.ascontiguousarray(every))
        return read.astype(np.bool_)

    def number(self, width: int) -> int:
        """Read a whole number of *width* bits."""
        return int(self.bits(width) @ (1 << np.arange(width, dtype=np.int64)[::-1]))

    def numbers(self, count: int, low_bits: int) -> WholeNumbers:
        """Read *count* whole numbers with *low_bits* low bits.

        Raises:
            ValueError: one is too long.
        """
        low = self.bits(count * low_bits).reshape(count, low_bits)
        high, growing = np.zeros(count, dtype=np.int64), np.arange(count)
        for _ in range(MOST_ROUNDS):
            growing = growing[self.bits(len(growing))]
            if not len(growing):
                return np.asarray((high << low_bits) + low @ (1 << np.arange(low_bits, dtype=np.int64)[::-1]))
            high[growing] += 1
        raise ValueError("a number is too long")

    def signed(self, count: int) -> WholeNumbers:
        """Read *count* numbers of which many are 0.

        Raises:
            ValueError: one is too long.
        """
        code, low_bits = self.number(CODE_BITS), self.number(CODE_BITS)
        changed = self.bits(count, float(SENT_CHANCES[code]))
        negative = self.bits(int(changed.sum()))
        sizes = self.numbers(len(negative), low_bits) + 1
        values = np.zeros(count, dtype=np.int64)
        values[changed] = np.where(negative, -sizes, sizes)
        return values


def best_code(ones: int, count: int) -> int:
    """Return the code of the chance with which *ones* of *count* bits take the fewest bits."""
    bits = -(ones * np.log2(SENT_CHANCES) + (count - ones) * np.log2(1 - SENT_CHANCES))
    return int(bits.argmin())


def best_low_bits(sizes: WholeNumbers) -> int:
    """Return the number of low bits with which *sizes* take the fewest bits, none too many in unary."""
    if not len(sizes):
        return 0
    least = max(0, int(sizes.max()).bit_length() - MOST_ROUNDS.bit_length() + 2)
    costs = [int((sizes >> low).sum()) + len(sizes) * (low + 1) for low in range(least, min(least + 8, 32))]
    return least + int(np.argmin(costs))


def coder_words(data: bytes) -> NDArray[np.uint32]:
    """Return the words that a range decoder reads: *data*, and zeros."""
    padded = data + bytes(-len(data) % WORD_BYTES + 2 * WORD_BYTES)
    return np.frombuffer(padded, dtype=">u4").astype(np.uint32)


def shortest_bytes(encoder: Any) -> bytes:  # Any: constriction has no types
    """Return the shortest bytes that decode to what *encoder* has written, if zeros are read after them.

    The encoder itself would end with one or two words. Any number in its interval is correct: the one with
    the most zeros at its end is taken.
    """
    words = encoder.get_compressed()
    done, (low, width) = encoder.pos()
    last = b""
    if low + width < 2**64:  # else a carry is pending that only the encoder can resolve
        for shift in range(64, -1, -8):
            number = -(-low >> shift) << shift
            if number < low + width:
                break
        last = number.to_bytes(8, "big")
        words = words[:done]
    raw: bytes = words.astype(">u4").tobytes() + last
    return raw.rstrip(b"\0")
