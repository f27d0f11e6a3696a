"""Metrics of states: levels, device time and ratios over time. They are computed from the quality table."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.aggregates import Aggregate, Counter, Gauge, Level, Ratio, Time, Trend, WeightedSum
from emulator.metrics.frame import RowSet
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.peaks import all_over_budget_seconds, largest_excess
from emulator.metrics.quality_recovery import find_recoveries
from wire.units import NS_PER_S

Values = NDArray[Any]  # Any: numbers or truth values


def _level(inputs: MetricInputs, values: Values) -> Level:
    return Level(inputs.pieces, values.astype(np.float64), inputs.device_time)


def _level_of(column: str, inputs: MetricInputs) -> Level:
    return _level(inputs, inputs.state(column))


def _regret(inputs: MetricInputs) -> Level:
    return _level(inputs, inputs.state("best_ndcg_at_10") - inputs.state("ndcg_at_10"))


def _over_time(inputs: MetricInputs, values: Values) -> WeightedSum:
    """Return the sum of values of pieces, each times its duration."""
    return WeightedSum(inputs.pieces, values * inputs.seconds)


def _ratio_over_time(above: str, below: str, inputs: MetricInputs) -> Ratio:
    return Ratio(_over_time(inputs, inputs.state(above)), _over_time(inputs, inputs.state(below)))


def _excess(inputs: MetricInputs) -> Values:
    excess: Values = inputs.state("resident_bytes") - inputs.state("budget_bytes")
    return excess


def _over_budget(inputs: MetricInputs) -> WeightedSum:
    over = inputs.state("resident_bytes") > inputs.state("budget_bytes")
    return _over_time(inputs, over)


def _all_over_budget(inputs: MetricInputs) -> Gauge:
    rows = inputs.pieces
    end = rows.t_ns + np.rint(inputs.seconds * NS_PER_S).astype(np.int64)
    columns = {"device": rows.device, "start": rows.t_ns, "end": end, "over": _excess(inputs) > 0}
    return Gauge(rows, columns, all_over_budget_seconds)


def _offline(inputs: MetricInputs) -> Time:
    offline = ~inputs.state("online").astype(np.bool_)
    return Time(_over_time(inputs, offline), inputs.device_time)


def _pressure(inputs: MetricInputs) -> Time:
    rows = inputs.pieces
    by_level = RowSet(
        rows.device, rows.t_ns, {"level": inputs.state("pressure")}, rows.state, cache=rows.cache
    )
    return Time(WeightedSum(by_level, inputs.seconds), inputs.device_time)


def _pressure_transitions(inputs: MetricInputs) -> Counter:
    states = inputs.frame.states
    device, level = states["device"], states["pressure"]
    changed = 1 + np.flatnonzero((device[1:] == device[:-1]) & (level[1:] != level[:-1]))
    changed = changed[states["t_ns"][changed] >= inputs.since_ns]
    own = {"from": level[changed - 1], "to": level[changed]}
    rows = RowSet(device[changed], states["t_ns"][changed], own)
    return Counter(rows, np.ones(len(changed), dtype=np.int64))


def _recoveries(inputs: MetricInputs) -> Trend:
    states = inputs.frame.states
    start, span = find_recoveries(states)
    counts = states["t_ns"][start] >= inputs.since_ns
    start, span = start[counts], span[counts]
    return Trend(RowSet(states["device"][start], states["t_ns"][start]), span, NS_PER_S)


_LEVELS = (
    "budget_bytes", "resident_bytes", "ndcg_at_10", "recall_at_20", "hit_rate_at_10", "best_ndcg_at_10",
    "full_ndcg_at_10",
)  # fmt: skip

FORMULAS: dict[str, Callable[[MetricInputs], Aggregate]] = {
    **{name: partial(_level_of, name) for name in _LEVELS},
    "quality_regret": _regret,
    "quality_ratio_to_full": partial(_ratio_over_time, "ndcg_at_10", "full_ndcg_at_10"),
    "quality_recovery_seconds": _recoveries,
    "budget_utilisation": partial(_ratio_over_time, "resident_bytes", "budget_bytes"),
    "device_seconds": lambda inputs: Time(inputs.device_time, inputs.device_time),
    "over_budget_device_seconds": lambda inputs: Time(_over_budget(inputs), inputs.device_time),
    "over_budget_share": lambda inputs: Ratio(_over_budget(inputs), inputs.device_time),
    "over_budget_bytes_max": lambda inputs: Gauge(inputs.pieces, {"excess": _excess(inputs)}, largest_excess),
    "over_budget_all_seconds": _all_over_budget,
    "online_share": lambda inputs: Ratio(_over_time(inputs, inputs.state("online")), inputs.device_time),
    "offline_seconds": _offline,
    "pressure_seconds": _pressure,
    "pressure_transitions": _pressure_transitions,
}
