"""The fleet: groups of devices with their own parameters, and how a device comes to life."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Annotated, Any

import msgspec
import numpy as np

from devices.memory import BoundedWalk, Budget, Memory, Shock
from devices.protocol.agent import Agent
from devices.protocol.report_policy import Reporting
from devices.simulated.budget_trajectory import budgets, following, memory_of, recorded_absences, scales_since
from devices.simulated.context import Setting
from devices.simulated.device import Course, Device
from devices.simulated.device_class import Node
from devices.simulated.link import Direction, Link, Network
from devices.simulated.recorded import Recorded, RecordedDownlink, RecordedUplink
from devices.timeline.actions import Deed, NewUsers, scale_steps
from devices.timeline.connectivity import Absence, Churn, Toggle, resumed, started, toggles
from devices.timeline.faults import Window
from devices.timeline.schedule import parse_moment
from devices.timeline.timeline import Member, Program, network_changes
from devices.traces.availability import Availability
from devices.traces.series import Series
from wire.random_streams import draw, stream
from wire.topics import Kind, device_topic, valid_name
from wire.units import Duration


class FleetGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Devices of one kind."""

    name: str
    """Prefix of the device ids: device 7 of group ``phone`` is ``phone-00007``."""
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
    """How many devices there are."""
    labels: dict[str, str] = {}
    """What actions and faults select them by and the summary is split by; at most 1,000 in a fleet."""
    node: str = "default"
    """What class of device they are, by its name under ``nodes``."""
    memory: Memory = BoundedWalk()
    """How their free memory moves."""
    shocks: tuple[Shock, ...] = ()
    """What takes memory from many of them at the same time, on top of that."""
    budget: Budget = Budget()
    """How much of the free memory the recommender may use."""
    network: str = "default"
    """The network that they are on, by its name under ``networks``."""
    start_at: str = "0 s"
    """When they start: a span since the start, a stage, or a stage and a span."""
    start_within: Duration = Duration(0)
    """Devices start at times spread evenly at random over this span."""
    churn: Churn | None = None
    """How they come and go by themselves; null: they stay connected."""
    availability: Availability | None = None
    """When they are connected, as recorded; null: always, except for churn, stages, faults and actions."""

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
    new_users: tuple[tuple[int, int], ...] = ()
    """When it changes hands, and to whom: (t_ns, user)."""

    @property
    def users(self) -> tuple[int, ...]:
        """Everybody that it ever recommends to."""
        return (self.user, *(user for _, user in self.new_users))

    @property
    def member(self) -> Member:
        """What decides whether an action or a fault concerns it."""
        group = self.group
        return Member(self.name, group.name, group.labels, group.node, group.network)


@dataclass(frozen=True)
class Surroundings:
    """What the devices of a fleet are set into."""

    seed: int
    fleet: str
    """The fleet's name in topics."""
    networks: Mapping[str, Network]
    nodes: Mapping[str, Node]
    reporting: Reporting
    """Rules for reports that all groups share."""
    program: Program


@dataclass(frozen=True)
class Played:
    """The recorded series that the devices of a group play; none where they play no trace."""

    memory: Sequence[Series[int]] = ()
    availability: Sequence[Series[bool]] = ()


def device_names(groups: Sequence[FleetGroup]) -> dict[str, FleetGroup]:
    """Return the group of each device by the device's id, in the order of the ids."""
    names = {f"{group.name}-{at:05d}": group for group in groups for at in range(group.count)}
    return dict(sorted(names.items(), key=itemgetter(0)))


def enrol(
    groups: Sequence[FleetGroup], seed: int, users: Sequence[int], program: Program | None = None
) -> tuple[Enrolled, ...]:
    """Return all devices in the order of their ids, each with a user drawn from *users*.

    Everything drawn for a device depends on the seed and its id only.
    """
    program = program or Program(seed)
    return tuple(
        _enrol(number, name, group, seed, users, program)
        for number, (name, group) in enumerate(device_names(groups).items())
    )


def spawn(
    enrolled: Enrolled,
    setting: Setting,
    around: Surroundings,
    agent: Agent,
    played: Played,
    recorded: Recorded | None = None,
    since_ns: int = 0,
) -> Device:
    """Bring a device to life in the setting's environment.

    Args:
        enrolled: who it is.
        setting: what it shares with the others of its environment.
        around: what it is set into.
        agent: its protocol logic.
        played: the recorded series of its group, where it plays traces.
        recorded: its life in a run that is played again, in place of one of its own.
        since_ns: from when on it lives, where what ran it before has died: what came earlier is skipped.
    """
    group, member, program = enrolled.group, enrolled.member, around.program
    node = around.nodes[group.node]
    deeds = program.deeds(member) if program.actions else ()
    presence: Iterable[Toggle] | None
    if recorded is None:
        presence = _presence(enrolled, around, played, program.absences(member, deeds))
        course, start_ns = _course(enrolled, setting, around, played, deeds), enrolled.start_ns
    else:
        presence, course, start_ns = recorded.toggles, recorded.course, 0
    if since_ns:
        course, start_ns = following(course, start_ns, since_ns)
        presence = resumed(presence or toggles([started(enrolled.start_ns)]), since_ns)
    links = _Links(member, around, _recorded_links(recorded, agent, setting))
    uplink, downlink = links.on(group.network)
    device = Device(
        setting,
        number=enrolled.number,
        name=enrolled.name,
        agent=agent,
        course=course,
        node=node,
        reporting=msgspec.structs.replace(around.reporting, publish=group.budget.publish),
        uplink=uplink,
        downlink=downlink,
        address_bytes=len(device_topic(Kind.PEE, around.fleet, enrolled.name)) - len(Kind.PEE),
        start_ns=start_ns,
        always_on=presence is None,
    )
    if setting.rollout is not None:
        setting.rollout.join(device)
    if presence is not None:
        setting.env.process(device.follow(presence))
    setting.env.process(device.live())
    _schedule(setting, enrolled.new_users, device.change_user, since_ns)
    if deeds:
        moves = network_changes(deeds, group.network)
        _schedule(setting, moves, lambda to: device.change_links(*links.on(to)), since_ns)
    return device


def _enrol(
    number: int, name: str, group: FleetGroup, seed: int, users: Sequence[int], program: Program
) -> Enrolled:
    rng = stream(seed, "device", name)
    user = users[int(rng.integers(len(users)))]
    start_ns = program.moment(group.start_at) + int(rng.integers(group.start_within + 1))
    enrolled = Enrolled(number, name, group, user, start_ns, float(rng.random()))
    handed_on = tuple(
        (deed.t_ns, users[int(draw(seed, "new_user", deed.place, name) * len(users))])
        for deed in (program.deeds(enrolled.member) if program.actions else ())
        if isinstance(deed.action, NewUsers)
    )
    return replace(enrolled, new_users=handed_on) if handed_on else enrolled


def _course(
    enrolled: Enrolled, setting: Setting, around: Surroundings, played: Played, deeds: Sequence[Deed]
) -> Course:
    """Return how a device's budget moves, from its start on."""
    group = enrolled.group
    memory = memory_of(enrolled, around.seed, played.memory, setting.first_quality(enrolled.user).layers)
    scales = scales_since(scale_steps(deeds), enrolled.start_ns)
    return budgets(memory, group.budget.of, around.nodes[group.node].memory, scales)


def _presence(
    enrolled: Enrolled, around: Surroundings, played: Played, absences: list[Iterator[Absence]]
) -> Iterator[Toggle] | None:
    """Return when a device connects and is cut off; None if it is connected from its start on."""
    group, name = enrolled.group, enrolled.name
    if group.churn is not None:
        absences.append(group.churn.absences(stream(around.seed, "churn", name), enrolled.start_ns))
    if group.availability is not None:
        absences.append(recorded_absences(enrolled, around.seed, played.availability))
    return toggles([started(enrolled.start_ns), *absences]) if absences else None


def _schedule(
    setting: Setting, moments: Sequence[tuple[int, Any]], act: Callable[[Any], None], since_ns: int
) -> None:  # Any: what *act* takes
    for _, what in [each for each in moments if each[0] < since_ns][-1:]:
        act(what)
    for t_ns, what in moments:
        if since_ns <= t_ns < setting.stop_ns:
            setting.env.timeout(t_ns - since_ns, what).callbacks.append(lambda event: act(event.value))


MakeLink = Callable[
    [Direction, np.random.Generator | None, Sequence[Window], np.random.Generator | None], Link
]


def _recorded_links(recorded: Recorded | None, agent: Agent, setting: Setting) -> Mapping[str, MakeLink]:
    """Return how a device's links are made, by their end, where its exchanges are played again."""
    if recorded is None or recorded.script is None:
        return {}
    script = recorded.script
    return {
        "uplink": partial(RecordedUplink, script=script, agent=agent, outages=setting.outages),
        "downlink": partial(RecordedDownlink, script=script),
    }


class _Links:
    """A device's links, by network: one that it comes back to goes on where it was."""

    def __init__(self, member: Member, around: Surroundings, make: Mapping[str, MakeLink]) -> None:
        self._member = member
        self._around = around
        self._make = make
        self._known: dict[str, tuple[Link, Link]] = {}

    def on(self, network: str) -> tuple[Link, Link]:
        """Return the device's uplink and downlink on *network*."""
        if network not in self._known:
            kind = self._around.networks[network]
            self._known[network] = (
                self._link(kind.uplink, "uplink", network),
                self._link(kind.downlink, "downlink", network),
            )
            for link in self._known[network]:
                link.timeout_ns = kind.timeout_ns
        return self._known[network]

    def _link(self, direction: Direction, end: str, network: str) -> Link:
        member, around = self._member, self._around
        elsewhere = () if network == member.network else (network,)
        own = stream(around.seed, end, member.name, *elsewhere) if Link.draws(direction) else None
        windows = around.program.link_windows(member, end) if around.program.faults else ()
        weather = stream(around.seed, "weather", end, member.name, *elsewhere) if windows else None
        make = self._make.get(end, Link)
        return make(direction, own, windows, weather)
