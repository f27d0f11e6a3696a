"""Budgets in classes: tenths of the fleet's device time, and the ranges of budgets in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emulator.metrics.row_index import IntArray


@dataclass(frozen=True)
class BudgetRanges:
    """The tenth and the range of each state's budget."""

    names: Sequence[str]
    """Names of the ranges by their least and greatest budget, rising."""
    deciles: IntArray
    """Tenth of each state, from 0."""
    ranges: IntArray
    """Range of each state, an index into *names*."""


def split_by_budget(budget: IntArray, held_ns: IntArray) -> BudgetRanges:
    """Return the tenths and the ranges of states.

    Equal budgets are in the same tenth. If one budget takes more than a tenth of the time, some tenths are
    empty, and there are fewer ranges than ten.

    Args:
        budget: of each state, in bytes.
        held_ns: how long each state lasted.
    """
    if not len(budget) or not held_ns.any():
        edges = np.empty(0, dtype=np.int64)
    else:
        order = np.argsort(budget, kind="stable")
        done = np.cumsum(held_ns[order].astype(np.float64))  # whole numbers, exact up to 2,500 device hours
        edge = np.searchsorted(done * 10, done[-1] * np.arange(1, 10), side="left")
        edges = budget[order][np.minimum(edge, len(order) - 1)]
    deciles = np.searchsorted(edges, budget, side="left").astype(np.int64)
    used, ranges = np.unique(deciles, return_inverse=True)
    members = [budget[ranges == number] for number in range(len(used))]
    names = [f"{int(sizes.min())} to {int(sizes.max())} bytes" for sizes in members]
    return BudgetRanges(names, deciles, ranges.astype(np.int64))
