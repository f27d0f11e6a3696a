"""Exact intervals of the median difference between runs, for any distribution of the differences.

From a few whole runs nobody can see what happens in fewer runs than that: a rare event may carry most of a
mean and be in none of them. The median is different: how often it lies beyond the greatest of N differences
is known, whatever their distribution (a coin that falls N times on one side; Thompson 1936, David and
Nagaraja, Order Statistics, 7.1).

Letters: N runs, K metrics.
"""

from math import comb

import numpy as np

from wire.ranking_metrics import FloatArray


def median_intervals(differences: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the intervals of the medians; all hold together with probability *level*.

    If there are too few runs for that, an interval is the range of the differences: it misses the median with
    probability ``2 ** (1 - N)``.

    Args:
        differences: of each run in each metric, shape (N, K); NaN if a run has no value.
        level: probability that all intervals hold.

    Returns:
        Two arrays of shape (K,); NaN for a metric without values.
    """
    ordered = np.sort(differences, axis=0)  # NaN last
    counts = np.count_nonzero(np.isfinite(differences), axis=0)
    risk = (1 - level) / differences.shape[1]
    low, high = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    for metric, count in enumerate(counts.tolist()):
        if count:
            rank = _rank(count, risk)
            low[metric], high[metric] = ordered[rank - 1, metric], ordered[count - rank, metric]
    return low, high


def unseen_share(runs: int, level: float = 0.95) -> float:
    """Return the frequency of an event that *runs* runs contain with probability *level*."""
    return float(1 - (1 - level) ** (1 / runs))


def _rank(count: int, risk: float) -> int:
    """Return the highest rank from both ends whose interval misses with at most *risk*; at least 1."""
    missed, rank = 0, 0
    while rank < count // 2:
        missed += comb(count, rank)
        if 2 * missed > risk * 2**count:
            break
        rank += 1
    return max(rank, 1)
