"""Metrics of budget changes. They are computed from the budget table."""

from collections.abc import Callable

import numpy as np

from emulator.metrics.aggregates import Aggregate, Counter, Ratio, Trend
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import IntArray
from wire.units import NS_PER_S


def _changes(inputs: MetricInputs) -> Counter:
    rows = inputs.budget_changes.rows
    return Counter(rows, np.ones(len(rows.device), dtype=np.int64))


def _steps(inputs: MetricInputs) -> Trend:
    changes = inputs.budget_changes
    return Trend(changes.rows.select(changes.later), changes.step[changes.later], 1)


def _evicted(inputs: MetricInputs) -> IntArray:
    """Return the bytes that each budget change evicted."""
    of = inputs.budget_changes.columns
    evicted: IntArray = np.maximum(of["resident_before_bytes"] - of["resident_bytes"], 0)
    return evicted


def _time_to_fit(inputs: MetricInputs) -> Trend:
    """Measure for each budget below what was held: the time until what is held fits into it."""
    frame, rows, of = inputs.frame, inputs.budget_changes.rows, inputs.budget_changes.columns
    tight = of["resident_before_bytes"] > of["budget_bytes"]
    selected, states = rows.select(tight), frame.states
    fits = states["resident_bytes"] <= states["budget_bytes"]
    count = len(fits)
    next_fit = np.where(fits, np.arange(count), count)
    next_fit = np.minimum.accumulate(np.append(next_fit, count)[::-1])[::-1]
    state = next_fit[frame.state_of(selected)]  # -1, no state: the last, where nothing fits any more
    found = state < count
    found[found] &= states["device"][state[found]] == selected.device[found]
    until = np.full(len(selected.device), frame.timeline.stop_ns, dtype=np.int64)
    until[found] = frame.start_ns[state[found]]
    until = np.where(of["resident_bytes"][tight] <= of["budget_bytes"][tight], selected.t_ns, until)
    return Trend(selected, np.maximum(until - selected.t_ns, 0), NS_PER_S)


FORMULAS: dict[str, Callable[[MetricInputs], Aggregate]] = {
    "budget_changes": _changes,
    "budget_changes_per_device_hour": lambda inputs: Ratio(inputs.budget_change_count, inputs.device_hours),
    "budget_step_bytes": _steps,
    "local_evictions": lambda inputs: Counter(
        inputs.budget_changes.rows, (_evicted(inputs) > 0).astype(np.int64)
    ),
    "evicted_bytes": lambda inputs: Counter(inputs.budget_changes.rows, _evicted(inputs)),
    "time_to_fit_seconds": _time_to_fit,
}
