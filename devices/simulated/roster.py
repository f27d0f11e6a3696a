"""The roster of a fleet: its groups, and who each device is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Annotated

import msgspec

from devices.memory import BoundedWalk, Budget, Memory, Shock
from devices.simulated.sample import draw_sample
from devices.timeline.connectivity import Churn
from devices.timeline.schedule import parse_moment
from devices.timeline.timeline import DeviceAttributes, Timeline
from devices.traces.availability import Availability
from wire.random_streams import draw, stream
from wire.topics import valid_name
from wire.units import Duration


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


def device_names(groups: Sequence[FleetGroup]) -> dict[str, FleetGroup]:
    """Return the group of each device by the device's id, in the order of the ids."""
    names = {f"{group.name}-{at:05d}": group for group in groups for at in range(group.count)}
    return dict(sorted(names.items(), key=itemgetter(0)))


def simulated_names(groups: Sequence[FleetGroup], seed: int, sample: float | None) -> dict[str, FleetGroup]:
    """Return the group of each device, or of each in a sample, by its id, in the order of the ids."""
    if sample is None:
        return device_names(groups)
    names = {
        f"{group.name}-{at:05d}": group
        for group in groups
        for at in draw_sample(group.name, group.count, seed, sample).tolist()
    }
    return dict(sorted(names.items(), key=itemgetter(0)))


def build_roster(
    groups: Sequence[FleetGroup],
    seed: int,
    users: Sequence[int],
    timeline: Timeline | None = None,
    sample: float | None = None,
) -> tuple[DeviceSpec, ...]:
    """Return all devices in the order of their ids, or a sample of them, each with a user drawn from *users*.

    Everything drawn for a device depends on the seed and its id only.
    """
    timeline = timeline or Timeline(seed)
    names = simulated_names(groups, seed, sample)
    return tuple(
        _device_spec(number, name, group, seed, users, timeline)
        for number, (name, group) in enumerate(names.items())
    )


def _device_spec(
    number: int, name: str, group: FleetGroup, seed: int, users: Sequence[int], timeline: Timeline
) -> DeviceSpec:
    rng = stream(seed, "device", name)
    user = users[int(rng.integers(len(users)))]
    start_ns = timeline.moment(group.start_at) + int(rng.integers(group.start_within + 1))
    enrolled = DeviceSpec(number, name, group, user, start_ns, float(rng.random()))
    handed_on = tuple(
        (action.t_ns, users[int(draw(seed, "new_user", action.number, name) * len(users))])
        for action in (timeline.actions_for(enrolled.member) if timeline.actions else ())
        if action.action.reassigns_users
    )
    return replace(enrolled, new_users=handed_on) if handed_on else enrolled
