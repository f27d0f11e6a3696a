"""The exact best subset of blocks for a budget, to compare a nested ranking with.

A PEE is the start of a ranking, so the PEEs of two budgets are nested and an update is a slice. The best
subsets of two budgets need not be. This is a knapsack problem: the first blocks of each cell are taken, since
a block builds on those before it, and at least one block of each item group, the floor. Dynamic programming
over bytes solves it in blocks * budget steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from wire.ranking_metrics import FloatArray

Choices = NDArray[np.int16]


@dataclass(frozen=True)
class Chain:
    """The blocks of a cell, in the order in which they build on each other."""

    item_group: int
    weights: tuple[float, ...]
    """The utility of each block, finite."""
    sizes: tuple[int, ...]
    """The stored bytes of each block, at least 1."""

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.sizes):
            raise ValueError(f"weights(={len(self.weights)}) must be as many as sizes(={len(self.sizes)})")
        if not np.isfinite(self.weights).all():
            raise ValueError("the weight of a block must be finite")
        if min(self.sizes, default=1) < 1:
            raise ValueError(f"sizes(={min(self.sizes)}) must be at least 1")

    def prefixes(self) -> list[tuple[int, float]]:
        """Return bytes and weight of the first 0, 1, 2, ... blocks."""
        ends = accumulate(self.sizes, initial=0)
        return list(zip(ends, accumulate(self.weights, initial=0.0), strict=True))


def best_subsets(
    chains: Sequence[Chain], budgets: Sequence[int], *, floor: bool = True
) -> list[tuple[int, ...] | None]:
    """Return, for each budget, how many blocks of each chain make up the heaviest subset that fits.

    Time grows with the blocks times the largest budget, memory with the chains times it: 160 cells of about
    six blocks and 25,000 bytes take a fifth of a second and 8 MB.

    Args:
        chains: in any order.
        budgets: in bytes, 0 or more.
        floor: require at least one block of every item group.

    Returns:
        One of the heaviest subsets for each budget; None if not even the floor fits.
    """
    places = sorted(range(len(chains)), key=lambda place: chains[place].item_group)
    groups = [list(each) for _, each in groupby(places, key=lambda place: chains[place].item_group)]
    best: FloatArray = np.zeros(max(budgets, default=0) + 1)  # by bytes at most
    taken: dict[int, Choices] = {}
    for group in groups:
        best = _with_group([chains[place] for place in group], group, best, taken, floor)
    return [
        _trace(chains, groups, taken, budget) if np.isfinite(best[budget]) else None for budget in budgets
    ]


def _with_group(
    chains: Sequence[Chain], places: Sequence[int], before: FloatArray, taken: dict[int, Choices], floor: bool
) -> FloatArray:
    """Return the best weight by bytes after adding an item group's chains to those *before*.

    Args:
        chains: of one item group.
        places: the row of each chain in *taken*.
        before: the best weights without the group; -inf if the required blocks do not fit.
        taken: filled with the number of blocks taken, by chain and bytes; ~n if n are taken and none of the
            chains before it in the group.
        floor: require at least one block.
    """
    best = np.full_like(before, -np.inf) if floor else before.copy()
    for chain, place in zip(chains, places, strict=True):
        after, choice = best.copy(), np.zeros(len(best), dtype=np.int16)
        for count, (size, weight) in enumerate(chain.prefixes()):
            if count > 0 and size < len(before):
                _improve(after, choice, best, size, weight, count)
                if floor:
                    _improve(after, choice, before, size, weight, ~count)
        best, taken[place] = after, choice
    return best


def _improve(
    after: FloatArray, choice: Choices, start: FloatArray, size: int, weight: float, count: int
) -> None:
    """Write *count* wherever *weight* for *size* more bytes than *start* is better than *after*."""
    offered = start[: len(start) - size] + weight
    better = offered > after[size:]
    after[size:][better] = offered[better]
    choice[size:][better] = count


def _trace(
    chains: Sequence[Chain], groups: Sequence[Sequence[int]], taken: dict[int, Choices], budget: int
) -> tuple[int, ...]:
    """Return how many blocks of each chain make up the best subset for *budget*."""
    counts, left = [0] * len(chains), budget
    for group in reversed(groups):
        for place in reversed(group):
            choice = int(taken[place][left])
            counts[place] = ~choice if choice < 0 else choice
            left -= sum(chains[place].sizes[: counts[place]])
            if choice < 0:
                break  # nothing of the group's chains before it
    return tuple(counts)
