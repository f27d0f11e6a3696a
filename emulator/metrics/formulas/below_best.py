"""Metrics of what devices hold against what they could: below the best PEE, below full quality."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.aggregates import Aggregate, Level, Ratio, Time, Trend, WeightedSum
from emulator.metrics.frame import RowSet
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.quality_recovery import RECOVERED_SHARE
from emulator.metrics.row_index import BoolArray, FloatArray, IntArray
from wire.units import NS_PER_S

Condition = Callable[[MetricInputs], BoolArray]
"""Returns a mask of states."""


def _below_best(inputs: MetricInputs) -> BoolArray:
    states = inputs.frame.states
    return np.asarray(states["layer"] < states["best_layer"])


def _low_quality(inputs: MetricInputs) -> BoolArray:
    states = inputs.frame.states
    return np.asarray(states["ndcg_at_10"] < RECOVERED_SHARE * states["full_ndcg_at_10"])


def _after_first(inputs: MetricInputs) -> BoolArray:
    """Return a mask of the states that are not before the first PEE of their device."""
    device = inputs.frame.states["device"]
    held = inputs.frame.states["layer"] > 0
    count = np.cumsum(held)
    first = np.diff(device, prepend=-1) != 0
    sizes = np.diff(np.append(np.flatnonzero(first), len(device)))
    before: IntArray = np.repeat((count - held)[first], sizes)
    return np.asarray(count > before)


def _time_in(condition: Condition, inputs: MetricInputs) -> WeightedSum:
    return inputs.over_time(inputs.by_piece(condition(inputs)))


def _time(condition: Condition, inputs: MetricInputs) -> Time:
    return Time(_time_in(condition, inputs), inputs.device_time)


def _share(condition: Condition, inputs: MetricInputs) -> Ratio:
    return Ratio(_time_in(condition, inputs), inputs.device_time)


def _later(inputs: MetricInputs, weights: WeightedSum) -> WeightedSum:
    """Return a sum over pieces without those before the first PEE of their device."""
    mask = inputs.by_piece(_after_first(inputs))
    return WeightedSum(inputs.pieces.select(mask), weights.values[mask], weights.per_unit)


def _level(inputs: MetricInputs, values: FloatArray, *, after_first: bool) -> Level:
    if not after_first:
        return Level(inputs.pieces, values, inputs.device_time)
    time = _later(inputs, inputs.device_time)
    return Level(time.rows, values[inputs.by_piece(_after_first(inputs))], time)


def _shortfall(after_first: bool, inputs: MetricInputs) -> Level:
    shortfall = np.maximum(inputs.state("best_ndcg_at_10") - inputs.state("ndcg_at_10"), 0.0)
    return _level(inputs, shortfall, after_first=after_first)


def _ndcg_after_first(inputs: MetricInputs) -> Level:
    return _level(inputs, inputs.state("ndcg_at_10"), after_first=True)


def _ratio_after_first(inputs: MetricInputs) -> Ratio:
    above, below = (
        _later(inputs, inputs.over_time(inputs.state(column))) for column in ("ndcg_at_10", "full_ndcg_at_10")
    )
    return Ratio(above, below)


def _find_spells(inputs: MetricInputs, mask: NDArray[Any]) -> tuple[IntArray, IntArray, IntArray]:
    """Return device, start and end of each spell: consecutive states of a device for which *mask* holds."""
    frame = inputs.frame
    device = frame.states["device"]
    joined = np.zeros(len(mask) + 1, dtype=np.bool_)
    joined[1:-1] = (device[1:] == device[:-1]) & mask[1:] & mask[:-1]
    begins, ends = np.flatnonzero(mask & ~joined[:-1]), np.flatnonzero(mask & ~joined[1:])
    start = np.maximum(frame.start_ns[begins], inputs.since_ns)
    end = frame.end_ns[ends]
    lasting = end > start
    return device[begins][lasting], start[lasting], end[lasting]


def _spells(condition: Condition, inputs: MetricInputs) -> Trend:
    device, start, end = _find_spells(inputs, condition(inputs))
    return Trend(RowSet(device, start), end - start, NS_PER_S)


def _longest_spells(inputs: MetricInputs) -> Trend:
    """Measure each device's longest time below its best PEE; 0 if there was none."""
    device, first = np.unique(inputs.pieces.device, return_index=True)
    longest = np.zeros(len(device), dtype=np.int64)
    begin = inputs.pieces.t_ns[first].copy()
    spells, start, end = _find_spells(inputs, _below_best(inputs))
    owner = np.searchsorted(device, spells)
    # The last spell written for a device is its longest; among equals, the first in time.
    order = np.lexsort((start, -(end - start)))[::-1]
    longest[owner[order]], begin[owner[order]] = (end - start)[order], start[order]
    return Trend(RowSet(device, begin), longest, NS_PER_S)


FORMULAS: dict[str, Callable[[MetricInputs], Aggregate]] = {
    "below_best_seconds": partial(_time, _below_best),
    "below_best_share": partial(_share, _below_best),
    "below_best_spell_seconds": partial(_spells, _below_best),
    "below_best_longest_seconds": _longest_spells,
    "low_quality_seconds": partial(_time, _low_quality),
    "low_quality_share": partial(_share, _low_quality),
    "low_quality_spell_seconds": partial(_spells, _low_quality),
    "quality_shortfall": partial(_shortfall, False),
    "quality_shortfall_after_first": partial(_shortfall, True),
    "ndcg_at_10_after_first": _ndcg_after_first,
    "quality_ratio_to_full_after_first": _ratio_after_first,
}
