"""Rows of a range of devices from which metrics are computed, each set made when it is first needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.aggregates import WeightedSum
from emulator.metrics.frame import Frame, RowSet
from emulator.metrics.row_index import Columns, IntArray, order_by_device
from scenarios.catalogue.metrics import DIRECTIONS
from wire.units import NS_PER_S

_FIRST, _UP, _DOWN = (DIRECTIONS.index(direction) for direction in ("first", "up", "down"))


@dataclass(frozen=True)
class BudgetChanges:
    """The budget changes of a run."""

    rows: RowSet
    columns: Columns
    step: IntArray
    """Size of each change in bytes; 0 for the first budget of a device."""

    @property
    def later(self) -> NDArray[np.bool_]:
        """Mask of the changes that are not the first budget of a device."""
        return np.asarray(self.rows.own["direction"] != _FIRST)


class MetricInputs:
    """The event tables of a range of devices as rows for metrics.

    An exchange counts at the time at which its report was sent, another event at its own time. A state is cut
    into pieces where a stage begins or ends, or its device changes its network.

    Args:
        frame: the devices and their states.
        tables: the columns of the event tables, with numbers for devices and labels.
        since_ns: rows before this time are left out.
    """

    def __init__(self, frame: Frame, tables: Mapping[str, Columns], since_ns: int) -> None:
        self.frame = frame
        self.tables = tables
        self.since_ns = since_ns
        self._rows: dict[object, tuple[RowSet, Columns]] = {}
        self._sums: dict[str, WeightedSum] = {}
        self._exchanges: dict[object, tuple[RowSet, NDArray[np.bool_]]] = {}

    def rows(self, table: str, t: str = "t_ns", **own: str) -> tuple[RowSet, Columns]:
        """Return the rows of an event table that count, and their columns; the same rows each time.

        Args:
            table: its name.
            t: the column with the time of a row.
            own: dimensions that only these rows have, each with its column.
        """
        key = table, t, tuple(own.items())
        if key not in self._rows:
            self._rows[key] = self._new_rows(table, t, own)
        return self._rows[key]

    def _new_rows(self, table: str, t: str, own: Mapping[str, str]) -> tuple[RowSet, Columns]:
        columns = self.tables[table]
        if self.since_ns > 0:
            counts = columns[t] >= self.since_ns
            columns = {name: values[counts] for name, values in columns.items()}
        codes = {dimension: columns[column] for dimension, column in own.items()}
        return RowSet(columns["device"], columns[t].astype(np.int64, copy=False), codes), columns

    @cached_property
    def exchanges(self) -> tuple[RowSet, Columns]:
        """The exchanges, and the columns of the update table."""
        return self.rows("update", "sent_ns", cause="cause", result="result", sent="sent")

    def exchanges_where(
        self, condition: Callable[[Columns], NDArray[np.bool_]]
    ) -> tuple[RowSet, NDArray[np.bool_]]:
        """Return the exchanges for which *condition* holds, and their mask; the same rows each time."""
        if condition not in self._exchanges:
            rows, of = self.exchanges
            mask = condition(of)
            self._exchanges[condition] = rows.select(mask), mask
        return self._exchanges[condition]

    def exchange_sum(self, column: str) -> WeightedSum:
        """Return the sum over exchanges of a column of the update table."""
        if column not in self._sums:
            rows, of = self.exchanges
            self._sums[column] = WeightedSum(rows, of[column])
        return self._sums[column]

    @cached_property
    def _pieces(self) -> tuple[RowSet, IntArray]:
        return self.frame.pieces(self.since_ns)

    @property
    def pieces(self) -> RowSet:
        """The pieces of states."""
        return self._pieces[0]

    @property
    def lasting_ns(self) -> IntArray:
        """Duration of each piece of a state."""
        return self._pieces[1]

    def over_time(self, values: NDArray[Any]) -> WeightedSum:  # Any: truth values or numbers
        """Return the sum of values of pieces, each times its duration in seconds."""
        if values.dtype.kind == "b":
            return WeightedSum(self.pieces, values * self.lasting_ns, NS_PER_S)
        return WeightedSum(self.pieces, values * (self.lasting_ns / NS_PER_S))

    def state(self, column: str) -> NDArray[Any]:  # Any: columns differ in type
        """Return a column of the quality table, piece by piece."""
        return self.by_piece(self.frame.states[column])

    def by_piece(self, of_state: NDArray[Any]) -> NDArray[Any]:  # Any: of any type
        """Return values of states, piece by piece."""
        return of_state[self.pieces.state]

    @cached_property
    def device_time(self) -> WeightedSum:
        """All device time, in seconds."""
        return WeightedSum(self.pieces, self.lasting_ns, NS_PER_S)

    @cached_property
    def device_hours(self) -> WeightedSum:
        """All device time, in hours."""
        return WeightedSum(self.pieces, self.lasting_ns, NS_PER_S * 3600)

    @cached_property
    def budget_changes(self) -> BudgetChanges:
        """The budget changes that count."""
        of = self.tables["budget"]
        order = order_by_device(of)
        device, budget = of["device"][order], of["budget_bytes"][order]
        step = np.diff(budget, prepend=0)
        direction = np.where(step < 0, _DOWN, _UP)
        first = np.diff(device, prepend=-1) != 0
        direction[first] = _FIRST
        counts = of["t_ns"][order] >= self.since_ns
        selected = order[counts]
        columns = {name: values[selected] for name, values in of.items()}
        rows = RowSet(columns["device"], columns["t_ns"], {"direction": direction[counts]})
        return BudgetChanges(rows, columns, np.where(first, 0, np.abs(step))[counts])

    @cached_property
    def budget_change_count(self) -> WeightedSum:
        """The number of budget changes."""
        rows = self.budget_changes.rows
        return WeightedSum(rows, np.ones(len(rows.device), dtype=np.bool_))
