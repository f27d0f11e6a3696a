"""Rows that metrics are computed from, and their dimensions.

A dimension is a property such as group, network, stage or level of pressure. Devices are numbers here, and
values of a dimension are codes: indices into the dimension's values. A device may change its network, its
user or its state during a run; a row has the value that its device had at the row's time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.event_log import Pressure, labels_of
from emulator.metrics.budget_ranges import split_by_budget
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.row_index import Columns, DeviceStates, FloatArray, IntArray, RowIndex
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import DECILES, METRICS
from wire.units import NS_PER_S

OWN_DIMENSIONS = {
    dimension: values for metric in METRICS.values() for dimension, values in metric.own.items()
}
"""Dimensions that only some metrics have, with their values."""


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows of one kind; each has a device and a time."""

    device: IntArray
    t_ns: IntArray
    own: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Codes of the dimensions that only these rows have."""
    state: IntArray | None = None
    """State of each row, if the rows are pieces of states."""
    parent: "RowSet | None" = None
    """The rows from which these were selected."""
    selected: NDArray[Any] | None = None
    """Mask or indices of these rows in *parent*."""
    cache: dict[str, IntArray] = field(default_factory=dict)

    def select(self, selected: NDArray[Any], **own: NDArray[Any]) -> "RowSet":
        """Return some rows, chosen by a mask or by indices, with further dimensions of their *own*."""
        codes = {name: values[selected] for name, values in self.own.items()} | own
        return RowSet(self.device[selected], self.t_ns[selected], codes, None, self, selected)


@dataclass(frozen=True, eq=False)
class Cells:
    """Rows grouped by all dimensions at once: the rows of a cell have the same value in each dimension."""

    of_row: IntArray
    """Cell of each row."""
    codes: Mapping[str, IntArray]
    """Code of each cell in each dimension; -1: no value."""

    def sum_by(self, sums: Sequence[float], dimension: str, size: int) -> list[float]:
        """Return sums by the *size* values of one dimension, from the sums of the cells."""
        total: list[float] = [0] * size
        for code, value in zip(self.codes[dimension].tolist(), sums, strict=True):
            if code >= 0:
                total[code] += value
        return total


class Frame:
    """The states of a run's devices, and the dimensions of its rows.

    Args:
        devices: the devices.
        timeline: the stages, and when the run ended.
        quality: the columns of the quality table.
    """

    def __init__(self, devices: DeviceTable, timeline: RunTimeline, quality: Columns) -> None:
        self.timeline = timeline
        self.held = DeviceStates.from_rows(quality, timeline.stop_ns)
        self.states = self.held.columns
        """The states of all devices, by device and time."""
        self.devices = devices.with_user_groups(self.states)
        self.start_ns, self.end_ns = self.held.start_ns, self.held.end_ns
        self._cells: dict[RowSet, Cells] = {}
        self._ranges = split_by_budget(self.states["budget_bytes"], self.end_ns - self.start_ns)
        self.index = RowIndex(self.states["device"], self.states["t_ns"])
        """Index of the states."""

    def values(self, dimension: str) -> Sequence[str]:
        """Return the values of a dimension."""
        if dimension in OWN_DIMENSIONS:
            return OWN_DIMENSIONS[dimension]
        if dimension == "stage":
            return [stage.type for stage in self.timeline.stages]
        if dimension == "pressure":
            return labels_of(Pressure)
        if dimension == "budget_range":
            return self._ranges.names
        return DECILES if dimension == "budget_decile" else self.devices.dimensions[dimension].values

    @property
    def dimensions(self) -> Iterable[str]:
        """The dimensions of this run that every row has."""
        stage = ("stage",) if self.timeline.stages else ()
        return (*self.devices.dimensions, *stage, "pressure", "budget_decile", "budget_range")

    def codes(self, rows: RowSet, dimension: str) -> IntArray:
        """Return the code of each row in *dimension*, an index into `values`; -1: no value."""
        if dimension in rows.own:
            return rows.own[dimension]
        if dimension not in rows.cache:
            rows.cache[dimension] = self._codes(rows, dimension)
        return rows.cache[dimension]

    def bins(self, rows: RowSet, dimension: str) -> IntArray:
        """Return the code of each row plus 1, so that no value is 0, as counting by value needs it."""
        key = f"{dimension} bins"
        if key not in rows.cache:
            rows.cache[key] = self.codes(rows, dimension).astype(np.int64) + 1
        return rows.cache[key]

    def cells(self, rows: RowSet) -> Cells:
        """Return *rows* grouped by all dimensions: sums by any one dimension are sums of cells."""
        if rows.parent is not None:
            cells = self.cells(rows.parent)
            return Cells(cells.of_row[rows.selected], cells.codes)
        if rows not in self._cells:
            joint = np.zeros(len(rows.device), dtype=np.int64)
            for dimension in self.dimensions:
                joint = joint * (len(self.values(dimension)) + 1) + self.bins(rows, dimension)
            _, first, of_row = np.unique(joint, return_index=True, return_inverse=True)
            codes = {name: self.codes(rows, name)[first] for name in self.dimensions}
            self._cells[rows] = Cells(of_row, codes)
        return self._cells[rows]

    def state_of(self, rows: RowSet) -> IntArray:
        """Return the state of each row's device; before its first state, that one; -1: it has none."""
        if rows.state is not None:
            return rows.state
        if "state" not in rows.cache:
            if rows.parent is not None:
                rows.cache["state"] = self.state_of(rows.parent)[rows.selected]
            else:
                last = self.index.last(rows.device, rows.t_ns)
                first = self.index.first(rows.device, np.full(len(rows.device), -1, dtype=np.int64))
                rows.cache["state"] = np.where(last >= 0, last, first)
        return rows.cache["state"]

    def _codes(self, rows: RowSet, dimension: str) -> IntArray:
        if rows.parent is not None:
            return self.codes(rows.parent, dimension)[rows.selected]
        if dimension == "stage":
            # The last stage lasts until all exchanges have ended, so that the stages add up to the run.
            ends = np.array([stage.end_ns for stage in self.timeline.stages[:-1]], dtype=np.int64)
            return np.searchsorted(ends, rows.t_ns, side="right").astype(np.int64)
        if dimension in ("pressure", "budget_decile", "budget_range"):
            state = self.state_of(rows)
            of_state = {
                "pressure": self._pressure,
                "budget_decile": self._ranges.deciles,
                "budget_range": self._ranges.ranges,
            }[dimension]
            return np.where(state >= 0, of_state[state], -1) if len(of_state) else state
        return self.devices.dimensions[dimension].at(rows.device, rows.t_ns)

    @cached_property
    def _pressure(self) -> IntArray:
        # Signed, since -1 means no value.
        return self.states["pressure"].astype(np.int64)

    def pieces(self, since_ns: int = 0) -> tuple[RowSet, FloatArray]:
        """Return the states in pieces, and how long each piece lasted, in seconds.

        States are cut at the start and end of a stage, and where a device changes its network.

        Args:
            since_ns: time before it is left out.
        """
        network, stages = self.devices.dimensions.get("network"), self.timeline.stages
        moves: list[int] = network.t_ns.tolist() if network is not None else []
        edges_of_stages = [stage.start_ns for stage in stages] + [stage.end_ns for stage in stages]
        cuts = np.unique(np.array([since_ns, *edges_of_stages, *moves], dtype=np.int64))
        start = np.maximum(self.start_ns, since_ns)
        lasting = np.flatnonzero(self.end_ns > start)
        first = np.searchsorted(cuts, start[lasting], side="right")
        last = np.searchsorted(cuts, self.end_ns[lasting], side="left")
        count = last - first + 1
        state = np.repeat(lasting, count)
        nth = np.arange(len(state)) - np.repeat(np.cumsum(count) - count, count)
        cut = np.repeat(first, count) + nth
        edges = np.append(cuts, np.iinfo(np.int64).max)
        begin = np.where(nth == 0, start[state], edges[np.maximum(cut - 1, 0)])
        end = np.minimum(self.end_ns[state], edges[cut])
        return RowSet(self.states["device"][state], begin, state=state), (end - begin) / NS_PER_S
