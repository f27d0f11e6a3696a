"""The fleet: groups of devices with their own parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated

import msgspec

from devices.agent import Agent
from devices.device import Device, Setting
from devices.link import Direction, Link, Network
from devices.memory import Boundary, BoundedWalk, Budget, Changes, Memory, Replay, Shock, shocked
from devices.quality import UserQuality
from devices.traces.assignment import series_of, start_within
from devices.traces.series import Series, memory_changes
from wire.layers import Layers
from wire.streams import stream
from wire.topics import Kind, device_topic, valid_name
from wire.units import Duration


class FleetGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Devices of one kind."""

    name: str
    """Prefix of the device ids: device 7 of group ``phone`` is ``phone-00007``."""
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    """How many devices there are."""
    memory: Memory = BoundedWalk()
    """How their free memory moves."""
    shocks: tuple[Shock, ...] = ()
    """What takes memory from many of them at the same time, on top of that."""
    budget: Budget = Budget()
    """How much of the free memory the recommender may use."""
    network: str = "default"
    """The network that they are on, by its name under ``networks``."""
    start_within: Duration = Duration(0)
    """Devices start at times spread evenly at random over this span."""

    def __post_init__(self) -> None:
        if not valid_name(self.name) or len(self.name) > 48:
            raise ValueError(f"name(={self.name!r}) must be 1 to 48 letters, digits, '.', '_' or '-'")


@dataclass(frozen=True)
class Enrolled:
    """A device of the fleet before it lives."""

    number: int
    """Its place among all device ids in order."""
    name: str
    group: FleetGroup
    user: int
    start_ns: int
    series: float
    """Which series of a trace it replays: a place from 0 to 1."""


def enrol(groups: Sequence[FleetGroup], seed: int, users: Sequence[int]) -> tuple[Enrolled, ...]:
    """Return all devices in the order of their ids, each with a user drawn from *users*.

    Everything drawn for a device depends on the seed and its id only.
    """
    names = {f"{group.name}-{at:05d}": group for group in groups for at in range(group.count)}
    return tuple(
        _enrol(number, name, group, seed, users)
        for number, (name, group) in enumerate(sorted(names.items(), key=itemgetter(0)))
    )


def build_device(
    enrolled: Enrolled,
    setting: Setting,
    *,
    seed: int,
    fleet: str,
    network: Network,
    agent: Agent,
    quality: UserQuality,
    series: Sequence[Series[int]],
) -> Device:
    """Return a device ready to live.

    Args:
        enrolled: who it is.
        setting: what it shares with the others.
        seed: of the run.
        fleet: the fleet's name in topics.
        network: what it is connected through.
        agent: its protocol logic.
        quality: its user's quality by layer.
        series: the recorded series, where its memory replays a trace.
    """
    group, name = enrolled.group, enrolled.name
    return Device(
        setting,
        number=enrolled.number,
        name=name,
        agent=agent,
        budget=group.budget,
        memory=_memory(enrolled, seed, series, quality.layers),
        uplink=_link(network.uplink, seed, "uplink", name),
        downlink=_link(network.downlink, seed, "downlink", name),
        quality=quality,
        address_bytes=len(device_topic(Kind.PEE, fleet, name)) - len(Kind.PEE),
        start_ns=enrolled.start_ns,
    )


def _enrol(number: int, name: str, group: FleetGroup, seed: int, users: Sequence[int]) -> Enrolled:
    rng = stream(seed, "device", name)
    user = users[int(rng.integers(len(users)))]
    start_ns = int(rng.integers(group.start_within + 1))
    return Enrolled(number, name, group, user, start_ns, float(rng.random()))


def _memory(enrolled: Enrolled, seed: int, series: Sequence[Series[int]], layers: Layers) -> Changes:
    group, name = enrolled.group, enrolled.name
    return shocked(
        _own_memory(enrolled, seed, series, layers),
        group.shocks,
        seed=seed,
        group=group.name,
        device=name,
        start_ns=enrolled.start_ns,
    )


def _own_memory(enrolled: Enrolled, seed: int, series: Sequence[Series[int]], layers: Layers) -> Changes:
    """Return what a device's memory does by itself."""
    group, name = enrolled.group, enrolled.name
    memory = group.memory
    if isinstance(memory, Replay):
        played = series_of(
            memory,
            count=len(series),
            seed=seed,
            group=group.name,
            at=place_in_group(name),
            drawn=enrolled.series,
        )
        return memory_changes(series[played], memory, start_within(memory, seed, name))
    rng = stream(seed, "memory", name)
    if isinstance(memory, Boundary):
        return memory.changes_around(layers, group.budget, rng)
    return memory.changes(rng)


def place_in_group(name: str) -> int:
    """Return the place of the device called *name* in its group, from 0."""
    return int(name.rpartition("-")[2])


def _link(direction: Direction, seed: int, end: str, name: str) -> Link:
    return Link(direction, stream(seed, end, name) if Link.draws(direction) else None)
