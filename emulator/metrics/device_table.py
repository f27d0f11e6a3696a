"""The table of devices, ``devices.parquet``: made from a scenario's fleet, read to compute metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cloud.blocks.store import BlockStore
from devices.event_log import COLUMNS
from devices.simulated.roster import DeviceSpec
from devices.simulated.sample import sample_size
from devices.timeline.actions import network_changes
from devices.timeline.timeline import Timeline
from emulator.metrics.row_index import Columns, IntArray, RowIndex
from emulator.metrics.strata import Strata
from scenarios.catalogue.metrics import LABEL, UNLABELLED

_LABELS = pa.map_(pa.string(), pa.string())


def build_device_table(
    devices: Sequence[DeviceSpec], store: BlockStore, timeline: Timeline, sample: float | None = None
) -> pa.Table:
    """Return one row per device: its group, labels, node, network and user group, and how they change.

    ``network_ns`` and ``networks`` list its changes of network. ``new_user_ns`` and ``new_user_groups`` list
    its changes of user, with the new user's group in the first model version; the quality table has the group
    in the version that the device holds. ``faults`` and ``actions`` list the indices of the scenario's faults
    that affect its links, and of the actions that are applied to it.

    Args:
        devices: the devices.
        store: the first model version.
        timeline: the actions and faults.
        sample: the share of each group that they are; None: they are the fleet.
    """
    members = [each.member for each in devices]
    actions = [timeline.actions_for(member) if timeline.actions else () for member in members]
    moves = [network_changes(each, member.network) for each, member in zip(actions, members, strict=True)]
    faults = [
        sorted(
            {window.number for end in ("uplink", "downlink") for window in timeline.link_windows(member, end)}
        )
        for member in members
    ]
    group_of = [int(group) for group in store.user_groups]
    lists = pa.list_(pa.int64())
    return pa.table(
        {
            "device": [device.name for device in devices],
            "group": [device.group.name for device in devices],
            "labels": pa.array([list(device.group.labels.items()) for device in devices], _LABELS),
            "node": [device.group.node for device in devices],
            "network": [device.group.network for device in devices],
            "network_ns": pa.array([[t_ns for t_ns, _ in changes] for changes in moves], lists),
            "networks": pa.array([[to for _, to in changes] for changes in moves], pa.list_(pa.string())),
            "user": [device.user for device in devices],
            "user_group": [group_of[device.user] for device in devices],
            "new_user_ns": pa.array([[t_ns for t_ns, _ in device.new_users] for device in devices], lists),
            "new_user_groups": pa.array(
                [[group_of[user] for _, user in device.new_users] for device in devices], lists
            ),
            "start_ns": [device.start_ns for device in devices],
            "faults": pa.array(faults, lists),
            "actions": pa.array([[action.number for action in each] for each in actions], lists),
            **(_sample_columns(devices, sample) if sample is not None else {}),
        }
    )


def _sample_columns(devices: Sequence[DeviceSpec], share: float) -> dict[str, list[int]]:
    """Return, for each device, the number of devices of its group in the fleet, and in the sample."""
    counts = [device.group.count for device in devices]
    sizes = {count: sample_size(count, share) for count in set(counts)}
    return {"fleet_devices": counts, "sampled_devices": [sizes[count] for count in counts]}


@dataclass(frozen=True)
class TimeVarying:
    """A property of devices that may change: a value of each device from the start, and the changes."""

    values: Sequence[str]
    """All values; elsewhere a value is an index into them, its code."""
    first: IntArray
    """Code of each device from the start; -1: no value."""
    device: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Device of each change; changes are sorted by device and time."""
    t_ns: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Time of each change."""
    code: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Code after each change."""

    @classmethod
    def read(cls, devices: pa.Table, first: str, times: str, then: str) -> Self:
        """Return the property in a table of devices.

        Args:
            devices: the table.
            first: name of the column with the values from the start.
            times: name of the column with the times of changes.
            then: name of the column with the values after them.
        """
        if first not in devices.column_names:
            return cls((), np.full(devices.num_rows, -1))
        start = devices[first].to_pylist()
        later = devices[then].to_pylist() if then in devices.column_names else []
        values = sorted({*start, *(value for changes in later for value in changes or ())})
        code_of = {value: code for code, value in enumerate(values)}
        changes = [
            (number, t_ns, code_of[value])
            for number, (moments, after) in enumerate(
                zip(devices[times].to_pylist() if later else [], later, strict=True)
            )
            for t_ns, value in sorted(zip(moments or (), after or (), strict=True), key=lambda pair: pair[0])
        ]
        device, t_ns, code = np.array(changes, dtype=np.int64).reshape(-1, 3).T
        return cls(
            [str(value) for value in values],
            np.array([code_of[value] for value in start]),
            device,
            t_ns,
            code,
        )

    def at(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return the code of each *device* at each *t_ns*."""
        codes = self.first[device] if len(self.first) else np.empty(0, dtype=np.int64)
        if len(self.device) == 0:
            return codes
        change = RowIndex(self.device, self.t_ns).last(device, t_ns)
        return np.where(change >= 0, self.code[change], codes)


@dataclass(frozen=True)
class DeviceTable:
    """The devices of a run. Metrics know a device by its number, its row in this table."""

    names: Sequence[str]
    dimensions: Mapping[str, TimeVarying]
    """Properties by name: group, labels, node, network, group of the user."""
    faults: Sequence[Sequence[int]]
    """Indices of the faults that can affect the links of each device."""
    actions: Sequence[Sequence[int]]
    """Indices of the actions that are applied to each device."""
    user_changes: TimeVarying
    """Changes of each device's user."""
    strata: Strata | None = None
    """The groups that the devices are a sample of; None: they are all devices of the fleet."""

    @classmethod
    def read(cls, devices: pa.Table) -> Self:
        """Return the devices of a run's table; columns that an older table lacks are left out."""
        dimensions = {"group": TimeVarying.read(devices, "group", "", "")}
        dimensions |= _labels(devices)
        dimensions["node"] = TimeVarying.read(devices, "node", "", "")
        dimensions["network"] = TimeVarying.read(devices, "network", "network_ns", "networks")
        dimensions["user_group"] = TimeVarying.read(devices, "user_group", "new_user_ns", "new_user_groups")
        return cls(
            devices["device"].to_pylist(),
            {name: dimension for name, dimension in dimensions.items() if dimension.values},
            _indices(devices, "faults"),
            _indices(devices, "actions"),
            dimensions["user_group"],
            Strata.read(devices),
        )

    def with_user_groups(self, states: Columns) -> Self:
        """Return the same devices with the groups of users in *states*, which are sorted by device and time.

        Each model version has its own groups: a device that holds another version's PEE is in another group.
        """
        known = self.dimensions.get("user_group")
        if known is None or "user_group" not in states:
            return self
        device, groups = states["device"], states["user_group"].astype(np.int64)
        numbers = np.unique(np.concatenate([groups, [int(value) for value in known.values]]))
        changed = np.ones(len(device), dtype=np.bool_)
        changed[1:] = (device[1:] != device[:-1]) | (groups[1:] != groups[:-1])
        first = np.searchsorted(numbers, [int(known.values[code]) for code in known.first])
        code = np.searchsorted(numbers, groups[changed])
        values = [str(number) for number in numbers]
        groups_held = TimeVarying(values, first, device[changed], states["t_ns"][changed], code)
        return replace(self, dimensions={**self.dimensions, "user_group": groups_held})

    def encode(self, name: str, table: pa.Table) -> Columns:
        """Return the columns of the event table called *name*, with numbers for devices and for labels."""
        columns = {"device": device_numbers(table, self.names)}
        for column, kind in COLUMNS[name].items():
            if column == "device" or column not in table.column_names:
                continue
            values = table[column]
            if not isinstance(kind, str):
                values = pc.index_in(values, value_set=pa.array(kind, pa.string()))
            columns[column] = values.to_numpy()
        return columns


def device_numbers(table: pa.Table, names: Sequence[str]) -> IntArray:
    """Return the number of each row's device: the index of its id in *names*."""
    numbers: IntArray = pc.index_in(table["device"], value_set=pa.array(names, pa.string())).to_numpy()
    return numbers.astype(np.int64)


def _labels(devices: pa.Table) -> dict[str, TimeVarying]:
    if "labels" not in devices.column_names:
        return {}
    labels = [dict(pairs or ()) for pairs in devices["labels"].to_pylist()]
    dimensions = {}
    for key in sorted({key for own in labels for key in own}):
        values = sorted({own[key] for own in labels if key in own})
        if any(key not in own for own in labels):
            values.append(UNLABELLED)
        code_of = {value: code for code, value in enumerate(values)}
        codes = [code_of[own.get(key, UNLABELLED)] for own in labels]
        dimensions[LABEL + key] = TimeVarying(values, np.array(codes, dtype=np.int64))
    return dimensions


def _indices(devices: pa.Table, column: str) -> Sequence[Sequence[int]]:
    if column not in devices.column_names:
        return [()] * devices.num_rows
    return [tuple(indices or ()) for indices in devices[column].to_pylist()]
