"""What a report says by device time: from the tables of a run to arrays.

Nothing in this file knows a figure or a page. Means over time weigh a state by how long it held, as
the summary does.
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
"""Points of one device's course."""


@dataclass(frozen=True)
class QualityByBudget:
    """Quality by budget: each point stands for the device time spent in a range of budgets."""

    edges_bytes: FloatArray
    share: FloatArray
    """Of the device time, per bin."""
    budget_bytes: FloatArray
    """Mean budget, per bin in which any time was spent, like the three below."""
    weight: FloatArray
    """Share of the device time."""
    ratio: FloatArray
    """NDCG@10 of the PEE held to that of the full table."""
    best_ratio: FloatArray
    """The same of the best PEE for the budget."""


def quality_by_budget(
    states: Columns, fleet: FleetViews, bins: int = BUDGET_BINS
) -> dict[str, QualityByBudget]:
    """Return quality by budget for each view, on the same edges.

    Args:
        states: the quality table with device numbers and ``seconds``, see `DeviceStates.with_seconds`.
        fleet: whose they are.
        bins: how many budgets to tell apart at most.
    """
    edges = log_edges(_budgets(states), bins)
    return {
        name: _elasticity(_pick(states, np.isin(states["device"], members)), edges)
        for name, members in fleet.views.items()
    }


def _elasticity(states: Columns, edges: FloatArray) -> QualityByBudget:
    count = max(len(edges) - 1, 0)
    budget, seconds = _budgets(states), states["seconds"]
    place = bin_of(budget, edges) if count else np.empty(0, dtype=np.int64)

    def total(values: FloatArray | float) -> FloatArray:
        return np.bincount(place, seconds * values, count).astype(np.float64)

    time, full = total(1.0), total(states["full_ndcg_at_10"])
    ndcg, best = total(states["ndcg_at_10"]), total(states["best_ndcg_at_10"])
    some = full > 0  # where the full table recommends nothing of use either, a ratio has no meaning
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
    """Return the budgets; one of 0 has no place on a logarithmic axis."""
    return np.maximum(states["budget_bytes"], 1).astype(np.float64)


def _pick(columns: Columns, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: values[rows] for name, values in columns.items()}


@dataclass(frozen=True)
class DeviceTotals:
    """Sums per device over the run, by device number."""

    seconds: FloatArray
    over_seconds: FloatArray
    ndcg: FloatArray
    """NDCG@10 times seconds, like the two below."""
    best: FloatArray
    full: FloatArray
    changes: FloatArray
    update_bytes: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """Quality as a share of full; not a number where the full table has none."""
        return _ratio(self.ndcg, self.full)

    @property
    def regret(self) -> FloatArray:
        """Mean over time of what the best PEE for the budget would have had more."""
        return _ratio(self.best - self.ndcg, self.seconds)


def sum_by_device(tables: Tables, states: Columns, fleet: FleetViews) -> DeviceTotals:
    """Return the sums per device.

    Args:
        tables: the event tables.
        states: the quality table with device numbers and ``seconds``, see `DeviceStates.with_seconds`.
        fleet: whose they are.
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
    """Return the quality table by device, with device numbers and how many ``seconds`` each state held."""
    numbered = fleet.numbered(quality)
    columns = {name: numbered[name].to_numpy() for name in numbered.column_names}
    return DeviceStates.from_rows(columns, stop_ns).with_seconds


@dataclass(frozen=True)
class DeviceTrajectory:
    """One device over time: a row holds until the next, the last one is at the stop time."""

    device: str
    group: str
    why: str
    seconds: FloatArray
    budget_bytes: FloatArray
    resident_bytes: FloatArray
    ndcg: FloatArray
    best: FloatArray
    full: FloatArray
    sampled: bool
    """Whether there was too much to show all of it."""


def extract_trajectories(
    states: Columns, fleet: FleetViews, sums: DeviceTotals, stop_ns: int
) -> list[DeviceTrajectory]:
    """Return the courses of the chosen devices."""
    return [
        _portrait(_pick(states, states["device"] == number), fleet, number, why, stop_ns)
        for number, why in choose_devices(sums)
    ]


@dataclass(frozen=True)
class _Reason:
    """Why to look at a device: it has the highest score, if that is *above* something."""

    scores: FloatArray
    words: Callable[[int], str]
    above: float = -np.inf


def _reasons(sums: DeviceTotals) -> Iterator[_Reason]:
    ratio, regret = sums.ratio, sums.regret
    median = np.nanmedian(ratio) if np.isfinite(ratio).any() else np.nan

    def quality(at: int) -> str:
        return f"{100 * ratio[at]:.1f} % of full"

    yield _Reason(-ratio, lambda at: f"lowest quality: {quality(at)}")
    yield _Reason(sums.changes, lambda at: f"most budget changes: {sums.changes[at]:,.0f}")
    yield _Reason(
        sums.update_bytes, lambda at: f"most update bytes: {approximate_bytes(sums.update_bytes[at])}", 0
    )
    yield _Reason(regret, lambda at: f"highest regret: {regret[at]:.2g} NDCG@10 on average", 0)
    yield _Reason(sums.over_seconds, lambda at: f"longest over budget: {sums.over_seconds[at]:,.3g} s", 0)
    yield _Reason(-np.abs(ratio - median), lambda at: f"median quality: {quality(at)}")


def choose_devices(sums: DeviceTotals) -> list[tuple[int, str]]:
    """Return device numbers, each with why it was chosen; no device twice, of equals the first."""
    chosen: dict[int, str] = {}
    for reason in _reasons(sums):
        scores = np.where((sums.seconds > 0) & np.isfinite(reason.scores), reason.scores, -np.inf)
        scores[list(chosen)] = -np.inf
        best = int(scores.argmax())
        if scores[best] > reason.above:
            chosen[best] = reason.words(best)
    return list(chosen.items())


def _portrait(states: Columns, fleet: FleetViews, number: int, why: str, stop_ns: int) -> DeviceTrajectory:
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
        why,
        times / NS_PER_S,
        budget,
        resident,
        ndcg,
        best,
        full,
        sampled,
    )


def _ratio(values: FloatArray, whole: FloatArray) -> FloatArray:
    ratio = np.full(len(values), np.nan)
    np.divide(values, whole, out=ratio, where=whole > 0)
    return ratio


def _divided(value: float, whole: float) -> float | None:
    return value / whole if whole else None
