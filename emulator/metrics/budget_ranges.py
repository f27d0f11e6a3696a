"""Tenths of a fleet's device time by budget, and as many ranges as budgets make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class BudgetRanges:
    """Which tenth, and which range, the budget of each state belongs to."""

    words: Sequence[str]
    """The ranges by their least and greatest budget, rising."""
    deciles: IntArray
    """Of each state, from 0."""
    ranges: IntArray
    """Of each state: its range, as its place in *words*."""


def split_by_budget(budget: IntArray, held_ns: IntArray) -> BudgetRanges:
    """Return the tenths and the ranges of states.

    Budgets of one size are never told apart: where they take more than a tenth of the time, tenths are
    empty, and there are fewer ranges than ten.

    Args:
        budget: of each state, in bytes.
        held_ns: how long each state held.
    """
    if not len(budget) or not held_ns.any():
        edges = np.empty(0, dtype=np.int64)
    else:
        order = np.argsort(budget, kind="stable")
        done = np.cumsum(held_ns[order].astype(np.float64))  # whole numbers, exact up to 2,500 device hours
        at = np.searchsorted(done * 10, done[-1] * np.arange(1, 10), side="left")
        edges = budget[order][np.minimum(at, len(order) - 1)]
    deciles = np.searchsorted(edges, budget, side="left").astype(np.int64)
    there, ranges = np.unique(deciles, return_inverse=True)
    found = [budget[ranges == place] for place in range(len(there))]
    words = [f"{int(each.min())} to {int(each.max())} bytes" for each in found]
    return BudgetRanges(words, deciles, ranges.astype(np.int64))
