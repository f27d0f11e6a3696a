"""Model versions over time, as sums that merge: who holds which, who has updated, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from devices.event_log import RolloutStep
from devices.protocol.report_scheduler import ReportCause
from emulator.metrics.row_index import Columns
from emulator.report.keyed_sums import IntArray
from emulator.report.state_series import GRID_STEPS, time_grid
from emulator.report.update_sums import traffic_bins, traffic_edges


@dataclass(frozen=True, eq=False)
class VersionSums:
    """The model versions of a range of devices over time."""

    held: Mapping[int, IntArray]
    """Number of devices that hold each version, at each time of the grid; -1: none."""
    updated: Mapping[int, IntArray]
    """Number of devices of each group of the rollout that have updated, at each time of the grid."""
    model_bytes: IntArray
    """Payload of the updates that a new version caused, by the bins of `traffic_edges`."""

    def merged(self, other: "VersionSums") -> "VersionSums":
        """Return the sums of both."""
        return VersionSums(
            _added(self.held, other.held),
            _added(self.updated, other.updated),
            self.model_bytes + other.model_bytes,
        )


def _added(first: Mapping[int, IntArray], second: Mapping[int, IntArray]) -> dict[int, IntArray]:
    none = np.zeros(GRID_STEPS + 1, dtype=np.int64)
    return {key: first.get(key, none) + second.get(key, none) for key in sorted({*first, *second})}


def sum_versions(tables: Mapping[str, Columns], states: Columns, stop_ns: int) -> VersionSums:
    """Return the sums of a range of devices.

    Args:
        tables: the columns of the event tables.
        states: the quality table, by device and time, of each moment the last state.
        stop_ns: the end of the run.
    """
    grid = time_grid(stop_ns)
    first = np.searchsorted(grid, states["t_ns"], side="left")
    end = np.full(len(first), len(grid), dtype=np.int64)
    same = states["device"][1:] == states["device"][:-1]
    end[:-1][same] = first[1:][same]
    held = {}
    for version in np.unique(states["version"]).tolist():
        own = states["version"] == version
        held[version] = _running(first[own], len(grid)) - _running(end[own], len(grid))
    rollout = tables["rollout"]
    done = rollout["step"] == RolloutStep.UPDATED
    times = np.searchsorted(grid, rollout["t_ns"], side="left")
    updated = {
        group: _running(times[done & (rollout["group"] == group)], len(grid))
        for group in np.unique(rollout["group"]).tolist()
    }
    updates = tables["update"]
    edges = traffic_edges(stop_ns)
    model_bytes = np.zeros(len(edges) - 1, dtype=np.int64)
    caused = updates["cause"] == ReportCause.MODEL
    bins = traffic_bins(updates["sent_ns"][caused], edges, stop_ns)
    np.add.at(model_bytes, bins, updates["update_bytes"][caused].astype(np.int64))
    return VersionSums(held, updated, model_bytes)


def _running(times: IntArray, count: int) -> IntArray:
    """Return the number of *times*, places in a grid, that have come at each place of the grid."""
    return np.cumsum(np.bincount(times, minlength=count + 1)[:count]).astype(np.int64)
