"""The differences of all metrics between the two sides of pairs of runs."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise

import numpy as np

from emulator.compare.pairs import RunPair
from emulator.compare.percentiles import SortedEvents, estimate_p95_difference
from emulator.compare.resampling_units import ResamplingUnits
from emulator.compare.statistics import Bounds, MetricDifference, RatioSums, estimate_differences
from emulator.metrics.per_device import Reduction


def compare_pairs(
    pairs: Sequence[RunPair], units: ResamplingUnits, level: float
) -> dict[str, MetricDifference]:
    """Return the difference in each metric between the sides of *pairs*, by the metric's name.

    Args:
        pairs: of runs.
        units: the units of the bootstrap.
        level: probability that all intervals hold.
    """
    by_run = units.kind == "seeds"
    first, second = (
        RatioSums(
            *(
                np.concatenate([getattr(pair.sums[side], part) for pair in pairs])
                for part in ("above", "below")
            )
        )
        for side in (0, 1)
    )
    first, second = (side.sum_by(units.of_row, units.count) for side in (first, second))
    if by_run:
        _insert_p95s(pairs, first, second)
    # The interval of a percentile is computed apart; the others leave it its part of the risk of error.
    share = 1 if by_run else 1 - len(_percentiles(pairs)) / len(pairs[0].metrics)
    estimated = estimate_differences(
        first,
        second,
        1 - (1 - level) * share,
        general=units.enough,
        paired=by_run or pairs[0].same_seed,
        whole_runs=by_run,
        bounds=_bounds([pair.bounds() for pair in pairs]),
    )
    differences = dict(zip((metric.name for metric in pairs[0].metrics), estimated, strict=True))
    return differences if by_run else differences | _compare_p95s(pairs, units, level, differences)


def _percentiles(pairs: Sequence[RunPair]) -> list[int]:
    """Return the columns of metrics that are percentiles."""
    return [column for column, metric in enumerate(pairs[0].metrics) if metric.reduction is Reduction.P95]


def _insert_p95s(pairs: Sequence[RunPair], first: RatioSums, second: RatioSums) -> None:
    """Replace the shares of slow events by the percentiles of each pair of runs."""
    for number, side in enumerate((first, second)):
        values = np.array([pair.p95[number] for pair in pairs])
        for column in _percentiles(pairs):
            side.above[:, column] = np.nan_to_num(values)
            side.below[:, column] = np.isfinite(values)


def _compare_p95s(
    pairs: Sequence[RunPair], units: ResamplingUnits, level: float, shares: dict[str, MetricDifference]
) -> dict[str, MetricDifference]:
    ends = np.cumsum([0, *(pair.rows for pair in pairs)])
    units_of_pairs = [units.of_row[start:end] for start, end in pairwise(ends.tolist())]
    sides = [
        (SortedEvents.from_events(pair.events[0], of_row), SortedEvents.from_events(pair.events[1], of_row))
        for pair, of_row in zip(pairs, units_of_pairs, strict=True)
    ]
    values = [_mean([pair.p95[side] for pair in pairs]) for side in (0, 1)]
    bounds = _bounds([pair.bounds() for pair in pairs])
    differences = {}
    for column in _percentiles(pairs):
        limits = (
            float(bounds.second_low[column] - bounds.first_high[column]),
            float(bounds.second_high[column] - bounds.first_low[column]),
        )
        name, own_level = pairs[0].metrics[column].name, 1 - (1 - level) / len(pairs[0].metrics)
        differences[name] = estimate_p95_difference(
            shares[name], (values[0], values[1]), sides, units.count, own_level, limits
        )
    return differences


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _bounds(of_pairs: Sequence[Bounds]) -> Bounds:
    """Return the bounds over all pairs."""
    limits = {
        field.name: (np.minimum if field.name.endswith("low") else np.maximum).reduce(
            [getattr(bounds, field.name) for bounds in of_pairs]
        )
        for field in fields(Bounds)
    }
    return Bounds(**limits)
