"""Head items only, entropy-coded: the strongest baseline on NDCG.

Letters: I items, d dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln  # type: ignore[import-untyped]

from cloud.data.interactions import Interactions
from cloud.training.baselines.basis import rotate_tables
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice, by_products
from wire.arrays import Float32Array

HEADER_BYTES = 6  # the step as float32, the number of items in 16 bits
CONTEXTS = 14  # magnitudes above are written in Elias's gamma code
MIDDLE = 0.45  # where in its interval a magnitude is put back: small ones are likelier
STEPS = 2.0 ** np.arange(-5.0, 2.5, 0.5)  # as multiples of the root mean square

Levels = NDArray[np.int64]


@dataclass(frozen=True)
class CodedHeadItems:
    """The most popular items, rotated, quantized with one step; the step is chosen on validation.

    Where all items fit, it is a whole table, entropy-coded, in few bits: then it has a tail.

    Bytes: an estimate in the baseline's favour. It is the exact code length of an ideal adaptive
    binary arithmetic coder (Krichevsky, Trofimov) with contexts per dimension, and a header; a real
    range coder needs about 1.6 % more. Dimensions are scaled by the users' spread in them: the
    user's vector is scaled the other way, so that no scales are stored.
    """

    name: str = "head:entropy"
    rotate: bool = True

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Rotate, if asked to, and scale the table."""
        users, items = rotate_tables(full) if self.rotate else (full.users, full.items)
        spread = np.sqrt(np.square(users[: len(full.members)]).mean(axis=0)).clip(1e-12)  # (d,)
        users, items = users / spread, items * spread
        steps = STEPS * float(np.sqrt(np.square(items).mean()))
        return Choice(interactions, lambda budget: _options(users, items, steps, budget))


def _options(
    users: Float32Array, items: Float32Array, steps: NDArray[np.floating], budget_bytes: int
) -> Iterator[Candidate]:
    """Yield one candidate per step, from the finest; once all items fit, coarser steps only lose."""
    for step in steps.tolist():
        levels = quantize(items, step)
        count = most_items(levels, budget_bytes)
        if not count:
            continue
        table = dequantize(levels, step)
        held = np.arange(len(items)) < count
        size = coded_bytes(levels[:count])
        yield by_products(users, table, size, f"step {step:.3g}, {count} items", held)
        if count == len(items):
            return


def quantize(table: Float32Array, step: float) -> Levels:
    """Return whole numbers of steps, towards zero: an interval twice as wide around 0."""
    return np.asarray(np.trunc(table / step), dtype=np.int64)


def dequantize(levels: Levels, step: float) -> Float32Array:
    """Return the numbers that *levels* stand for."""
    return np.asarray((levels + MIDDLE * np.sign(levels)) * step, dtype=np.float32)


def most_items(levels: Levels, budget_bytes: int) -> int:
    """Return how many rows fit; a longer prefix never takes fewer bytes."""
    low, high = 0, len(levels)
    while low < high:
        middle = (low + high + 1) // 2
        fits = coded_bytes(levels[:middle]) <= budget_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def coded_bytes(levels: Levels) -> int:
    """Return the bytes of *levels*, shape (rows, d), header included."""
    return HEADER_BYTES + int(np.ceil(coded_bits(np.abs(levels)) / 8))


def coded_bits(magnitudes: Levels) -> float:
    """Return the code length: a sign for each that is not 0, and each magnitude in unary decisions."""
    bits = float((magnitudes > 0).sum())
    for bound in range(CONTEXTS):
        above = (magnitudes > bound).sum(axis=0)  # (d,)
        asked = (magnitudes >= bound).sum(axis=0)
        bits += float(_adaptive_bits(asked - above, above).sum())
        if not above.any():
            return bits
    rest = magnitudes[magnitudes >= CONTEXTS] - CONTEXTS + 1
    return bits + float((2 * np.floor(np.log2(rest)) + 1).sum())


def _adaptive_bits(noes: Levels, yeses: Levels) -> NDArray[np.float64]:
    """Return the bits of so many decisions, in any order, by an adaptive coder without prior knowledge."""
    length = (betaln(0.5, 0.5) - betaln(noes + 0.5, yeses + 0.5)) / np.log(2)
    return np.asarray(length, dtype=np.float64)
