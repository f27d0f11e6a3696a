"""Rows that metrics are computed from, and their dimensions.

A dimension is a property such as group, network, stage or level of pressure. Devices are numbers here, and
values of a dimension are codes: indices into the dimension's values. A device may change its network, its
user or its state during a run; a row has the value that its device had at the row's time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.device_table import DeviceTable
from emulator.metrics.row_index import Columns, DeviceStates, IntArray, RowIndex, find_distinct
from emulator.metrics.scales import NO_CODE
from emulator.metrics.slices import SliceLayout, Slices
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import UNLABELLED


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
    bins: Mapping[str, IntArray]
    """Code of each cell in each dimension, plus 1; 0: no value."""
    count: int


class Frame:
    """The states of a range of devices, and the dimensions of its rows.

    Args:
        devices: the devices of the range.
        timeline: the stages, and when the run ended.
        quality: the columns of the quality table.
        slices: the dimensions of the run.
    """

    def __init__(self, devices: DeviceTable, timeline: RunTimeline, quality: Columns, slices: Slices) -> None:
        self.timeline = timeline
        self.slices = slices
        held = DeviceStates.from_rows(quality, timeline.stop_ns)
        self.states = held.columns
        """The states of all devices, by device and time."""
        self.devices = devices.with_user_groups(self.states)
        self.start_ns, self.end_ns = held.start_ns, held.end_ns
        self.counts: dict[tuple[RowSet, SliceLayout], list[int]] = {}
        """Number of rows by slice, of sets of rows that several metrics share."""
        self._cells: dict[RowSet, Cells] = {}
        self._code_maps: dict[str, IntArray] = {}
        self.index = RowIndex(self.states["device"], self.states["t_ns"])
        """Index of the states."""

    def codes(self, rows: RowSet, dimension: str) -> IntArray:
        """Return the code of each row in *dimension*, an index into its values; -1: no value."""
        if dimension in rows.own:
            return rows.own[dimension]
        if dimension not in rows.cache:
            rows.cache[dimension] = self._codes(rows, dimension)
        return rows.cache[dimension]

    def cells(self, rows: RowSet) -> Cells:
        """Return *rows* grouped by all dimensions: sums by any one dimension are sums of cells."""
        if rows not in self._cells:
            self._cells[rows] = self._new_cells(rows)
        return self._cells[rows]

    def _new_cells(self, rows: RowSet) -> Cells:
        if rows.parent is not None:
            cells = self.cells(rows.parent)
            return Cells(cells.of_row[rows.selected], cells.bins, cells.count)
        joint = np.zeros(len(rows.device), dtype=np.int64)
        sizes = {name: len(self.slices.values(name)) + 1 for name in self.slices.counted}
        for dimension, size in sizes.items():
            joint *= size
            joint += self.codes(rows, dimension) + 1
        used, of_row = find_distinct(joint, math.prod(sizes.values()))
        bins, rest = dict[str, IntArray](), used
        for dimension, size in reversed(sizes.items()):
            rest, bins[dimension] = np.divmod(rest, size)
        return Cells(of_row, bins, len(used))

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
            of_state = self._of_states[dimension]
            return np.where(state >= 0, of_state[state], NO_CODE) if len(of_state) else state
        return self._property_codes(rows, dimension)

    def _property_codes(self, rows: RowSet, dimension: str) -> IntArray:
        """Return the codes of a property of devices; this range may have only some of its values."""
        if dimension not in self.devices.dimensions:
            unlabelled = list(self.slices.values(dimension)).index(UNLABELLED)
            return np.full(len(rows.device), unlabelled, dtype=np.int64)
        known = self.devices.dimensions[dimension]
        if dimension not in self._code_maps:
            self._code_maps[dimension] = self.slices.scales.codes_of(dimension, known)
        return self._code_maps[dimension][known.at(rows.device, rows.t_ns)]

    @cached_property
    def _of_states(self) -> Mapping[str, IntArray]:
        """The code of each state in the dimensions that are properties of states."""
        scales = self.slices.scales
        tenths = scales.tenth_of(self.states["budget_bytes"])
        return {
            # Signed, since -1 means no value.
            "pressure": self.states["pressure"].astype(np.int64),
            "budget_decile": tenths,
            "budget_range": np.searchsorted(np.array(scales.tenths, dtype=np.int64), tenths),
        }

    def pieces(self, since_ns: int = 0) -> tuple[RowSet, IntArray]:
        """Return the states in pieces, and how long each piece lasted, in nanoseconds.

        States are cut at the start and end of a stage, and where their device changes its network.

        Args:
            since_ns: time before it is left out.
        """
        stages = self.timeline.stages
        edges_of_stages = [stage.start_ns for stage in stages] + [stage.end_ns for stage in stages]
        cuts = np.unique(np.array([since_ns, *edges_of_stages], dtype=np.int64))
        start = np.maximum(self.start_ns, since_ns)
        lasting = np.flatnonzero(self.end_ns > start)
        first = np.searchsorted(cuts, start[lasting], side="right")
        last = np.searchsorted(cuts, self.end_ns[lasting], side="left")
        whole = Pieces(lasting, start[lasting], self.end_ns[lasting])
        pieces = whole.cut(cuts, first.astype(np.int64), last.astype(np.int64))
        network = self.devices.dimensions.get("network")
        if network is not None and len(network.device):
            device = self.states["device"][pieces.state]
            moves = RowIndex(network.device, network.t_ns).between(device, pieces.begin, pieces.end)
            pieces = pieces.cut(network.t_ns, *moves)
        rows = RowSet(self.states["device"][pieces.state], pieces.begin, state=pieces.state)
        return rows, pieces.end - pieces.begin


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces of states."""

    state: IntArray
    begin: IntArray
    end: IntArray

    def cut(self, moments: IntArray, first: IntArray, last: IntArray) -> "Pieces":
        """Return the pieces cut at some moments, rising and within each piece.

        Args:
            moments: all moments.
            first: index of the first moment of each piece.
            last: index after its last one.
        """
        count = last - first + 1
        piece = np.repeat(np.arange(len(count)), count)
        nth = np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count)
        cut = np.repeat(first, count) + nth
        edges = np.append(moments, np.iinfo(np.int64).max)
        begin = np.where(nth == 0, self.begin[piece], edges[np.maximum(cut - 1, 0)])
        end = np.where(nth == count[piece] - 1, self.end[piece], edges[np.minimum(cut, len(moments))])
        return Pieces(self.state[piece], begin, end)
