"""Head items only, entropy-coded: the strongest baseline of one table for all.

Letters: I items, d dimensions.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln  # type: ignore[import-untyped]

from cloud.data.interactions import Interactions
from cloud.training.baselines.basis import rotate_tables
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, by_products
from cloud.training.baselines.scoring import mean_ndcg
from wire.arrays import Float32Array

HEADER_BYTES = 6  # the step as float32, the number of items in 16 bits
CONTEXTS = 14  # magnitudes above are written in Elias's gamma code
MIDDLE = 0.45  # where in its interval a magnitude is put back: small ones are likelier
STEPS = 2.0 ** np.arange(-5.0, 2.5, 0.5)  # as multiples of the root mean square

FALLS = 2
"""The search for a step ends, each way, after so many in a row that are no better than the best."""
FIRST_ROWS = 64
"""Rows among which a prefix that fits is looked for at first; four times as many while all fit."""

Levels = NDArray[np.int64]


@dataclass(frozen=True)
class StepSearch:
    """The step with the best NDCG@20 on validation: from the middle one, both ways."""

    interactions: Interactions
    candidate: Callable[[int, float], Candidate | None]
    """From a budget and a step, as a multiple of the root mean square."""
    sizes: tuple[int, ...] = ()

    def at(self, budget_bytes: int) -> Candidate | None:
        """Return the best candidate within *budget_bytes*, None where no item fits."""

        @functools.cache
        def tried(at: int) -> tuple[float, Candidate | None]:
            candidate = self.candidate(budget_bytes, float(STEPS[at]))
            return self._validation(candidate), candidate

        best = len(STEPS) // 2
        while tried(best)[1] is None and best + 1 < len(STEPS):
            best += 1  # coarser, until anything fits
        for direction in (1, -1):
            at, falls = best, 0
            while falls < FALLS and 0 <= at + direction < len(STEPS):
                at += direction
                best, falls = (at, 0) if tried(at)[0] > tried(best)[0] else (best, falls + 1)
        return tried(best)[1]

    def _validation(self, candidate: Candidate | None) -> float:
        if candidate is None:
            return -1.0
        return mean_ndcg(candidate.scores, self.interactions.train, self.interactions.valid)


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

    def fit(self, full: FullModel, interactions: Interactions) -> StepSearch:
        """Rotate, if asked to, and scale the table."""
        users, items = rotate_tables(full) if self.rotate else (full.users, full.items)
        spread = np.sqrt(np.square(users[: len(full.members)]).mean(axis=0)).clip(1e-12)  # (d,)
        users, items = users / spread, items * spread
        return StepSearch(interactions, functools.partial(_prefix_at, users, items))


def _prefix_at(users: Float32Array, items: Float32Array, budget_bytes: int, step: float) -> Candidate | None:
    """Return the longest prefix of items that fits with a step, as a multiple of the root mean square."""
    step *= float(np.sqrt(np.square(items).mean()))
    levels = quantize(items, step)
    count = most_items(levels, budget_bytes)
    if not count:
        return None
    held = np.arange(len(items)) < count
    note = f"step {step:.3g}, {count} items"
    return by_products(users, dequantize(levels, step), coded_bytes(levels[:count]), note, held)


def quantize(table: Float32Array, step: float) -> Levels:
    """Return whole numbers of steps, towards zero: an interval twice as wide around 0."""
    return np.asarray(np.trunc(table / step), dtype=np.int64)


def dequantize(levels: Levels, step: float) -> Float32Array:
    """Return the numbers that *levels* stand for."""
    return np.asarray((levels + MIDDLE * np.sign(levels)) * step, dtype=np.float32)


def most_items(levels: Levels, budget_bytes: int) -> int:
    """Return how many rows fit; a longer prefix never takes fewer bytes."""
    return longest_prefix(levels, budget_bytes, lambda _count: 0.0)[0]


def longest_prefix(levels: Levels, budget_bytes: int, index_bits: Callable[[int], float]) -> tuple[int, int]:
    """Return the number of rows that fit, and their bytes.

    Args:
        levels: shape (rows, d).
        budget_bytes: the budget.
        index_bits: bits that so many rows take besides.
    """
    rows = min(FIRST_ROWS, len(levels))
    while True:
        lengths = PrefixLengths(np.abs(levels[:rows]))

        def size(count: int, lengths: PrefixLengths = lengths) -> int:
            return HEADER_BYTES + int(np.ceil((lengths.bits(count) + index_bits(count)) / 8)) if count else 0

        if rows == len(levels) or size(rows) > budget_bytes:
            break
        rows = min(4 * rows, len(levels))
    low, high = 0, rows
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= budget_bytes else (low, middle - 1)
    return low, size(low)


def coded_bytes(levels: Levels) -> int:
    """Return the bytes of *levels*, shape (rows, d), header included."""
    return HEADER_BYTES + int(np.ceil(coded_bits(np.abs(levels)) / 8))


def coded_bits(magnitudes: Levels) -> float:
    """Return the code length: a sign for each that is not 0, and each magnitude in unary decisions."""
    return PrefixLengths(magnitudes).bits(len(magnitudes))


class PrefixLengths:
    """The code length of each prefix of rows of *magnitudes*, shape (rows, d), from counts made once."""

    def __init__(self, magnitudes: Levels) -> None:
        numbers = np.arange(len(magnitudes) + 1)[:, None]
        rest, asked = magnitudes, np.broadcast_to(numbers, (len(numbers), magnitudes.shape[1]))
        self._decisions = []
        for bound in range(CONTEXTS):
            above = _counts_before(rest > bound)
            self._decisions.append((asked, above))
            more = above[-1] > 0  # columns that have anything above
            asked, rest = above[:, more], rest[:, more]
        beyond = np.maximum(rest - CONTEXTS + 1, 1)
        escaped = np.where(rest >= CONTEXTS, 2 * np.floor(np.log2(beyond)) + 1, 0.0).sum(axis=1)
        fixed = (magnitudes > 0).sum(axis=1) + escaped
        self._fixed = np.concatenate([[0.0], np.cumsum(fixed)])

    def bits(self, count: int) -> float:
        """Return the code length of the first *count* rows."""
        counts = ((asked[count], above[count]) for asked, above in self._decisions)
        learned = sum(float(_adaptive_bits(asked - above, above).sum()) for asked, above in counts)
        return float(self._fixed[count]) + learned


def _counts_before(chosen: NDArray[np.bool_]) -> Levels:
    """Return the number chosen of each column before each row and in all, shape (rows + 1, columns)."""
    counts = np.zeros((len(chosen) + 1, chosen.shape[1]), dtype=np.int64)
    np.cumsum(chosen, axis=0, out=counts[1:])
    return counts


def _adaptive_bits(noes: Levels, yeses: Levels) -> NDArray[np.float64]:
    """Return the bits of so many decisions, in any order, by an adaptive coder without prior knowledge."""
    length = (betaln(0.5, 0.5) - betaln(noes + 0.5, yeses + 0.5)) / np.log(2)
    return np.asarray(length, dtype=np.float64)
