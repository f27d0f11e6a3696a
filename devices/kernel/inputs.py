"""The inputs of the kernel for some devices: who they are, what happens to them, their links and streams."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.kernel.layout import CHANGE, CONTACT, DEVICE, LINK, MOMENT
from devices.kernel.random_numbers import SEPARATOR, STREAM, make_streams
from devices.kernel.tables import group_row, link_windows
from devices.memory import BoundedWalk
from devices.simulated.fleet_config import FleetConfig, TraceSeries, device_connectivity, device_trajectory
from devices.simulated.link import Link
from devices.simulated.roster import DeviceSpec, FleetGroup
from devices.timeline.actions import ScheduledAction, network_changes
from devices.timeline.timeline import DeviceAttributes
from wire.layers import Layers
from wire.topics import MessageKind, device_topic

MOST_CHANGES = 1_000_000
"""Changes of memory that are held at once; a batch of devices ends beyond."""


@dataclass(frozen=True)
class KernelInputs:
    """The inputs for some devices, as arrays (`RunArrays`)."""

    groups: NDArray[Any]
    devices: NDArray[Any]
    links: NDArray[Any]
    streams: NDArray[Any]
    changes: NDArray[Any]
    contacts: NDArray[Any]
    new_users: NDArray[Any]
    moves: NDArray[Any]
    most_links: int
    """The most links of a device."""


@dataclass
class _Lists:
    """The inputs while they are collected."""

    devices: list[tuple[int, ...]] = field(default_factory=list)
    links: list[tuple[int, int, int, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    """The places of the streams with these names."""
    changes: list[tuple[int, int, int]] = field(default_factory=list)
    contacts: list[tuple[int, int, int]] = field(default_factory=list)
    new_users: list[tuple[int, int]] = field(default_factory=list)
    moves: list[tuple[int, int]] = field(default_factory=list)
    most_links: int = 2


_FIELDS = (
    "number", "group", "user", "start_ns", "always_on", "address_bytes", "memory_stream", "first_link",
    "change_at", "change_end", "contact_at", "contact_end", "user_at", "user_end", "move_at", "move_end",
)  # fmt: skip


class InputMaker:
    """Makes the inputs of the kernel.

    Args:
        config: settings of the fleet.
        series: the recorded series of each group.
        stop_ns: nothing that comes later counts.
        places: the place of each user in the model's tables.
        layers: the layer table of each user, for memory that swings around a block boundary.
    """

    def __init__(
        self,
        config: FleetConfig,
        series: Mapping[str, TraceSeries],
        stop_ns: int,
        places: Mapping[int, int],
        layers: Mapping[int, Layers],
    ) -> None:
        self._config = config
        self._series = series
        self._stop_ns = stop_ns
        self._places = places
        self._layers = layers
        self._networks = {name: number for number, name in enumerate(config.networks)}
        self._bits = {window.number: bit for bit, window in enumerate(link_windows(config))}
        self._groups: dict[str, int] = {}
        self._rows: list[Any] = []
        self._walks: list[bool] = []
        fleet = device_topic(MessageKind.PEE, config.fleet, "x")
        self._topic_bytes = len(fleet) - len("x") - len(MessageKind.PEE)

    def batches(self, specs: Sequence[DeviceSpec]) -> Iterator[tuple[Sequence[DeviceSpec], KernelInputs]]:
        """Yield the inputs of *specs*, some devices at a time."""
        lists, first = _Lists(), 0
        for at, spec in enumerate(specs, start=1):
            self._add(spec, lists)
            if len(lists.changes) > MOST_CHANGES:
                yield specs[first:at], self._batch(lists)
                lists, first = _Lists(), at
        if lists.devices:
            yield specs[first:], self._batch(lists)

    def _batch(self, lists: _Lists) -> KernelInputs:
        devices = np.zeros(len(lists.devices), DEVICE)
        for name, column in zip(_FIELDS, zip(*lists.devices, strict=True), strict=True):
            devices[name] = column
        streams = np.zeros(2 * len(lists.links) + len(lists.devices), STREAM)
        devices["memory_stream"] += 2 * len(lists.links)
        named = np.array(lists.named, np.int64)
        own = named < 0  # the streams of memory are counted from -1 down
        named[own] = 2 * len(lists.links) - 1 - named[own]
        if lists.names:
            streams[named] = make_streams(self._config.seed, lists.names)
        return KernelInputs(
            groups=np.array(self._rows),
            devices=devices,
            links=_table(lists.links, LINK),
            streams=streams,
            changes=_table(lists.changes, CHANGE),
            contacts=_table(lists.contacts, CONTACT),
            new_users=_table(lists.new_users, MOMENT),
            moves=_table(lists.moves, MOMENT),
            most_links=lists.most_links,
        )

    def _add(self, spec: DeviceSpec, lists: _Lists) -> None:
        """Add a device."""
        group, member, timeline = spec.group, spec.member, self._config.timeline
        actions = timeline.actions_for(member) if timeline.actions else ()
        number = self._group(group)
        series = self._series.get(group.name, TraceSeries())
        walks = self._walks[number] and not any(action.action.budget_factor() for action in actions)
        if self._walks[number] and not walks:
            number = self._group(group, walks=False)
        change_at, contact_at, user_at = len(lists.changes), len(lists.contacts), len(lists.new_users)
        move_at, first_link = len(lists.moves), len(lists.links)
        if walks:
            lists.names.append(SEPARATOR.join(("memory", spec.name)))
            lists.named.append(-1 - len(lists.devices))
        else:
            self._add_changes(spec, series, actions, lists)
        always_on = self._add_contacts(spec, series, actions, lists)
        lists.new_users += [
            (t_ns, self._places[user]) for t_ns, user in spec.new_users if t_ns < self._stop_ns
        ]
        self._add_links(member, actions, lists)
        ends = (change_at, len(lists.changes), contact_at, len(lists.contacts))
        later = (user_at, len(lists.new_users), move_at, len(lists.moves))
        address = self._topic_bytes + len(spec.name)
        user = self._places[spec.user]
        who = (spec.number, number, user, spec.start_ns, always_on, address, len(lists.devices), first_link)
        lists.devices.append((*who, *ends, *later))

    def _group(self, group: FleetGroup, *, walks: bool = True) -> int:
        """Return the number of a group's settings, with its memory in the kernel or not."""
        key = f"{group.name}{'' if walks else SEPARATOR}"
        if key not in self._groups:
            own = walks and type(group.memory) is BoundedWalk and not group.shocks
            policy = msgspec.structs.replace(self._config.policy, publish=group.budget.publish)
            self._groups[key] = len(self._rows)
            self._rows.append(group_row(group, self._config.device_classes[group.node], policy, walks=own))
            self._walks.append(own)
        return self._groups[key]

    def _add_changes(
        self, spec: DeviceSpec, series: TraceSeries, actions: Sequence[ScheduledAction], lists: _Lists
    ) -> None:
        """Add the changes of the budget until the end of the run."""
        now, stop_ns, add = spec.start_ns, self._stop_ns, lists.changes.append
        for change in device_trajectory(spec, self._config, series, actions, self._layers[spec.user]):
            now += change[0]
            if now >= stop_ns:
                return
            add(change)

    def _add_contacts(
        self, spec: DeviceSpec, series: TraceSeries, actions: Sequence[ScheduledAction], lists: _Lists
    ) -> bool:
        """Add the connectivity until the end of the run; return True if the device is always connected."""
        changes = device_connectivity(spec, self._config, series, actions)
        if changes is None:
            return True
        for t_ns, online, why in changes:
            if t_ns >= self._stop_ns:
                break
            lists.contacts.append((t_ns, int(online), int(why)))
        return False

    def _add_links(self, member: DeviceAttributes, actions: Sequence[ScheduledAction], lists: _Lists) -> None:
        """Add the links of a device, those on its own network first, and its moves to other networks."""
        moves = network_changes(actions, member.network) if actions else []
        places = {member.network: 0}
        self._add_link(member, member.network, lists)
        for t_ns, network in moves:
            if t_ns < self._stop_ns:
                if network not in places:
                    places[network] = 2 * len(places)
                    self._add_link(member, network, lists)
                lists.moves.append((t_ns, places[network]))
        lists.most_links = max(lists.most_links, 2 * len(places))

    def _add_link(self, member: DeviceAttributes, network: str, lists: _Lists) -> None:
        """Add the uplink and the downlink of a device on a network, with the streams that they draw from."""
        settings, config = self._config.networks[network], self._config
        elsewhere = () if network == member.network else (network,)
        for place, (end, direction) in enumerate(
            (("uplink", settings.uplink), ("downlink", settings.downlink))
        ):
            windows = config.timeline.link_windows(member, end) if self._bits else ()
            stream = 2 * len(lists.links)
            if Link.draws(direction):
                lists.named.append(stream)
                lists.names.append(SEPARATOR.join((end, member.name, *elsewhere)))
            if windows:
                lists.named.append(stream + 1)
                lists.names.append(SEPARATOR.join(("weather", end, member.name, *elsewhere)))
            bits = sum(1 << self._bits[window.number] for window in windows)
            lists.links.append((2 * self._networks[network] + place, 0, 0, bits))


def _table(rows: Sequence[tuple[int, ...]], kind: np.dtype[Any]) -> NDArray[Any]:
    """Return rows as a table."""
    return np.array(rows, kind)
