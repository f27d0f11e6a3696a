"""Sums over the run by device, quality by budget, and trajectories of single devices, as arrays.

This module does not know figures or pages. A mean over time weights a state by its duration, as in the
summary.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emulator.metrics.row_index import DeviceStates
from emulator.report.time_series import (
    FINEST_S,
    STATE,
    Columns,
    FleetViews,
    FloatArray,
    bin_of,
    log_edges,
    time_grid,
)
from emulator.run_directory.event_log import Tables
from wire.units import NS_PER_S, approximate_bytes

BUDGET_BINS = 16
MAX_POINTS = 600
"""Largest number of points of one device's trajectory."""


@dataclass(frozen=True)
class QualityByBudget:
    """Quality by budget: each point is a mean over the device time in a range of budgets."""

    edges_bytes: FloatArray
    share: FloatArray
    """Share of the device time in each bin."""
    budget_bytes: FloatArray
    """Mean budget of each bin with any device time; so are the three below."""
    weight: FloatArray
    """Share of the device time."""
    ratio: FloatArray
    """NDCG@10 of the PEE held ÷ that of the full table."""
    best_ratio: FloatArray
    """The same for the best PEE for the budget."""


def quality_by_budget(
    states: Columns, fleet: FleetViews, bins: int = BUDGET_BINS
) -> dict[str, QualityByBudget]:
    """Return quality by budget for each view, with the same edges.

    Args:
        states: the quality table with device numbers and ``seconds``, see `DeviceStates.with_seconds`.
        fleet: the devices.
        bins: largest number of ranges of budgets.
    """
    edges = log_edges(_budgets(states), bins)
    return {
        name: _elasticity(_pick(states, np.isin(states["device"], members)), edges)
        for name, members in fleet.views.items()
    }


def _elasticity(states: Columns, edges: FloatArray) -> QualityByBudget:
    count = max(len(edges) - 1, 0)
    budget, seconds = _budgets(states), states["seconds"]
    bin_ = bin_of(budget, edges) if count else np.empty(0, dtype=np.int64)

    def total(values: FloatArray | float) -> FloatArray:
        return np.bincount(bin_, seconds * values, count).astype(np.float64)

    time, full = total(1.0), total(states["full_ndcg_at_10"])
    ndcg, best = total(states["ndcg_at_10"]), total(states["best_ndcg_at_10"])
    some = full > 0  # without any quality of the full table a ratio has no meaning
    share = time / max(float(time.sum()), FINEST_S)
    return QualityByBudget(
        edges,
        share,
        total(budget)[some] / time[some],
        share[some],
        ndcg[some] / full[some],
        best[some] / full[some],
    )


def _budgets(states: Columns) -> FloatArray:
    """Return the budgets, at least 1, since a logarithmic axis has no 0."""
    return np.maximum(states["budget_bytes"], 1).astype(np.float64)


def _pick(columns: Columns, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: values[rows] for name, values in columns.items()}


@dataclass(frozen=True)
class DeviceTotals:
    """Sums over the run by device number."""

    seconds: FloatArray
    over_seconds: FloatArray
    ndcg: FloatArray
    """NDCG@10 times seconds; so are the two below."""
    best: FloatArray
    full: FloatArray
    changes: FloatArray
    update_bytes: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """Quality as a share of that of the full table; NaN if the full table has none."""
        return _ratio(self.ndcg, self.full)

    @property
    def regret(self) -> FloatArray:
        """Mean over time of the NDCG@10 that the best PEE for the budget would have had more."""
        return _ratio(self.best - self.ndcg, self.seconds)


def sum_by_device(tables: Tables, states: Columns, fleet: FleetViews) -> DeviceTotals:
    """Return the sums by device.

    Args:
        tables: the event tables.
        states: the quality table with device numbers and ``seconds``, see `DeviceStates.with_seconds`.
        fleet: the devices.
    """
    device, seconds = states["device"], states["seconds"]
    updates, changes = fleet.numbered(tables["update"]), fleet.numbered(tables["budget"])

    def weigh(values: NDArray[Any]) -> FloatArray:
        return np.bincount(device, seconds * values, fleet.size).astype(np.float64)

    return DeviceTotals(
        seconds=weigh(np.ones(len(device))),
        over_seconds=weigh(states["resident_bytes"] > states["budget_bytes"]),
        ndcg=weigh(states["ndcg_at_10"]),
        best=weigh(states["best_ndcg_at_10"]),
        full=weigh(states["full_ndcg_at_10"]),
        changes=np.bincount(changes["device"].to_numpy(), minlength=fleet.size).astype(np.float64),
        update_bytes=np.bincount(
            updates["device"].to_numpy(), updates["update_bytes"].to_numpy(), fleet.size
        ).astype(np.float64),
    )


def number_states(quality: pa.Table, fleet: FleetViews, stop_ns: int) -> Columns:
    """Return the quality table by device, with device numbers and the ``seconds`` that each state lasted."""
    numbered = fleet.numbered(quality)
    columns = {name: numbered[name].to_numpy() for name in numbered.column_names}
    return DeviceStates.from_rows(columns, stop_ns).with_seconds


@dataclass(frozen=True)
class DeviceTrajectory:
    """One device over time; a point lasts until the next, and the last one is at the stop time."""

    device: str
    group: str
    reason: str
    seconds: FloatArray
    budget_bytes: FloatArray
    resident_bytes: FloatArray
    ndcg: FloatArray
    best: FloatArray
    full: FloatArray
    sampled: bool
    """True if there were too many states to show all."""


def extract_trajectories(
    states: Columns, fleet: FleetViews, sums: DeviceTotals, stop_ns: int
) -> list[DeviceTrajectory]:
    """Return the trajectories of the chosen devices."""
    return [
        _trajectory(_pick(states, states["device"] == number), fleet, number, reason, stop_ns)
        for number, reason in choose_devices(sums)
    ]


@dataclass(frozen=True)
class _Reason:
    """A reason to show a device: it has the highest score, and the score is *above* a limit."""

    scores: FloatArray
    text: Callable[[int], str]
    above: float = -np.inf


def _reasons(sums: DeviceTotals) -> Iterator[_Reason]:
    ratio, regret = sums.ratio, sums.regret
    median = np.nanmedian(ratio) if np.isfinite(ratio).any() else np.nan

    def quality(number: int) -> str:
        return f"{100 * ratio[number]:.1f} % of full"

    yield _Reason(-ratio, lambda number: f"lowest quality: {quality(number)}")
    yield _Reason(sums.changes, lambda number: f"most budget changes: {sums.changes[number]:,.0f}")
    yield _Reason(
        sums.update_bytes,
        lambda number: f"most update bytes: {approximate_bytes(sums.update_bytes[number])}",
        0,
    )
    yield _Reason(regret, lambda number: f"highest regret: {regret[number]:.2g} NDCG@10 on average", 0)
    yield _Reason(
        sums.over_seconds, lambda number: f"longest over budget: {sums.over_seconds[number]:,.3g} s", 0
    )
    yield _Reason(-np.abs(ratio - median), lambda number: f"median quality: {quality(number)}")


def choose_devices(sums: DeviceTotals) -> list[tuple[int, str]]:
    """Return device numbers with the reasons for showing them; no device twice, among equals the first."""
    chosen: dict[int, str] = {}
    for reason in _reasons(sums):
        scores = np.where((sums.seconds > 0) & np.isfinite(reason.scores), reason.scores, -np.inf)
        scores[list(chosen)] = -np.inf
        best = int(scores.argmax())
        if scores[best] > reason.above:
            chosen[best] = reason.text(best)
    return list(chosen.items())


def _trajectory(
    states: Columns, fleet: FleetViews, number: int, reason: str, stop_ns: int
) -> DeviceTrajectory:
    rows = np.flatnonzero(states["t_ns"] <= stop_ns)
    sampled = len(rows) > MAX_POINTS
    if sampled:
        grid = time_grid(stop_ns, MAX_POINTS)
        after = np.searchsorted(states["t_ns"], grid, side="right")
        rows, times = np.maximum(after - 1, 0)[after > 0], grid[after > 0]
    else:
        rows, times = np.append(rows, rows[-1:]), np.append(states["t_ns"][rows], stop_ns)
    budget, resident, ndcg, best, full = (states[name][rows].astype(np.float64) for name in STATE)
    return DeviceTrajectory(
        fleet.names[number],
        fleet.groups[fleet.group[number]],
        reason,
        times / NS_PER_S,
        budget,
        resident,
        ndcg,
        best,
        full,
        sampled,
    )


def _ratio(values: FloatArray, totals: FloatArray) -> FloatArray:
    ratio = np.full(len(values), np.nan)
    np.divide(values, totals, out=ratio, where=totals > 0)
    return ratio


def _divide(value: float, whole: float) -> float | None:
    return value / whole if whole else None
