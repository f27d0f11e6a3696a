"""Intervals of a difference between two 95th percentiles, which are sums of nothing."""

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
"""Of more events every so manieth in their order stands for those around it."""


@dataclass(frozen=True)
class SortedEvents:
    """Events in the order of their values, and the unit of each."""

    unit: IntArray
    values: FloatArray

    @classmethod
    def of(cls, events: DeviceEvents, units: IntArray) -> "SortedEvents":
        """Return *events* of rows, which belong to *units*."""
        order = np.argsort(events.values, kind="stable")
        order = order[:: -(-len(order) // _MAX_EVENTS) or 1]
        return cls(units[events.device[order]], events.values[order])

    def p95(self, weights: FloatArray) -> float:
        """Return the percentile where each unit counts as often as *weights* say; NaN of nothing."""
        done = np.cumsum(weights[self.unit])
        if not len(done) or not done[-1]:
            return float("nan")
        return float(self.values[min(np.searchsorted(done, done[-1] * P95 / 100), len(done) - 1)])


def estimate_p95_difference(
    judged: MetricDifference,
    values: tuple[float, float],
    sides: Sequence[tuple[SortedEvents, SortedEvents]],
    units: int,
    level: float,
    bounds: tuple[float, float],
) -> MetricDifference:
    """Return *judged*, which compares shares of slow events, as the comparison of the percentiles.

    Args:
        judged: of the shares of events above the percentile of both sides.
        values: the percentiles.
        sides: of each pair of runs, the events of either side.
        units: how many units are drawn.
        level: of this interval alone.
        bounds: no interval reaches beyond them.
    """
    difference = values[1] - values[0] if not judged.equal else 0.0
    low, high = -np.inf, np.inf
    if judged.judged and judged.general:
        rng = stream(0, "percentile", units)
        found = np.array([_difference(sides, _draw(rng, units)) for _ in range(RESAMPLES)])
        found = found[np.isfinite(found)]
        tail = (1 - level) / 2
        low, high = np.quantile(found, [tail, 1 - tail]) if len(found) else (low, high)
        low, high = min(float(low), difference), max(float(high), difference)
    return replace(
        judged,
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
