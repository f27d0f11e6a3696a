"""A paired permutation test: how probable a difference is if the sides of each unit are swapped at random.

Rare events and heavy tails make an interval wide. They do not hide from this test that all differing units
differ in the same direction.
"""

import numpy as np

from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

SWAPS = 10_000
_EXACT_UNITS = 13
"""Up to this number of differing units all possible swaps are tried."""
_OFTEN = 100
"""After a sum was reached this often, its probability is known well enough."""
_SELDOM = 1e-5
"""Probabilities below this are not computed more exactly."""
_CHUNK = 500
_ROUNDING = 1e-9


def sign_test(scores: FloatArray, swaps: int = SWAPS) -> FloatArray:
    """Return for each metric the probability that swapped sides differ at least as much, in any direction.

    Args:
        scores: contribution of each unit to the difference, shape (N, K).
        swaps: number of random swaps if there are too many units to try all.
    """
    total = np.abs(scores.sum(axis=0))
    # No sum of swapped scores exceeds z times their root sum of squares more often than this (Hoeffding).
    square = (scores**2).sum(axis=0)
    ratio = np.divide(total**2, square, out=np.zeros_like(total), where=square > 0)
    p = np.minimum(2 * np.exp(-ratio / 2), 1.0)
    doubtful = np.flatnonzero(p > _SELDOM)
    p[doubtful] = _sampled_probabilities(scores[:, doubtful], swaps)
    for metric in doubtful:
        few = scores[:, metric][scores[:, metric] != 0]
        if len(few) <= _EXACT_UNITS:
            p[metric] = np.mean(np.abs(_all_signs(len(few)) @ few) >= _sums_to_reach(few[:, None])[0])
    return np.asarray(p)


def _sums_to_reach(scores: FloatArray) -> FloatArray:
    """Return the sums that swapped sums must reach, less a tolerance for rounding."""
    return np.asarray(np.abs(scores.sum(axis=0)) - _ROUNDING * np.abs(scores).sum(axis=0))


def _sampled_probabilities(scores: FloatArray, swaps: int) -> FloatArray:
    """Return how often sums of scores with random signs reach the actual sums."""
    units, metrics = scores.shape
    needed, reached, done = _sums_to_reach(scores), np.ones(metrics), np.ones(metrics)
    rng, open_ = stream(0, "signs", units), np.arange(metrics)
    for _ in range(0, swaps, _CHUNK):
        if not len(open_):
            break
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(_CHUNK, units), dtype=np.int8)
        reached[open_] += np.count_nonzero(np.abs(signs @ scores[:, open_]) >= needed[open_], axis=0)
        done[open_] += _CHUNK
        open_ = open_[reached[open_] <= _OFTEN]
    return np.asarray(reached / done)


def _all_signs(units: int) -> FloatArray:
    """Return all combinations of signs for *units*: (2 ** units, units)."""
    ways = np.arange(2**units)[:, None] >> np.arange(units) & 1
    return np.asarray(1.0 - 2.0 * ways)


def adjust_for_all_metrics(p: FloatArray) -> FloatArray:
    """Return probabilities that hold for all metrics together, by Holm's method."""
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjust_for_all_metrics = np.empty(len(p))
    adjust_for_all_metrics[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjust_for_all_metrics
