"""Rows that metrics are computed from, and what each belongs to: a group, a stage, a level of pressure...

Devices are numbers here, words are their place in the column's tuple. What a device belongs to may change
while it runs (its network, its user), and so may its state; a row belongs to what held at its time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from devices.event_log import COLUMNS, Pressure, words
from emulator.metrics.budget_ranges import split_by_budget
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import DECILES, LABEL, METRICS, UNLABELLED
from wire.units import NS_PER_S

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Columns = Mapping[str, NDArray[Any]]  # Any: columns differ in type


OWN_DIMENSIONS = {
    dimension: values for metric in METRICS.values() for dimension, values in metric.own.items()
}
"""Dimensions that only some metrics have, with their values."""


@dataclass(frozen=True, eq=False)
class RowIndex:
    """Rows by device and time, to be looked up by them."""

    device: IntArray
    t_ns: IntArray

    @cached_property
    def _times(self) -> IntArray | None:
        """All times, rising, where device and time do not fit into one number: their ranks do then."""
        if (int(self.device.max(initial=0)) + 1) * self._span < 2**62:
            return None
        times = np.sort(self.t_ns)
        return times[np.flatnonzero(np.diff(times, prepend=-1))]

    @cached_property
    def _span(self) -> int:
        return int(self.t_ns.max(initial=0)) + 3

    @cached_property
    def _keys(self) -> IntArray:
        return self._key(self.device, self.t_ns, "left")

    def last(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return for each device and time the last row of that device that is not later; -1: none."""
        found = np.searchsorted(self._keys, self._key(device, t_ns, "right"), side="right")
        return self._of(device, found.astype(np.int64) - 1)

    def first(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return for each device and time the first row of that device that is not earlier; -1: none."""
        found = np.searchsorted(self._keys, self._key(device, t_ns, "left"), side="left")
        return self._of(device, found.astype(np.int64))

    def _key(self, device: IntArray, t_ns: IntArray, side: Literal["left", "right"]) -> IntArray:
        """Return device and time as one number; a time between two of the rows' counts as that on *side*."""
        if self._times is None:
            return device * self._span + np.clip(t_ns, -1, self._span - 2) + 1
        rank = np.searchsorted(self._times, t_ns, side=side) - (side == "right")
        return device * (len(self._times) + 2) + rank + 1

    def _of(self, device: IntArray, found: IntArray) -> IntArray:
        if not len(self.device):
            return np.full(len(device), -1, dtype=np.int64)
        inside = np.clip(found, 0, len(self.device) - 1)
        return np.where((inside == found) & (self.device[inside] == device), found, -1)


@dataclass(frozen=True)
class TimeVarying:
    """What devices belong to: a value each from the start, and changes of it."""

    words: Sequence[str]
    first: IntArray
    """Each device's value from the start, as its place in *words*; -1: none."""
    device: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Of each change, by device and time: the device, when, and to what."""
    t_ns: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    code: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def read(cls, devices: pa.Table, first: str, times: str, then: str) -> Self:
        """Return what the columns *first*, *times* and *then* of the table of devices say."""
        if first not in devices.column_names:
            return cls((), np.full(devices.num_rows, -1))
        start = devices[first].to_pylist()
        later = devices[then].to_pylist() if then in devices.column_names else []
        found = sorted({*start, *(each for values in later for each in values or ())})
        place = {value: at for at, value in enumerate(found)}
        changes = [
            (number, t_ns, place[value])
            for number, (moments, values) in enumerate(
                zip(devices[times].to_pylist() if later else [], later, strict=True)
            )
            for t_ns, value in sorted(zip(moments or (), values or (), strict=True), key=lambda one: one[0])
        ]
        device, t_ns, code = np.array(changes, dtype=np.int64).reshape(-1, 3).T
        return cls(
            [str(each) for each in found], np.array([place[each] for each in start]), device, t_ns, code
        )

    def at(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return the value of each *device* at each *t_ns*."""
        codes = self.first[device] if len(self.first) else np.empty(0, dtype=np.int64)
        if len(self.device) == 0:
            return codes
        found = RowIndex(self.device, self.t_ns).last(device, t_ns)
        return np.where(found >= 0, self.code[found], codes)


@dataclass(frozen=True)
class DeviceTable:
    """The devices of a run, by number, and what they belong to."""

    names: Sequence[str]
    dimensions: Mapping[str, TimeVarying]
    """By the name of the dimension: groups, labels, nodes, networks, groups of users."""
    faults: Sequence[Sequence[int]]
    """Of each device, the places of the faults that can touch its links."""
    actions: Sequence[Sequence[int]]
    """Of each device, the places of the actions that are done to it."""
    handed_over: TimeVarying
    """When each device changed hands."""

    @classmethod
    def read(cls, devices: pa.Table) -> Self:
        """Return what a run's table of devices says; what an older one lacks is left out."""
        size = devices.num_rows
        dimensions = {"group": TimeVarying.read(devices, "group", "", "")}
        dimensions |= _labels(devices)
        dimensions["node"] = TimeVarying.read(devices, "node", "", "")
        dimensions["network"] = TimeVarying.read(devices, "network", "network_ns", "networks")
        dimensions["user_group"] = TimeVarying.read(devices, "user_group", "new_user_ns", "new_user_groups")
        return cls(
            devices["device"].to_pylist(),
            {name: each for name, each in dimensions.items() if each.words},
            _places(devices, "faults", size),
            _places(devices, "actions", size),
            dimensions["user_group"],
        )

    def with_user_groups(self, states: Columns) -> Self:
        """Return the same devices, each in the group of users that its *states*, by device and time, say.

        A group is one of a model version: who holds another version's PEE is in another group.
        """
        known = self.dimensions.get("user_group")
        if known is None or "user_group" not in states:
            return self
        device, groups = states["device"], states["user_group"].astype(np.int64)
        numbers = np.unique(np.concatenate([groups, [int(each) for each in known.words]]))
        changed = np.ones(len(device), dtype=np.bool_)
        changed[1:] = (device[1:] != device[:-1]) | (groups[1:] != groups[:-1])
        first = np.searchsorted(numbers, [int(known.words[at]) for at in known.first])
        code = np.searchsorted(numbers, groups[changed])
        words_ = [str(each) for each in numbers]
        found = TimeVarying(words_, first, device[changed], states["t_ns"][changed], code)
        return replace(self, dimensions={**self.dimensions, "user_group": found})

    def numbered(self, name: str, table: pa.Table) -> Columns:
        """Return the columns of the event table called *name*, with numbers for devices and for words."""
        ids = pa.array(self.names, pa.string())
        columns = {"device": pc.index_in(table["device"], value_set=ids).to_numpy().astype(np.int64)}
        for column, kind in COLUMNS[name].items():
            if column == "device" or column not in table.column_names:
                continue
            values = table[column]
            if not isinstance(kind, str):
                values = pc.index_in(values, value_set=pa.array(kind, pa.string()))
            columns[column] = values.to_numpy()
        return columns


def _labels(devices: pa.Table) -> dict[str, TimeVarying]:
    if "labels" not in devices.column_names:
        return {}
    labels = [dict(each or ()) for each in devices["labels"].to_pylist()]
    found = {}
    for key in sorted({key for each in labels for key in each}):
        values = sorted({each[key] for each in labels if key in each})
        if any(key not in each for each in labels):
            values.append(UNLABELLED)
        place = {value: at for at, value in enumerate(values)}
        codes = [place[each.get(key, UNLABELLED)] for each in labels]
        found[LABEL + key] = TimeVarying(values, np.array(codes, dtype=np.int64))
    return found


def _places(devices: pa.Table, column: str, size: int) -> Sequence[Sequence[int]]:
    if column not in devices.column_names:
        return [()] * size
    return [tuple(each or ()) for each in devices[column].to_pylist()]


@dataclass(frozen=True, eq=False)
class RowSet:
    """Rows of one kind, each of a device and a time."""

    device: IntArray
    t_ns: IntArray
    own: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Codes of the dimensions that only these rows have."""
    state: IntArray | None = None
    """The state that each row is a piece of, where that is known."""
    parent: "RowSet | None" = None
    """The rows that these were chosen from, and which of them."""
    chosen: NDArray[Any] | None = None
    cache: dict[str, IntArray] = field(default_factory=dict)

    def where(self, chosen: NDArray[Any], **own: NDArray[Any]) -> "RowSet":
        """Return the rows that *chosen* says, a mask or indices, with further dimensions of their *own*."""
        there = {name: codes[chosen] for name, codes in self.own.items()} | own
        return RowSet(self.device[chosen], self.t_ns[chosen], there, None, self, chosen)


@dataclass(frozen=True, eq=False)
class Cells:
    """Rows by all dimensions at once: those of a cell belong to the same of each."""

    place: IntArray
    """Of each row, its cell."""
    codes: Mapping[str, IntArray]
    """Of each cell, its value in each dimension, -1: none."""

    def by(self, sums: Sequence[float], dimension: str, groups: int) -> list[float]:
        """Return sums by one dimension, from the sums of the cells."""
        found: list[float] = [0] * groups
        for code, each in zip(self.codes[dimension].tolist(), sums, strict=True):
            if code >= 0:
                found[code] += each
        return found


class Frame:
    """What the rows of a run are told apart by.

    Args:
        members: the devices.
        plan: the stages, and when the run ended.
        quality: the columns of the quality table.
    """

    def __init__(self, members: DeviceTable, plan: RunTimeline, quality: Columns) -> None:
        self.plan = plan
        order = order_by_device(quality)
        self.states: Columns = {name: values[order] for name, values in quality.items()}
        """The states of all devices, by device and time."""
        self.members = members.with_user_groups(self.states)
        device, t_ns = self.states["device"], self.states["t_ns"]
        self.start_ns: IntArray = np.minimum(t_ns, plan.stop_ns)
        end = np.full(len(t_ns), plan.stop_ns, dtype=np.int64)
        same = device[1:] == device[:-1]
        end[:-1][same] = self.start_ns[1:][same]
        self.end_ns: IntArray = end
        self._cells: dict[RowSet, Cells] = {}
        self._ranges = split_by_budget(self.states["budget_bytes"], self.end_ns - self.start_ns)
        self.timeline = RowIndex(device, t_ns)
        """The states by device and time."""

    @property
    def held(self) -> Columns:
        """The states, and how many ``seconds`` each held."""
        return {**self.states, "seconds": (self.end_ns - self.start_ns) / NS_PER_S}

    def words(self, dimension: str) -> Sequence[str]:
        """Return the values of a dimension."""
        if dimension in OWN_DIMENSIONS:
            return OWN_DIMENSIONS[dimension]
        if dimension == "stage":
            return [stage.type for stage in self.plan.stages]
        if dimension == "pressure":
            return words(Pressure)
        if dimension == "budget_range":
            return self._ranges.words
        return DECILES if dimension == "budget_decile" else self.members.dimensions[dimension].words

    @property
    def dimensions(self) -> Iterable[str]:
        """The dimensions that this run has."""
        stage = ("stage",) if self.plan.stages else ()
        return (*self.members.dimensions, *stage, "pressure", "budget_decile", "budget_range")

    def codes(self, rows: RowSet, dimension: str) -> IntArray:
        """Return the value of each row in *dimension*, as its place in `words`; -1: none."""
        if dimension in rows.own:
            return rows.own[dimension]
        if dimension not in rows.cache:
            rows.cache[dimension] = self._codes(rows, dimension)
        return rows.cache[dimension]

    def places(self, rows: RowSet, dimension: str) -> IntArray:
        """Return one more than the code of each row, so that 0 is none: what counting by value needs."""
        key = f"{dimension} place"
        if key not in rows.cache:
            rows.cache[key] = self.codes(rows, dimension).astype(np.int64) + 1
        return rows.cache[key]

    def cells(self, rows: RowSet) -> "Cells":
        """Return *rows* by all that they belong to at once: sums by any dimension are sums of cells."""
        if rows.parent is not None:
            whole = self.cells(rows.parent)
            return Cells(whole.place[rows.chosen], whole.codes)
        if rows not in self._cells:
            joint = np.zeros(len(rows.device), dtype=np.int64)
            for dimension in self.dimensions:
                joint = joint * (len(self.words(dimension)) + 1) + self.places(rows, dimension)
            _, first, place = np.unique(joint, return_index=True, return_inverse=True)
            codes = {name: self.codes(rows, name)[first] for name in self.dimensions}
            self._cells[rows] = Cells(place, codes)
        return self._cells[rows]

    def state_of(self, rows: RowSet) -> IntArray:
        """Return the state that the device of each row was in, before its first one that; -1: it has none."""
        if rows.state is not None:
            return rows.state
        if "state" not in rows.cache:
            if rows.parent is not None:
                rows.cache["state"] = self.state_of(rows.parent)[rows.chosen]
            else:
                found = self.timeline.last(rows.device, rows.t_ns)
                first = self.timeline.first(rows.device, np.full(len(rows.device), -1, dtype=np.int64))
                rows.cache["state"] = np.where(found >= 0, found, first)
        return rows.cache["state"]

    def _codes(self, rows: RowSet, dimension: str) -> IntArray:
        if rows.parent is not None:
            return self.codes(rows.parent, dimension)[rows.chosen]
        if dimension == "stage":
            # The last stage lasts until everything has ended: parts add up to the whole.
            ends = np.array([stage.end_ns for stage in self.plan.stages[:-1]], dtype=np.int64)
            return np.searchsorted(ends, rows.t_ns, side="right").astype(np.int64)
        if dimension in ("pressure", "budget_decile", "budget_range"):
            state = self.state_of(rows)
            of_state = {
                "pressure": self._pressure,
                "budget_decile": self._ranges.deciles,
                "budget_range": self._ranges.ranges,
            }[dimension]
            return np.where(state >= 0, of_state[state], -1) if len(of_state) else state
        return self.members.dimensions[dimension].at(rows.device, rows.t_ns)

    @cached_property
    def _pressure(self) -> IntArray:
        # Signed, since -1 is none.
        return self.states["pressure"].astype(np.int64)

    def pieces(self, since_ns: int = 0) -> tuple[RowSet, FloatArray]:
        """Return the states, cut where a stage begins or devices change network, and how long each held.

        Args:
            since_ns: what was before is left out.
        """
        network = self.members.dimensions.get("network")
        moves: list[int] = network.t_ns.tolist() if network is not None else []
        stages = [stage.start_ns for stage in self.plan.stages] + [stage.end_ns for stage in self.plan.stages]
        cuts = np.unique(np.array([since_ns, *stages, *moves], dtype=np.int64))
        start = np.maximum(self.start_ns, since_ns)
        there = np.flatnonzero(self.end_ns > start)
        first = np.searchsorted(cuts, start[there], side="right")
        last = np.searchsorted(cuts, self.end_ns[there], side="left")
        count = last - first + 1
        state = np.repeat(there, count)
        place = np.arange(len(state)) - np.repeat(np.cumsum(count) - count, count)
        cut = np.repeat(first, count) + place
        edges = np.append(cuts, np.iinfo(np.int64).max)
        begin = np.where(place == 0, start[state], edges[np.maximum(cut - 1, 0)])
        end = np.minimum(self.end_ns[state], edges[cut])
        return RowSet(self.states["device"][state], begin, state=state), (end - begin) / NS_PER_S


def order_by_device(columns: Columns) -> IntArray:
    """Return the order of rows by device; each device's own rows are in order of time already."""
    return np.argsort(columns["device"], kind="stable")
