"""Metrics of states: levels, device time and ratios over time. They are computed from the quality table."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.aggregates import (
    Aggregate,
    AllAtOnce,
    Counter,
    Largest,
    Level,
    Ratio,
    Time,
    Trend,
    WeightedSum,
)
from emulator.metrics.frame import RowSet
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.quality_recovery import find_recoveries
from wire.units import NS_PER_S

Values = NDArray[Any]  # Any: numbers or truth values


def _level(inputs: MetricInputs, values: Values) -> Level:
    return Level(inputs.pieces, values.astype(np.float64), inputs.device_time)


def _level_of(column: str, inputs: MetricInputs) -> Level:
    return _level(inputs, inputs.state(column))


def _regret(inputs: MetricInputs) -> Level:
    return _level(inputs, inputs.state("best_ndcg_at_10") - inputs.state("ndcg_at_10"))


def _ratio_over_time(above: str, below: str, inputs: MetricInputs) -> Ratio:
    return Ratio(inputs.over_time(inputs.state(above)), inputs.over_time(inputs.state(below)))


def _excess(inputs: MetricInputs) -> Values:
    excess: Values = inputs.state("resident_bytes") - inputs.state("budget_bytes")
    return excess


def _over_budget(inputs: MetricInputs) -> WeightedSum:
    over = inputs.state("resident_bytes") > inputs.state("budget_bytes")
    return inputs.over_time(over)


def _all_over_budget(inputs: MetricInputs) -> AllAtOnce:
    return AllAtOnce(inputs.pieces, inputs.lasting_ns, _excess(inputs) > 0)


def _offline(inputs: MetricInputs) -> Time:
    offline = ~inputs.state("online").astype(np.bool_)
    return Time(inputs.over_time(offline), inputs.device_time)


def _pressure(inputs: MetricInputs) -> Time:
    rows = inputs.pieces
    by_level = replace(
        rows, own={"level": inputs.state("pressure")}, parent=rows, selected=np.arange(len(rows.device))
    )
    return Time(WeightedSum(by_level, inputs.lasting_ns, NS_PER_S), inputs.device_time)


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
    "over_budget_bytes_max": lambda inputs: Largest(inputs.pieces, _excess(inputs)),
    "over_budget_all_seconds": _all_over_budget,
    "online_share": lambda inputs: Ratio(
        inputs.over_time(inputs.state("online").astype(np.bool_)), inputs.device_time
    ),
    "offline_seconds": _offline,
    "pressure_seconds": _pressure,
    "pressure_transitions": _pressure_transitions,
}
