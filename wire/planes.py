"""Embedded precision planes: numbers that arrive most significant bit first.

A cell (item group, slice) of a table is a matrix of numbers x with |x| < 1. After plane p a number is
known as its sign and q = floor(|x| 2^(p + 1)): q = 0 is the dead zone, twice as wide as every other
interval. It is put back as sign (q + REST) / 2^(p + 1), and as 0 inside the dead zone. A block brings
a cell from the planes that are held to one more, or several more: per plane and in this order

1. where the codec is `coded`: for each column with a number that is still 0, whether one of these
   ceases to be 0 in this plane (the column is *active*); then for each active column a code, which of
   `SIGNIFICANT` is the chance of it,
2. the next bit of q, row by row: of every number; where the codec is `coded`, only of those that are
   not 0 or in an active column,
3. a sign (1: negative) per number that has just ceased to be 0, row by row.

`planes` packs these bits, most significant first. `coded` writes them with a range coder under the
chances of `ACTIVE`, `code_chances`, `SIGNIFICANT`, `REFINEMENT_CHANCES` and 1/2. All chances are whole
multiples of 1/4096, so that they are the same on every machine. Shapes: a cell is (rows, columns).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Codec, Float32Array

IntArray = NDArray[np.int32]
Chances = NDArray[np.float64]

RECONSTRUCTION_POINTS = (0.40, 0.45)
"""Where in its interval a number is put back: the first for q = 1, the second above. Small numbers
are likelier, so it is below the middle."""

CODES = 16
SIGNIFICANT: Chances = np.round(4096 * 0.6 * 1.5 ** -np.arange(CODES)) / 4096
"""The chances that a code chooses from: that a number of the column ceases to be 0."""

ACTIVE = (1024 / 4096, 3968 / 4096)
"""The chance that a column is active: before it has a number that is not 0, and once it has."""

_OFF = {-1: 1440, 1: 320, -2: 128, 2: 96}
_CODE_CHANCES: Chances = (
    np.array([[_OFF.get(code - foreseen, 16) for code in range(CODES)] for foreseen in range(CODES)]) / 4096
)
np.fill_diagonal(_CODE_CHANCES, 0)
np.fill_diagonal(_CODE_CHANCES, 1 - _CODE_CHANCES.sum(axis=1))  # the code that is foreseen: the rest
_BOUNDS: Chances = np.round(4096 * 0.6 * 1.5 ** -(np.arange(CODES - 1) + 0.5)) / 4096

REFINEMENT_CHANCES: Chances = np.array([0, 1536, 1728, 1728, 1920]) / 4096
"""The chance that the next bit of q is 1, for q = 1, 2, 3, and 4 and above: measured on MovieLens-1M."""

_WORD_BYTES = 4  # the range coder reads whole words


def magnitudes(values: Float32Array, plane: int) -> IntArray:
    """Return q of each number after *plane*: floor(|x| 2^(plane + 1))."""
    return np.floor(np.abs(values) * np.float32(2 ** (plane + 1))).astype(np.int32)


def dequantise(values: Float32Array, plane: int) -> Float32Array:
    """Return what *values* are known as after *plane*; of what is restored already, the same again."""
    return _reconstruct(magnitudes(values, plane), np.signbit(values), plane)


def encode_planes(values: Float32Array, held: int, planes: int, codec: Codec) -> bytes:
    """Return the block that brings a cell from *held* planes to *planes*.

    Args:
        values: shape (rows, columns), |x| < 1.
        held: planes that are known, 0 or more.
        planes: planes that are to be known, more than *held*.
        codec: `planes` or `coded`.
    """
    writer: _Writer = _RangeWriter() if codec is Codec.CODED else _RawWriter()
    all_bits = magnitudes(values, planes - 1)
    before = all_bits >> planes - held
    for plane in range(held, planes):
        after, zero = all_bits >> planes - 1 - plane, before == 0
        fresh = zero & (after == 1)
        if codec is Codec.CODED:
            zeros, new = _in_columns(zero), _in_columns(fresh)
            active, asked = new > 0, zeros > 0
            codes = best_codes(zeros, new)
            writer.bits(active[asked], _active_chances(zeros == len(zero))[asked])
            writer.codes(codes[active], code_chances(len(zero) - zeros, zeros)[active])
            said = ~zero | active
            writer.bits((after & 1)[said], _chances(before, codes)[said])
        else:
            writer.bits(after & 1, _evens(after))
        writer.signs(np.signbit(values[fresh]))
        before = after
    return writer.close()


def decode_planes(data: bytes, values: Float32Array, held: int, planes: int, codec: Codec) -> Float32Array:
    """Return a cell after a block that brings it from *held* planes to *planes*.

    Args:
        data: what `encode_planes` made.
        values: the cell as it is known; its numbers are the whole state of the decoder.
        held: planes that are known, 0 or more.
        planes: planes that the block brings it to.
        codec: `planes` or `coded`.

    Raises:
        RemoteProtocolError: *data* are not such a block.
    """
    try:
        return _decoded(data, values, held, planes, codec)
    except (AssertionError, ValueError, IndexError) as error:
        raise RemoteProtocolError(
            Reason.CONTENT, f"{len(data)} bytes are no block of planes: {error}"
        ) from None


def _decoded(data: bytes, values: Float32Array, held: int, planes: int, codec: Codec) -> Float32Array:
    reader: _Reader = _RangeReader(data) if codec is Codec.CODED else _RawReader(data)
    before = magnitudes(values, held - 1) if held else np.zeros(values.shape, dtype=np.int32)
    negative = np.signbit(values)
    for _ in range(held, planes):
        zero = before == 0
        after = 2 * before
        if codec is Codec.CODED:
            zeros = _in_columns(zero)
            asked, active, codes = zeros > 0, np.zeros(len(zeros), dtype=bool), np.zeros_like(zeros)
            active[asked] = reader.bits(_active_chances(zeros == len(zero))[asked])
            codes[active] = reader.codes(code_chances(len(zero) - zeros, zeros)[active])
            said = ~zero | active
            after[said] += reader.bits(_chances(before, codes)[said])
        else:
            after += reader.bits(_evens(after)).reshape(after.shape)
        fresh = zero & (after == 1)
        negative[fresh] = reader.bits(_evens(values[fresh]))
        before = after
    return _reconstruct(before, negative, planes - 1)


def best_codes(zeros: NDArray[np.integer], fresh: NDArray[np.integer]) -> IntArray:
    """Return which of `SIGNIFICANT` makes the shortest code for each column.

    Args:
        zeros: numbers that are still 0, any shape.
        fresh: those of them that cease to be 0.
    """
    bits = -(fresh[..., None] * np.log2(SIGNIFICANT) + (zeros - fresh)[..., None] * np.log2(1 - SIGNIFICANT))
    return np.asarray(bits.argmin(axis=-1), dtype=np.int32)


def code_chances(known: NDArray[np.integer], zeros: NDArray[np.integer]) -> Chances:
    """Return the chance of each code of an active column, shape (..., 16).

    With a share s of the column's numbers beyond the last threshold, a Laplace distribution has
    sqrt(s) beyond half of it, so that a number that is still 0 ceases to be with the chance
    sqrt(s) / (1 + sqrt(s)). A column without any is open: all codes are equally likely.

    Args:
        known: numbers that are not 0, any shape.
        zeros: numbers that are.
    """
    root = np.sqrt(known / (known + zeros))
    foreseen = (root / (1 + root))[..., None] < _BOUNDS
    return np.where(known[..., None] > 0, _CODE_CHANCES[foreseen.sum(axis=-1)], 1 / CODES)


def column_bits(
    known: NDArray[np.integer], zeros: NDArray[np.integer], fresh: NDArray[np.integer]
) -> Chances:
    """Return the information, in bits, of one plane of columns, the refining of known numbers left out.

    Args:
        known: numbers that are not 0 before the plane, any shape.
        zeros: numbers that are.
        fresh: those of them that cease to be 0.
    """
    codes = best_codes(zeros, fresh)
    chance = SIGNIFICANT[codes]
    code = np.take_along_axis(code_chances(known, zeros), codes[..., None], axis=-1)[..., 0]
    active = np.where(known > 0, ACTIVE[1], ACTIVE[0])
    said = fresh * (1 - np.log2(chance)) - (zeros - fresh) * np.log2(1 - chance) - np.log2(code * active)
    bits = np.where(fresh > 0, said, -np.log2(1 - active)) * (zeros > 0)
    return np.asarray(bits)


def _in_columns(chosen: NDArray[np.bool_]) -> IntArray:
    """Return how many numbers of each column are chosen, shape (columns,)."""
    rows = np.ones(len(chosen), dtype=np.float32)  # a product adds up faster than a sum does, and is exact
    return (rows @ chosen.astype(np.float32)).astype(np.int32)


def _active_chances(empty: NDArray[np.bool_]) -> Chances:
    """Return the chance that a column is active, by whether all of its numbers are 0, shape (columns,)."""
    return np.where(empty, *ACTIVE)


def _evens(values: NDArray[np.generic]) -> Chances:
    return np.full(values.size, 0.5)


def _chances(before: IntArray, codes: NDArray[np.integer]) -> Chances:
    """Return the chance that the next bit of q is 1, shape (rows, columns)."""
    refined = REFINEMENT_CHANCES.take(np.minimum(before, 4))
    np.copyto(refined, SIGNIFICANT[codes], where=before == 0)
    return refined


def _reconstruct(q: IntArray, negative: NDArray[np.bool_], plane: int) -> Float32Array:
    rest = np.where(q == 0, 0.0, np.where(q == 1, *RECONSTRUCTION_POINTS))
    sizes = ((q + rest) * 2.0 ** -(plane + 1)).astype(np.float32)
    return np.where(negative & (q > 0), -sizes, sizes)


class _Writer(Protocol):
    def codes(self, values: IntArray, chances: Chances) -> None: ...
    def bits(self, values: NDArray[np.generic], chances: Chances) -> None: ...
    def signs(self, values: NDArray[np.bool_]) -> None: ...
    def close(self) -> bytes: ...


class _Reader(Protocol):
    def codes(self, chances: Chances) -> IntArray: ...
    def bits(self, chances: Chances) -> IntArray: ...


class _RawWriter:
    def __init__(self) -> None:
        self._bits: list[NDArray[np.uint8]] = []

    def codes(self, values: IntArray, chances: Chances) -> None:
        raise NotImplementedError("plain planes have no codes")

    def bits(self, values: NDArray[np.generic], chances: Chances) -> None:
        self._bits.append(values.reshape(-1).astype(np.uint8))

    def signs(self, values: NDArray[np.bool_]) -> None:
        self._bits.append(values.astype(np.uint8))

    def close(self) -> bytes:
        return np.packbits(np.concatenate(self._bits)).tobytes()


class _RawReader:
    def __init__(self, data: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).astype(np.int32)
        self._at = 0

    def codes(self, chances: Chances) -> IntArray:
        raise NotImplementedError("plain planes have no codes")

    def bits(self, chances: Chances) -> IntArray:
        self._at += len(chances)
        if self._at > len(self._bits):
            raise ValueError("it ends too early")
        return self._bits[self._at - len(chances) : self._at]


class _RangeWriter:
    def __init__(self) -> None:
        import constriction  # only where this codec is asked for

        self._categorical = constriction.stream.model.Categorical(perfect=False)
        self._bernoulli = constriction.stream.model.Bernoulli(perfect=False)
        self._even = constriction.stream.model.Bernoulli(0.5, perfect=False)
        self._encoder = constriction.stream.queue.RangeEncoder()

    def codes(self, values: IntArray, chances: Chances) -> None:
        if len(values):
            self._encoder.encode(values, self._categorical, chances)

    def bits(self, values: NDArray[np.generic], chances: Chances) -> None:
        if len(values):
            self._encoder.encode(values.astype(np.int32), self._bernoulli, chances)

    def signs(self, values: NDArray[np.bool_]) -> None:
        if len(values):
            self._encoder.encode(values.astype(np.int32), self._even)

    def close(self) -> bytes:
        """Return the shortest bytes that decode, zeros being read behind them.

        The encoder would close with a word or two. Any number in its interval will do: the one with
        the most zeros at its end is taken.
        """
        words = self._encoder.get_compressed()
        done, (low, width) = self._encoder.pos()
        if low + width < 2**64:  # else a carry is pending, which only the encoder can resolve
            for shift in range(64, -1, -8):
                number = -(-low >> shift) << shift
                if number < low + width:
                    break
            words = np.array([*words[:done], number >> 32, number & 0xFFFFFFFF], dtype=np.uint32)
        raw: bytes = words.astype(">u4").tobytes()
        return raw.rstrip(b"\0")


class _RangeReader:
    def __init__(self, data: bytes) -> None:
        import constriction  # only where this codec is asked for

        self._categorical = constriction.stream.model.Categorical(perfect=False)
        self._bernoulli = constriction.stream.model.Bernoulli(perfect=False)
        padded = data + bytes(-len(data) % _WORD_BYTES + 2 * _WORD_BYTES)
        words = np.frombuffer(padded, dtype=">u4").astype(np.uint32)
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def codes(self, chances: Chances) -> IntArray:
        return self._decoded(self._categorical, chances)

    def bits(self, chances: Chances) -> IntArray:
        return self._decoded(self._bernoulli, chances)

    def _decoded(self, model: object, chances: Chances) -> IntArray:
        if not len(chances):
            return np.zeros(0, dtype=np.int32)
        found: IntArray = self._decoder.decode(model, chances)
        return found
