"""The fleet: groups of devices with their own parameters, and how a device comes to life."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np

from devices.protocol.agent import Agent
from devices.protocol.report_policy import Reporting
from devices.simulated.budget_trajectory import (
    Course,
    budgets,
    following,
    memory_of,
    recorded_offline_spans,
    scales_since,
)
from devices.simulated.context import Setting
from devices.simulated.device import Device
from devices.simulated.device_class import Node
from devices.simulated.link import Direction, Link, Network
from devices.simulated.recorded import Recorded, RecordedDownlink, RecordedUplink
from devices.simulated.roster import Enrolled
from devices.timeline.actions import ScheduledAction, budget_factors, network_changes
from devices.timeline.connectivity import (
    ConnectivityChange,
    OfflineSpan,
    connectivity_changes,
    offline_until,
    resume_at,
)
from devices.timeline.faults import FaultWindow, LinkFault
from devices.timeline.timeline import DeviceAttributes, Timeline
from devices.traces.series import Series
from wire.random_streams import stream
from wire.topics import MessageKind, device_topic


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
    timeline: Timeline


@dataclass(frozen=True)
class Played:
    """The recorded series that the devices of a group play; none where they play no trace."""

    memory: Sequence[Series[int]] = ()
    availability: Sequence[Series[bool]] = ()


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
    group, member, timeline = enrolled.group, enrolled.member, around.timeline
    node = around.nodes[group.node]
    actions = timeline.actions_for(member) if timeline.actions else ()
    presence: Iterable[ConnectivityChange] | None
    if recorded is None:
        presence = _presence(enrolled, around, played, timeline.offline_spans(member, actions))
        course, start_ns = _course(enrolled, setting, around, played, actions), enrolled.start_ns
    else:
        presence, course, start_ns = recorded.connectivity, recorded.course, 0
    if since_ns:
        course, start_ns = following(course, start_ns, since_ns)
        presence = resume_at(presence or connectivity_changes([offline_until(enrolled.start_ns)]), since_ns)
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
        address_bytes=len(device_topic(MessageKind.PEE, around.fleet, enrolled.name)) - len(MessageKind.PEE),
        start_ns=start_ns,
        always_on=presence is None,
    )
    if presence is not None:
        setting.env.process(device.follow(presence))
    setting.env.process(device.live())
    _schedule(setting, enrolled.new_users, device.change_user, since_ns)
    if actions:
        moves = network_changes(actions, group.network)
        _schedule(setting, moves, lambda to: device.change_links(*links.on(to)), since_ns)
    return device


def _course(
    enrolled: Enrolled,
    setting: Setting,
    around: Surroundings,
    played: Played,
    actions: Sequence[ScheduledAction],
) -> Course:
    """Return how a device's budget moves, from its start on."""
    group = enrolled.group
    memory = memory_of(enrolled, around.seed, played.memory, setting.first_quality(enrolled.user).layers)
    scales = scales_since(budget_factors(actions), enrolled.start_ns)
    return budgets(memory, group.budget.of, around.nodes[group.node].memory, scales)


def _presence(
    enrolled: Enrolled, around: Surroundings, played: Played, offline_spans: list[Iterator[OfflineSpan]]
) -> Iterator[ConnectivityChange] | None:
    """Return when a device connects and is cut off; None if it is connected from its start on."""
    group, name = enrolled.group, enrolled.name
    if group.churn is not None:
        offline_spans.append(group.churn.offline_spans(stream(around.seed, "churn", name), enrolled.start_ns))
    if group.availability is not None:
        offline_spans.append(recorded_offline_spans(enrolled, around.seed, played.availability))
    return connectivity_changes([offline_until(enrolled.start_ns), *offline_spans]) if offline_spans else None


def _schedule(
    setting: Setting, moments: Sequence[tuple[int, Any]], act: Callable[[Any], None], since_ns: int
) -> None:  # Any: what *act* takes
    for _, what in [each for each in moments if each[0] < since_ns][-1:]:
        act(what)
    for t_ns, what in moments:
        if since_ns <= t_ns < setting.stop_ns:
            setting.env.timeout(t_ns - since_ns, what).callbacks.append(lambda event: act(event.value))


MakeLink = Callable[
    [Direction, np.random.Generator | None, Sequence[FaultWindow[LinkFault]], np.random.Generator | None],
    Link,
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

    def __init__(self, member: DeviceAttributes, around: Surroundings, make: Mapping[str, MakeLink]) -> None:
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
        windows = around.timeline.link_windows(member, end) if around.timeline.faults else ()
        weather = stream(around.seed, "weather", end, member.name, *elsewhere) if windows else None
        make = self._make.get(end, Link)
        return make(direction, own, windows, weather)
