"""A paired test: would the difference be as large if it were chance which side of a unit is which?

The sides of each unit are swapped at random, many times. Rare events and heavy tails widen an interval;
they do not hide that every unit which differs differs in the same direction.
"""

import numpy as np

from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

SWAPS = 10_000
_EXACT_UNITS = 13
"""With so few units that differ all ways to swap them are tried."""
_OFTEN = 100
"""Where a sum was reached more often than this, it is known well enough how often that is."""
_SELDOM = 1e-5
"""A chance below this is small enough, however small it is."""
_CHUNK = 500
_ROUNDING = 1e-9


def sign_test(scores: FloatArray, swaps: int = SWAPS) -> FloatArray:
    """Return for each metric how often swapped sides differ as much as they do, either way.

    Args:
        scores: what each unit adds to the difference, shape (N, K).
        swaps: how many times sides are swapped at random where there are too many ways to try all.
    """
    whole = np.abs(scores.sum(axis=0))
    # No sum of swapped scores exceeds z times their root sum of squares more often than this (Hoeffding).
    square = (scores**2).sum(axis=0)
    ratio = np.divide(whole**2, square, out=np.zeros_like(whole), where=square > 0)
    found = np.minimum(2 * np.exp(-ratio / 2), 1.0)
    doubtful = np.flatnonzero(found > _SELDOM)
    found[doubtful] = _sampled_probabilities(scores[:, doubtful], swaps)
    for at in doubtful:
        few = scores[:, at][scores[:, at] != 0]
        if len(few) <= _EXACT_UNITS:
            found[at] = np.mean(np.abs(_all_signs(len(few)) @ few) >= _sums_to_reach(few[:, None])[0])
    return np.asarray(found)


def _sums_to_reach(scores: FloatArray) -> FloatArray:
    """Return the sums that others must reach: rounding does not count."""
    return np.asarray(np.abs(scores.sum(axis=0)) - _ROUNDING * np.abs(scores).sum(axis=0))


def _sampled_probabilities(scores: FloatArray, swaps: int) -> FloatArray:
    """Return how often sums of scores with signs drawn anew reach those that are there."""
    units, metrics = scores.shape
    wanted, reached, done = _sums_to_reach(scores), np.ones(metrics), np.ones(metrics)
    rng, open_ = stream(0, "signs", units), np.arange(metrics)
    for _ in range(0, swaps, _CHUNK):
        if not len(open_):
            break
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(_CHUNK, units), dtype=np.int8)
        reached[open_] += np.count_nonzero(np.abs(signs @ scores[:, open_]) >= wanted[open_], axis=0)
        done[open_] += _CHUNK
        open_ = open_[reached[open_] <= _OFTEN]
    return np.asarray(reached / done)


def _all_signs(units: int) -> FloatArray:
    """Return all ways to swap the sides of *units*: (2 ** units, units)."""
    ways = np.arange(2**units)[:, None] >> np.arange(units) & 1
    return np.asarray(1.0 - 2.0 * ways)


def adjust_for_all_metrics(sign_test: FloatArray) -> FloatArray:
    """Return probabilities that hold for all metrics together (Holm's method)."""
    order = np.argsort(sign_test, kind="stable")
    steps = sign_test[order] * np.arange(len(sign_test), 0, -1)
    found = np.empty(len(sign_test))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found
