"""Every metric of pairs of runs, judged by the units that chance is drawn from."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise

import numpy as np

from emulator.compare.pairs import RunPair
from emulator.compare.percentiles import SortedEvents, estimate_p95_difference
from emulator.compare.resampling_units import ResamplingUnits
from emulator.compare.statistics import Bounds, MetricDifference, RatioSums, estimate_differences
from emulator.metrics.per_device import COMPARED_METRICS, Reduction

_P95S = [at for at, metric in enumerate(COMPARED_METRICS) if metric.reduction is Reduction.P95]


def compare_pairs(
    pairs: Sequence[RunPair], units: ResamplingUnits, level: float
) -> dict[str, MetricDifference]:
    """Return how the sides of *pairs* differ in each metric, by its name.

    Args:
        pairs: of runs.
        units: what is drawn anew.
        level: with what probability all intervals hold.
    """
    whole = units.kind == "seeds"
    first, second = (
        RatioSums(
            *(
                np.concatenate([getattr(pair.sums[side], part) for pair in pairs])
                for part in ("above", "below")
            )
        )
        for side in (0, 1)
    )
    first, second = (side.by(units.of, units.count) for side in (first, second))
    if whole:
        _put_p95s(pairs, first, second)
    # A percentile's interval is computed apart; it takes its part of the risk from the others.
    own = 1 if whole else 1 - len(_P95S) / len(COMPARED_METRICS)
    judged = estimate_differences(
        first,
        second,
        1 - (1 - level) * own,
        general=units.enough,
        paired=whole or pairs[0].same_lives,
        bounds=_bounds([pair.bounds() for pair in pairs]),
    )
    found = dict(zip((metric.name for metric in COMPARED_METRICS), judged, strict=True))
    return found if whole else found | _p95s(pairs, units, level, found)


def _put_p95s(pairs: Sequence[RunPair], first: RatioSums, second: RatioSums) -> None:
    """Write the percentiles of each pair of runs where the shares of slow events stood."""
    for place, side in enumerate((first, second)):
        values = np.array([pair.p95[place] for pair in pairs])
        for at in _P95S:
            side.above[:, at] = np.nan_to_num(values)
            side.below[:, at] = np.isfinite(values)


def _p95s(
    pairs: Sequence[RunPair], units: ResamplingUnits, level: float, judged: dict[str, MetricDifference]
) -> dict[str, MetricDifference]:
    ends = np.cumsum([0, *(pair.rows for pair in pairs)])
    own = [units.of[start:end] for start, end in pairwise(ends.tolist())]
    sides = [
        (SortedEvents.of(pair.events[0], of), SortedEvents.of(pair.events[1], of))
        for pair, of in zip(pairs, own, strict=True)
    ]
    values = [_mean([pair.p95[side] for pair in pairs]) for side in (0, 1)]
    bounds = _bounds([pair.bounds() for pair in pairs])
    found = {}
    for at in _P95S:
        ends_at = (
            float(bounds.second_low[at] - bounds.first_high[at]),
            float(bounds.second_high[at] - bounds.first_low[at]),
        )
        name, alone = COMPARED_METRICS[at].name, 1 - (1 - level) / len(COMPARED_METRICS)
        found[name] = estimate_p95_difference(
            judged[name], (values[0], values[1]), sides, units.count, alone, ends_at
        )
    return found


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if np.isfinite(value)]
    return float(np.mean(there)) if there else float("nan")


def _bounds(each: Sequence[Bounds]) -> Bounds:
    """Return what holds for all."""
    found = {
        field.name: (np.minimum if field.name.endswith("low") else np.maximum).reduce(
            [getattr(bounds, field.name) for bounds in each]
        )
        for field in fields(Bounds)
    }
    return Bounds(**found)
