"""A recorded run, read from its directory: the budgets, connections and exchanges of each device.

Everything is checked before the replay starts, since a run directory may be damaged or changed by hand.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from devices.event_log import COLUMNS, MessageFault, Pressure
from devices.simulated.budget_trajectory import BudgetTrajectory
from devices.simulated.device_class import DeviceClass
from devices.simulated.recorded import RecordedDevice, RecordedExchange, RecordedExchanges
from devices.simulated.roster import DeviceSpec
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange
from devices.timeline.faults import BrokerFault, Fault, Impairment, LinkFault
from emulator.run_directory.run_tables import Tables
from wire.errors import InputError

IntColumn = NDArray[np.int64]

_USED: Final = {
    "budget": ("order", "free_bytes", "budget_bytes", "pressure"),
    "quality": ("order", "pressure"),
    "connection": ("order", "online", "why"),
    "update": ("seq", "sent_ns", "arrived_ns", "begun_ns", "left_ns", "answered_ns"),
    "fault": ("order", "harm", "seq", "place", "times"),
}
"""Columns that are read from each table, beside time and device."""

_PARTS: Final = (
    MessageFault.PART_DUPLICATED,
    MessageFault.PART_LOST,
    MessageFault.PART_RESENT,
    MessageFault.PART_CORRUPTED,
    MessageFault.PART_REORDERED,
)
"""Impairments of one part of an answer, in the order in which they are logged."""
_REPORTS: Final = (
    MessageFault.REPORT_LOST,
    MessageFault.REPORT_RESENT,
    MessageFault.REPORT_CORRUPTED,
    MessageFault.REPORT_DUPLICATED,
    MessageFault.REPORT_CUT_OFF,
    MessageFault.REPORT_REFUSED,
)


@dataclass(frozen=True)
class RecordedTable:
    """The rows of one table as integers, sorted by device; labels are indices."""

    columns: Mapping[str, IntColumn]
    bounds: IntColumn
    """Index of the first row of each device, by its number, and the end of the last one's rows."""

    def columns_of(self, number: int) -> list[list[int]]:
        """Return the columns of one device, the time first."""
        begin, end = self.bounds[number], self.bounds[number + 1]
        return [column[begin:end].tolist() for column in self.columns.values()]


@dataclass(frozen=True)
class RecordedRun:
    """The budgets, connections and exchanges of each device of a run.

    Args:
        rows: of each table; ``budget`` has changes of pressure, too, with the budget -1.
        faults: of the scenario.
    """

    rows: Mapping[str, RecordedTable]
    faults: Sequence[Fault] = field(repr=False)

    def device(self, enrolled: DeviceSpec, node: DeviceClass, *, exchanges: bool) -> RecordedDevice:
        """Return the recording of a device.

        Args:
            enrolled: the device.
            node: its class of hardware.
            exchanges: True to replay its exchanges, too.
        """
        number = enrolled.number
        toggles = (
            ConnectivityChange(t_ns, bool(online), ConnectivityCause(why))
            for t_ns, online, why in zip(*self.rows["connection"].columns_of(number), strict=True)
        )
        script = RecordedExchanges(self._exchanges(number), self._parts(number)) if exchanges else None
        return RecordedDevice(self._trajectory(number, node), toggles, script)

    def _trajectory(self, number: int, node: DeviceClass) -> BudgetTrajectory:
        now = budget_bytes = 0
        for t_ns, free_bytes, changed_bytes, pressure in zip(
            *self.rows["budget"].columns_of(number), strict=True
        ):
            if changed_bytes >= 0:
                budget_bytes = changed_bytes
            else:
                free_bytes = free_bytes_at(node, Pressure(pressure))
            yield t_ns - now, free_bytes, budget_bytes
            now = t_ns

    def _exchanges(self, number: int) -> dict[int, RecordedExchange]:
        kinds: dict[int, dict[MessageFault, tuple[int, int]]] = defaultdict(dict)
        for _, kind, seq, place, times in zip(*self.rows["fault"].columns_of(number), strict=True):
            if kind in _REPORTS:
                kinds[seq][MessageFault(kind)] = place, times
        return {
            seq: _exchange(times, ended_ns, kinds.get(seq, {}))
            for ended_ns, seq, *times in zip(*self.rows["update"].columns_of(number), strict=True)
        }

    def _parts(self, number: int) -> dict[int, list[Impairment]]:
        found: dict[int, list[Impairment]] = defaultdict(list)
        last: tuple[int, int, int] | None = None
        for t_ns, kind, seq, place, times in zip(*self.rows["fault"].columns_of(number), strict=True):
            if kind not in _PARTS:
                continue
            here = t_ns, seq, _PARTS.index(kind)
            impairments = found[t_ns]
            # Rows belong to the same part as long as they continue in the order of the log.
            if last is None or last[:2] != here[:2] or last[2] >= here[2]:
                impairments.append(Impairment())
            impairments[-1] = self._worse(impairments[-1], MessageFault(kind), place, times)
            last = here
        return dict(found)

    def _worse(self, impairment: Impairment, kind: MessageFault, place: int, times: int) -> Impairment:
        match kind:
            case MessageFault.PART_DUPLICATED:
                return impairment._replace(duplicated=place)
            case MessageFault.PART_LOST:
                return impairment._replace(lost=place, retries=times - 1)
            case MessageFault.PART_RESENT:
                return impairment._replace(resent=place, retries=times)
            case MessageFault.PART_CORRUPTED:
                return impairment._replace(corrupted=place)
        fault = self.faults[place]
        assert isinstance(fault, LinkFault)  # as `read_recorded_run` has checked
        return impairment._replace(held_back=place, held_back_ns=fault.holds_back_ns)


def free_bytes_at(node: DeviceClass, pressure: Pressure) -> int:
    """Return an amount of free memory at which *node* has *pressure*; the recorded amount is not known.

    Raises:
        InputError: there is no such amount.
    """
    edges = (node.memory, node.low * node.memory, node.critical * node.memory, 0)
    for edge in edges:
        for free_bytes in (int(edge), int(edge) + 1):
            if node.pressure(free_bytes) is pressure:
                return free_bytes
    raise InputError(f"the run directory is damaged: no free memory is {pressure.name.lower()} on its node")


def read_recorded_run(
    folder: Path, tables: Tables, names: Sequence[str], faults: Sequence[Fault]
) -> RecordedRun:
    """Return the recorded run of the event tables.

    Args:
        folder: of the tables, for errors.
        tables: the event tables of the run.
        names: device ids by device number.
        faults: of the scenario.

    Raises:
        InputError: the tables contradict the scenario, each other, or the meaning of their columns.
    """
    frames = {name: _TableReader(folder / name, tables[name], names) for name in _USED}
    _check_budgets(frames["budget"])
    _check_updates(frames["update"])
    _check_faults(frames["fault"], faults)
    budget = _with_pressure(frames["budget"], frames["quality"])
    rows = {
        "budget": _rows(budget, ("free_bytes", "budget_bytes", "pressure"), len(names)),
        "connection": _rows(frames["connection"].columns, ("online", "why"), len(names)),
        "update": _rows(frames["update"].columns, _USED["update"], len(names), by="seq"),
        "fault": _rows(frames["fault"].columns, ("harm", "seq", "place", "times"), len(names)),
    }
    return RecordedRun(rows, faults)


class _TableReader:
    """The columns of one table as integers, with checks that name its file."""

    def __init__(self, path: Path, table: pa.Table, names: Sequence[str]) -> None:
        self.path = path
        kinds = COLUMNS[path.stem]
        self.columns = {
            "device": self._labels("device", table["device"], names),
            **{
                name: self._labels(name, table[name], kind)
                if isinstance(kind := kinds[name], tuple)
                else self._numbers(name, table[name].fill_null(1) if name == "times" else table[name])
                for name in ("t_ns", *_USED[path.stem])
            },
        }
        self.check(self.columns["t_ns"] < 0, "t_ns", "must not be negative")

    def check(self, wrong: NDArray[np.bool_], name: str, rule: str) -> None:
        """Check that no row is *wrong*.

        Raises:
            InputError: the first wrong row, with the *rule* that it breaks.
        """
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise self.error(int(rows[0]), name, self.columns[name][rows[0]], rule)

    def error(self, row: int, name: str, value: object, rule: str) -> InputError:
        """Return the error for a *value* of a row."""
        return InputError(
            f"{self.path}: row {row + 1}: the run directory is damaged: {name}(={value}) {rule}"
        )

    def _numbers(self, name: str, column: pa.ChunkedArray) -> IntColumn:
        if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
            raise InputError(f"{self.path}: the run directory is damaged: {name} must be whole numbers")
        numbers: IntColumn = column.to_numpy().astype(np.int64)
        return numbers

    def _labels(self, name: str, column: pa.ChunkedArray, labels: Sequence[str]) -> IntColumn:
        if not pa.types.is_string(column.type):
            raise InputError(f"{self.path}: the run directory is damaged: {name} must be text")
        indices = pc.index_in(column, pa.array(labels, pa.string()))
        if indices.null_count:
            row = indices.is_null().index(True).as_py()
            rule = (
                "is no device of the scenario" if name == "device" else f"must be one of {', '.join(labels)}"
            )
            raise self.error(row, name, column[row], rule)
        numbers: IntColumn = indices.to_numpy().astype(np.int64)
        return numbers


def _check_budgets(frame: _TableReader) -> None:
    for name in ("free_bytes", "budget_bytes"):
        frame.check(frame.columns[name] < 0, name, "must not be negative")


def _check_updates(frame: _TableReader) -> None:
    """Check that times of an exchange are in order, and that no exchange is in the table twice."""
    columns = frame.columns
    moments = ("sent_ns", "arrived_ns", "begun_ns", "left_ns", "answered_ns")
    for before, after in itertools.pairwise(moments):
        early = (columns[after] != -1) & ((columns[after] < columns[before]) | (columns[before] < 0))
        frame.check(early, after, f"must not be before {before}, or be -1")
    frame.check((columns["begun_ns"] >= 0) & (columns["answered_ns"] < 0), "begun_ns", "needs answered_ns")
    order = np.lexsort((columns["seq"], columns["device"]))
    keys = np.stack([columns["device"], columns["seq"]])[:, order]
    twice = np.zeros(len(order), dtype=bool)
    twice[order[1:]] = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    frame.check(twice, "seq", "is there twice")


def _check_faults(frame: _TableReader, faults: Sequence[Fault]) -> None:
    """Check that each impairment comes from a fault that can cause it."""
    numbers, kinds = frame.columns["place"], frame.columns["harm"]
    frame.check(frame.columns["times"] < 1, "times", "must be at least 1")
    unknown = (numbers < -1) | (numbers >= len(faults))
    frame.check(unknown, "place", "must be that of a fault of the scenario, or -1")
    for kind, causes, shown in (
        (MessageFault.PART_REORDERED, _holds_back, "that holds parts back"),
        (MessageFault.REPORT_CUT_OFF, _is_outage, "of the broker"),
    ):
        able = np.array([*(causes(fault) for fault in faults), False])  # the last for number -1
        frame.check((kinds == kind) & ~able[numbers], "place", f"must be that of a fault {shown}")


def _holds_back(fault: Fault) -> bool:
    return isinstance(fault, LinkFault) and fault.holds_back_ns > 0


def _is_outage(fault: Fault) -> bool:
    return isinstance(fault, BrokerFault)


def _with_pressure(budget: _TableReader, quality: _TableReader) -> dict[str, IntColumn]:
    """Return the changes of budgets, and changes of pressure alone with the budget -1.

    If pressure changed without the budget, only the quality table has the change.
    """
    no_budget = np.full(len(quality.columns["t_ns"]), -1, dtype=np.int64)
    more = {"free_bytes": no_budget, "budget_bytes": no_budget, **quality.columns}
    rows = {name: np.concatenate([column, more[name]]) for name, column in budget.columns.items()}
    ordered = np.lexsort((rows["order"], rows["device"]))
    rows = {name: column[ordered] for name, column in rows.items()}
    changed = np.zeros(len(ordered), dtype=bool)
    changed[1:] = (np.diff(rows["device"]) == 0) & (np.diff(rows["pressure"]) != 0)
    kept = (rows["budget_bytes"] >= 0) | changed
    return {name: column[kept] for name, column in rows.items()}


def _rows(
    columns: Mapping[str, IntColumn], names: Sequence[str], devices: int, by: str = "order"
) -> RecordedTable:
    """Return columns sorted by device; the rows of a device are in the order of the column *by*."""
    ordered = np.lexsort((columns[by], columns["t_ns"] if by == "order" else columns[by], columns["device"]))
    bounds = np.searchsorted(columns["device"][ordered], np.arange(devices + 1))
    return RecordedTable({name: columns[name][ordered] for name in ("t_ns", *names)}, bounds)


def _exchange(
    moments: Sequence[int], ended_ns: int, kinds: Mapping[MessageFault, tuple[int, int]]
) -> RecordedExchange:
    sent_ns, arrived_ns, begun_ns, left_ns, answered_ns = moments

    def place(kind: MessageFault) -> int | None:
        return kinds[kind][0] if kind in kinds else None

    lost, resent = kinds.get(MessageFault.REPORT_LOST), kinds.get(MessageFault.REPORT_RESENT)
    retries = lost[1] - 1 if lost is not None else resent[1] if resent is not None else 0
    return RecordedExchange(
        sent_ns,
        arrived_ns,
        begun_ns,
        left_ns,
        answered_ns,
        ended_ns,
        Impairment(
            lost=place(MessageFault.REPORT_LOST),
            corrupted=place(MessageFault.REPORT_CORRUPTED),
            duplicated=place(MessageFault.REPORT_DUPLICATED),
            resent=place(MessageFault.REPORT_RESENT),
            retries=retries,
        ),
        place(MessageFault.REPORT_CUT_OFF),
        MessageFault.REPORT_REFUSED in kinds,
    )
