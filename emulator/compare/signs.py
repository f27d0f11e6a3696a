"""A paired test: would the difference be as large if it were chance which side of a unit is which?

The sides of each unit are swapped at random, many times. Rare events and heavy tails widen an interval;
they do not hide that every unit which differs differs in the same direction.
"""

import numpy as np

from wire.metrics import FloatArray
from wire.streams import stream

SWAPS = 20_000
_EXACT_UNITS = 13
"""With so few units that differ all ways to swap them are tried."""
_OFTEN = 100
"""Where each metric was reached more often than this, it is known well enough how often that is."""
_CHUNK = 500
_ROUNDING = 1e-9


def chances(scores: FloatArray, swaps: int = SWAPS) -> FloatArray:
    """Return for each metric how often swapped sides differ as much as they do, either way.

    Args:
        scores: what each unit adds to the difference, shape (N, K).
        swaps: how many times sides are swapped at random where there are too many ways to try all.
    """
    units, metrics = scores.shape
    wanted = np.abs(scores.sum(axis=0)) - _ROUNDING * np.abs(scores).sum(axis=0)
    rng = stream(0, "signs", units)
    reached = np.ones(metrics)
    done = 0
    while done < swaps and reached.min(initial=_OFTEN + 1) <= _OFTEN:
        size = min(_CHUNK, swaps - done)
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(size, units), dtype=np.int8)
        reached += np.count_nonzero(np.abs(signs @ scores) >= wanted, axis=0)
        done += size
    found = reached / (done + 1)
    for at in range(metrics):
        few = scores[:, at][np.abs(scores[:, at]) > 0]
        if len(few) <= _EXACT_UNITS:
            found[at] = np.mean(np.abs(_all_signs(len(few)) @ few) >= wanted[at])
    return np.asarray(found)


def _all_signs(units: int) -> FloatArray:
    """Return all ways to swap the sides of *units*: (2 ** units, units)."""
    ways = np.arange(2**units)[:, None] >> np.arange(units) & 1
    return np.asarray(1.0 - 2.0 * ways)


def adjusted(chances: FloatArray) -> FloatArray:
    """Return probabilities that hold for all metrics together (Holm's method)."""
    order = np.argsort(chances, kind="stable")
    steps = chances[order] * np.arange(len(chances), 0, -1)
    found = np.empty(len(chances))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found
