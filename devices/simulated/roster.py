"""The roster of a fleet: its groups, and who each device is.

Devices are numbered in the order of their ids. In a group of more than 100,000 devices the ids with six
digits and more follow those with five: ``phone-99999``, ``phone-100000``. So the id of any number can be
computed, and a roster of millions takes no memory.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, overload

import msgspec

from devices.memory import BoundedWalk, Budget, Memory, Shock
from devices.simulated.sample import draw_sample
from devices.timeline.connectivity import Churn
from devices.timeline.schedule import parse_moment
from devices.timeline.timeline import DeviceAttributes, Timeline
from devices.timeline.visits import FleetVisits
from devices.traces.availability import Availability
from wire.random_streams import draw, stream
from wire.topics import valid_name
from wire.units import TIME_UNITS, Duration

JOIN_AHEAD_NS = TIME_UNITS["min"]
"""Time before the first visit of a newcomer at which the newcomer's device starts, and asks for blocks."""
RANGE_DEVICES = 2048
"""Number of devices in a range, but for the last one of a fleet."""


@dataclass(frozen=True, order=True)
class DeviceRange:
    """Devices of consecutive numbers: the unit of enrolment, of simulation, of part files and of the hash."""

    first: int
    stop: int
    """The number after the last one."""

    @property
    def index(self) -> int:
        """The index of the range in its fleet."""
        return self.first // RANGE_DEVICES

    def __len__(self) -> int:
        return self.stop - self.first

    def __str__(self) -> str:
        return f"devices {self.first} to {self.stop - 1}"


def split_ranges(devices: int) -> list[DeviceRange]:
    """Return the ranges of a fleet of so many devices, in order."""
    return [
        DeviceRange(first, min(first + RANGE_DEVICES, devices)) for first in range(0, devices, RANGE_DEVICES)
    ]


class FleetGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Devices of one kind."""

    name: str
    """Prefix of the device ids: device 7 of group ``phone`` is ``phone-00007``."""
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    """Number of devices."""
    labels: dict[str, str] = {}
    """Labels: actions and faults select devices by them, the summary is split by them; at most 1,000."""
    node: str = "default"
    """Their class of device, by its name under ``nodes``."""
    memory: Memory = BoundedWalk()
    """The process that moves their free memory."""
    shocks: tuple[Shock, ...] = ()
    """Shocks, which take memory from many of them at the same time, on top of that."""
    budget: Budget = Budget()
    """The part of the free memory that the recommender may use."""
    network: str = "default"
    """The network that they are on, by its name under ``networks``."""
    start_at: str = "0 s"
    """Start of the devices: a span since the start, a stage, or a stage and a span."""
    start_within: Duration = Duration(0)
    """Devices start at times spread evenly at random over this span."""
    churn: Churn | None = None
    """Connections and disconnections of their own; null: they stay connected."""
    availability: Availability | None = None
    """A recording of when they are connected; null: always, except for churn, stages, faults and actions."""

    def __post_init__(self) -> None:
        if not valid_name(self.name) or len(self.name) > 48:
            raise ValueError(f"name(={self.name!r}) must be 1 to 48 letters, digits, '.', '_' or '-'")
        for key, value in self.labels.items():
            if not valid_name(key) or not valid_name(value):
                raise ValueError(f"labels(={key}: {value}) must be letters, digits, '.', '_' or '-'")
        try:
            parse_moment(self.start_at)
        except ValueError as error:
            raise ValueError(f"start_{error}") from None


@dataclass(frozen=True)
class DeviceSpec:
    """A device of the fleet before it is started."""

    number: int
    """Its index among all device ids in order."""
    name: str
    group: FleetGroup
    user: int
    start_ns: int
    series: float
    """The series of a trace that it replays: a position from 0 to 1."""
    new_users: tuple[tuple[int, int], ...] = ()
    """Changes of its user: (t_ns, user)."""

    @property
    def users(self) -> tuple[int, ...]:
        """All users that it ever recommends to."""
        return (self.user, *(user for _, user in self.new_users))

    @property
    def member(self) -> DeviceAttributes:
        """The attributes by which actions and faults select it."""
        group = self.group
        return DeviceAttributes(self.name, group.name, group.labels, group.node, group.network)


def count_devices(groups: Sequence[FleetGroup]) -> int:
    """Return the number of devices of a fleet."""
    return sum(group.count for group in groups)


@dataclass(frozen=True)
class _Run:
    """Devices of one group whose numbers follow each other."""

    number: int
    """The number of the first one in the fleet."""
    group: FleetGroup
    first: int
    """The number of the first one in its group."""


class DeviceNames(Sequence[str]):
    """The ids of a fleet's devices by number, computed when they are asked for.

    Args:
        groups: of the fleet.
        seed: of the scenario; it draws the sample.
        sample: the share of each group that is simulated; None: all devices.
    """

    def __init__(self, groups: Sequence[FleetGroup], seed: int = 0, sample: float | None = None) -> None:
        self._runs = _runs(groups) if sample is None else _drawn(groups, seed, sample)
        self._firsts = [run.number for run in self._runs]
        self._count = count_devices(groups) if sample is None else len(self._runs)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[str, ...]: ...

    def __getitem__(self, key: int | slice) -> str | tuple[str, ...]:
        if isinstance(key, slice):
            return tuple(self[number] for number in range(*key.indices(self._count)))
        group, at = self.locate(range(self._count)[key])
        return _device_id(group, at)

    def __iter__(self) -> Iterator[str]:
        ends = [*self._firsts[1:], self._count]
        for run, end in zip(self._runs, ends, strict=True):
            for at in range(run.first, run.first + end - run.number):
                yield _device_id(run.group, at)

    def locate(self, number: int) -> tuple[FleetGroup, int]:
        """Return the group of a device, and its number in that group."""
        run = self._runs[bisect_right(self._firsts, number) - 1]
        return run.group, run.first + number - run.number


def _device_id(group: FleetGroup, at: int) -> str:
    return f"{group.name}-{at:05d}"


def _sort_key(group: FleetGroup, at: int) -> str:
    """Return the key by which devices are numbered: the id, but ``:`` puts ids of six digits last."""
    return _device_id(group, at) if at < 100_000 else f"{group.name}-:{at:08d}"


def _runs(groups: Sequence[FleetGroup]) -> list[_Run]:
    """Return the devices of all groups in order: few runs, since the ids of two groups hardly ever mix.

    Those of ``a`` and ``a-00001`` do. All ids of one are then between two neighbours of the other.
    """
    pieces: list[tuple[str, FleetGroup, int, int]] = []
    for group in groups:
        cuts = {0, group.count}
        for other in groups:
            if other.name.startswith(f"{group.name}-"):
                key = _sort_key(other, 0)
                cuts.add(bisect_left(range(group.count), key, key=partial(_sort_key, group)))
        edges = sorted(cuts)
        pieces += [(_sort_key(group, first), group, first, stop) for first, stop in itertools.pairwise(edges)]
    runs, number = [], 0
    for _, group, first, stop in sorted(pieces, key=lambda piece: piece[0]):
        runs.append(_Run(number, group, first))
        number += stop - first
    return runs


def _drawn(groups: Sequence[FleetGroup], seed: int, sample: float) -> list[_Run]:
    """Return the devices of a sample, in order, each alone."""
    drawn = [
        (group, at) for group in groups for at in draw_sample(group.name, group.count, seed, sample).tolist()
    ]
    drawn.sort(key=lambda device: _sort_key(*device))
    return [_Run(number, group, at) for number, (group, at) in enumerate(drawn)]


@dataclass(frozen=True)
class Roster(Sequence[DeviceSpec]):
    """The devices of a fleet by number, each made when it is asked for.

    All that is drawn for a device depends on the seed and its id only.
    """

    groups: Sequence[FleetGroup]
    seed: int
    users: Sequence[int]
    """Each device has one of these, drawn."""
    timeline: Timeline
    sample: float | None = None
    """The share of each group that is simulated; None: all devices."""
    visits: FleetVisits | None = None
    """The visits of the users; then users are not drawn: each has a device before any has two."""

    @cached_property
    def names(self) -> DeviceNames:
        """The ids of the devices."""
        return DeviceNames(self.groups, self.seed, self.sample)

    @cached_property
    def _order(self) -> list[int]:
        """The order in which users get a device, so that a small fleet is a random part of them."""
        order: list[int] = stream(self.seed, "users").permutation(len(self.users)).tolist()
        return order

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, key: int) -> DeviceSpec: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[DeviceSpec, ...]: ...

    def __getitem__(self, key: int | slice) -> DeviceSpec | tuple[DeviceSpec, ...]:
        if isinstance(key, slice):
            return tuple(self._spec(number) for number in range(*key.indices(len(self))))
        return self._spec(range(len(self))[key])

    def _spec(self, number: int) -> DeviceSpec:
        group, at = self.names.locate(number)
        seed, users, timeline, name = self.seed, self.users, self.timeline, _device_id(group, at)
        rng = stream(seed, "device", name)
        user = users[int(rng.integers(len(users)))]
        start_ns = timeline.moment(group.start_at) + int(rng.integers(group.start_within + 1))
        if self.visits is not None:
            user = users[self._order[number % len(users)]]
            if self.visits.newcomers[user]:
                start_ns = max(start_ns, self.visits.first_ns(user) - JOIN_AHEAD_NS)
        enrolled = DeviceSpec(number, name, group, user, start_ns, float(rng.random()))
        handed_on = tuple(
            (action.t_ns, users[int(draw(seed, "new_user", action.number, name) * len(users))])
            for action in (timeline.actions_for(enrolled.member) if timeline.actions else ())
            if action.action.reassigns_users
        )
        return replace(enrolled, new_users=handed_on) if handed_on else enrolled


def build_roster(
    groups: Sequence[FleetGroup],
    seed: int,
    users: Sequence[int],
    timeline: Timeline | None = None,
    sample: float | None = None,
    visits: FleetVisits | None = None,
) -> Roster:
    """Return the roster of a fleet, or of a *sample* of it, whose devices have users of *users*.

    Users are drawn; with *visits* each has a device before any has two, and a newcomer's device starts
    shortly before the first visit.
    """
    return Roster(groups, seed, users, timeline or Timeline(seed), sample, visits)
