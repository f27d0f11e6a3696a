"""Intervals of the difference between two 95th percentiles, which are not ratios of sums."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from emulator.compare.statistics import MetricDifference
from emulator.metrics.per_device import P95, DeviceEvents
from emulator.metrics.row_index import IntArray
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

RESAMPLES = 2_000
_MAX_EVENTS = 50_000
"""Of more events only every n-th in their order is used."""


@dataclass(frozen=True)
class SortedEvents:
    """Events sorted by value, and the unit of each."""

    unit: IntArray
    values: FloatArray

    @classmethod
    def from_events(cls, events: DeviceEvents, units: IntArray) -> "SortedEvents":
        """Return *events* of rows sorted by value; *units* has the unit of each row."""
        values = events.shown
        order = np.argsort(values, kind="stable")
        order = order[:: -(-len(order) // _MAX_EVENTS) or 1]
        return cls(units[events.device[order]], values[order])

    def p95(self, weights: FloatArray) -> float:
        """Return the percentile with a weight for each unit; NaN without events."""
        done = np.cumsum(weights[self.unit])
        if not len(done) or not done[-1]:
            return float("nan")
        return float(self.values[min(np.searchsorted(done, done[-1] * P95 / 100), len(done) - 1)])


def estimate_p95_difference(
    shares: MetricDifference,
    values: tuple[float, float],
    sides: Sequence[tuple[SortedEvents, SortedEvents]],
    units: int,
    level: float,
    bounds: tuple[float, float],
) -> MetricDifference:
    """Return the difference of the percentiles, given the difference of the shares of slow events.

    Args:
        shares: difference of the shares of events above the percentile of both sides together.
        values: the percentiles of both sides.
        sides: for each pair of runs, the events of both sides.
        units: number of units.
        level: probability that this interval alone holds.
        bounds: limits of the interval.
    """
    difference = values[1] - values[0] if not shares.equal else 0.0
    low, high = -np.inf, np.inf
    if shares.judged and shares.general:
        rng = stream(0, "percentile", units)
        drawn = np.array([_difference(sides, _draw(rng, units)) for _ in range(RESAMPLES)])
        drawn = drawn[np.isfinite(drawn)]
        tail = (1 - level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (low, high)
        low, high = min(float(low), difference), max(float(high), difference)
    return replace(
        shares,
        first=values[0],
        second=values[1],
        difference=difference,
        low=max(low, min(bounds[0], difference)),
        high=min(high, max(bounds[1], difference)),
    )


def _draw(rng: np.random.Generator, units: int) -> FloatArray:
    return np.bincount(rng.integers(units, size=units), minlength=units).astype(np.float64)


def _difference(sides: Sequence[tuple[SortedEvents, SortedEvents]], weights: FloatArray) -> float:
    pairs = [(first.p95(weights), second.p95(weights)) for first, second in sides]
    return float(np.mean([second - first for first, second in pairs]))
