"""A recorded run, read from its directory: the budgets, connections and exchanges of each device.

Everything is checked before the replay starts, since a run directory may be damaged or changed by hand.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from devices.event_log import ExchangeResult, MessageFault, Pressure
from devices.simulated.budget_trajectory import BudgetTrajectory
from devices.simulated.device_class import DeviceClass
from devices.simulated.recorded import RecordedDevice, RecordedExchange, RecordedExchanges
from devices.simulated.roster import RANGE_DEVICES, DeviceRange, DeviceSpec
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange
from devices.timeline.faults import BrokerFault, Fault, Impairment, LinkFault
from emulator.run_directory.event_hash import log_sha256, range_sha256
from emulator.run_directory.event_parts import Columns, part_path
from emulator.run_directory.event_reader import EventReader
from emulator.run_directory.layout import EVENTS
from emulator.run_directory.run_tables import damaged
from wire.errors import InputError

IntColumn = NDArray[np.int64]

_USED: Final = {
    "budget": ("order", "free_bytes", "budget_bytes", "pressure"),
    "quality": ("order", "pressure"),
    "connection": ("order", "online", "why"),
    "update": ("seq", "sent_ns", "arrived_ns", "begun_ns", "left_ns", "answered_ns", "result"),
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
    """The rows of one table for a range of devices, as integers, sorted by device; labels are indices."""

    columns: Mapping[str, IntColumn]
    first: int
    """The number of the first device."""
    bounds: IntColumn
    """Index of the first row of each device, and the end of the last one's rows."""

    def columns_of(self, number: int) -> list[list[int]]:
        """Return the columns of one device, the time first."""
        begin, end = self.bounds[number - self.first], self.bounds[number - self.first + 1]
        return [column[begin:end].tolist() for column in self.columns.values()]


class RecordedRun:
    """The budgets, connections and exchanges of each device of a run, read range by range.

    A range is in memory as long as one of its devices lives; the last one, until the next one is read.

    Args:
        folder: the run directory.
        faults: of the scenario.
    """

    def __init__(self, folder: Path, faults: Sequence[Fault]) -> None:
        self._folder = folder
        self._faults = faults
        self._reader = EventReader(folder)
        self._living: WeakValueDictionary[int, RecordedRange] = WeakValueDictionary()
        self._last: RecordedRange | None = None

    def __reduce__(self) -> tuple[type["RecordedRun"], tuple[Path, Sequence[Fault]]]:
        """Name the arguments for a copy in another process, which reads ranges of its own."""
        return RecordedRun, (self._folder, self._faults)

    def check(self) -> str:
        """Check all rows, and return the hash of the event log.

        Raises:
            InputError: rows contradict the scenario, each other, or the meaning of their columns.
        """
        leaves = []
        for devices in self._reader.ranges:
            tables = self._reader.read_range(devices)
            leaves.append(range_sha256(tables))
            read_recorded_range(self._folder, devices, tables, self._faults)
        return log_sha256(leaves)

    def device(self, enrolled: DeviceSpec, node: DeviceClass, *, exchanges: bool) -> RecordedDevice:
        """Return the recording of a device.

        Args:
            enrolled: the device.
            node: its class of hardware.
            exchanges: True to replay its exchanges, too.

        Raises:
            InputError: the recording has been damaged meanwhile.
        """
        index = enrolled.number // RANGE_DEVICES
        recorded = self._living.get(index)
        if recorded is None:
            devices = self._reader.ranges[index]
            tables = self._reader.read_range(devices)
            recorded = read_recorded_range(self._folder, devices, tables, self._faults)
            self._living[index] = recorded
        self._last = recorded
        return recorded.device(enrolled.number, node, exchanges=exchanges)


@dataclass(frozen=True)
class RecordedRange:
    """The budgets, connections and exchanges of the devices of a range.

    Args:
        rows: of each table; ``budget`` has changes of pressure, too, with the budget -1.
        faults: of the scenario.
    """

    rows: Mapping[str, RecordedTable]
    faults: Sequence[Fault] = field(repr=False)

    def device(self, number: int, node: DeviceClass, *, exchanges: bool) -> RecordedDevice:
        """Return the recording of a device."""
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
        assert isinstance(fault, LinkFault)  # as `read_recorded_range` has checked
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


def read_recorded_range(
    folder: Path, devices: DeviceRange, tables: Mapping[str, Columns], faults: Sequence[Fault]
) -> RecordedRange:
    """Return the recording of a range of devices.

    Args:
        folder: the run directory, for errors.
        devices: the range.
        tables: its event tables.
        faults: of the scenario.

    Raises:
        InputError: the rows contradict the scenario, each other, or the meaning of their columns.
    """
    frames = {
        name: _CheckedTable(folder / EVENTS / part_path(name, devices), tables[name], columns)
        for name, columns in _USED.items()
    }
    _check_budgets(frames["budget"])
    _check_updates(frames["update"])
    _check_faults(frames["fault"], faults)
    budget = _with_pressure(frames["budget"], frames["quality"])
    rows = {
        "budget": _rows(budget, ("free_bytes", "budget_bytes", "pressure"), devices),
        "connection": _rows(frames["connection"].columns, ("online", "why"), devices),
        "update": _rows(frames["update"].columns, _USED["update"], devices, by="seq"),
        "fault": _rows(frames["fault"].columns, ("harm", "seq", "place", "times"), devices),
    }
    return RecordedRange(rows, faults)


class _CheckedTable:
    """Some columns of one table as integers, with checks that name its file."""

    def __init__(self, path: Path, columns: Columns, names: Sequence[str]) -> None:
        self.path = path
        self.columns: Mapping[str, IntColumn] = {
            name: columns[name].astype(np.int64) for name in ("device", "t_ns", *names)
        }
        self.check(self.columns["t_ns"] < 0, "t_ns", "must not be negative")

    def check(self, wrong: NDArray[np.bool_], name: str, rule: str) -> None:
        """Check that no row is *wrong*.

        Raises:
            InputError: the first wrong row, with the *rule* that it breaks.
        """
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise damaged(self.path, f"row {rows[0] + 1}: {name}(={self.columns[name][rows[0]]}) {rule}")


def _check_budgets(frame: _CheckedTable) -> None:
    for name in ("free_bytes", "budget_bytes"):
        frame.check(frame.columns[name] < 0, name, "must not be negative")


def _check_updates(frame: _CheckedTable) -> None:
    """Check that times of an exchange are in order, and that no exchange is in the table twice."""
    columns = frame.columns
    moments = ("sent_ns", "arrived_ns", "begun_ns", "left_ns", "answered_ns")
    for before, after in itertools.pairwise(moments):
        early = (columns[after] != -1) & ((columns[after] < columns[before]) | (columns[before] < 0))
        frame.check(early, after, f"must not be before {before}, or be -1")
    # A real cloud takes reports up that it never answers: newer ones overtake them, or they are lost.
    answered = ~np.isin(columns["result"], (ExchangeResult.SUPERSEDED, ExchangeResult.LOST))
    unanswered = (columns["begun_ns"] >= 0) & (columns["answered_ns"] < 0)
    frame.check(unanswered & answered, "begun_ns", "needs answered_ns")
    order = np.lexsort((columns["seq"], columns["device"]))
    keys = np.stack([columns["device"], columns["seq"]])[:, order]
    twice = np.zeros(len(order), dtype=bool)
    twice[order[1:]] = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    frame.check(twice, "seq", "is there twice")


def _check_faults(frame: _CheckedTable, faults: Sequence[Fault]) -> None:
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


def _with_pressure(budget: _CheckedTable, quality: _CheckedTable) -> dict[str, IntColumn]:
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
    columns: Mapping[str, IntColumn], names: Sequence[str], devices: DeviceRange, by: str = "order"
) -> RecordedTable:
    """Return columns sorted by device; the rows of a device are in the order of the column *by*."""
    ordered = np.lexsort((columns[by], columns["t_ns"] if by == "order" else columns[by], columns["device"]))
    bounds = np.searchsorted(columns["device"][ordered], np.arange(devices.first, devices.stop + 1))
    chosen = {name: columns[name][ordered] for name in ("t_ns", *names)}
    return RecordedTable(chosen, devices.first, bounds)


def _exchange(
    moments: Sequence[int], ended_ns: int, kinds: Mapping[MessageFault, tuple[int, int]]
) -> RecordedExchange:
    sent_ns, arrived_ns, begun_ns, left_ns, answered_ns, result = moments

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
        lost=begun_ns >= 0 and result == ExchangeResult.LOST,
    )
