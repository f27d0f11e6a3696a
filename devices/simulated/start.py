"""The start of a device: its memory, its connectivity, its links and its actions, from the scenario."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec
import numpy as np

from devices.protocol.agent import Agent
from devices.protocol.report_scheduler import ReportScheduler
from devices.simulated.budget_trajectory import BudgetTrajectory, resume_from
from devices.simulated.context import SimulationContext
from devices.simulated.device import CONNECTIVITY, MEMORY, VISITS, Device
from devices.simulated.fleet_config import FleetConfig, TraceSeries, device_connectivity, device_trajectory
from devices.simulated.link import Direction, Link
from devices.simulated.recorded import RecordedDevice, RecordedDownlink, RecordedUplink
from devices.simulated.roster import DeviceSpec
from devices.simulated.visit_process import VisitProcess
from devices.timeline.actions import network_changes
from devices.timeline.connectivity import (
    ConnectivityChange,
    connectivity_changes,
    offline_until,
    resume_at,
)
from devices.timeline.faults import FaultWindow, LinkFault
from devices.timeline.timeline import DeviceAttributes
from wire.random_streams import draw, stream
from wire.topics import MessageKind, device_topic

Value = TypeVar("Value")


def start_device(
    spec: DeviceSpec,
    context: SimulationContext,
    config: FleetConfig,
    agent: Agent,
    series: TraceSeries,
    recorded: RecordedDevice | None = None,
    since_ns: int = 0,
) -> Device:
    """Start a device in the context's environment.

    Args:
        spec: the device.
        context: what it shares with the others of its environment.
        config: settings of the fleet.
        agent: its protocol logic.
        series: the recorded series of its group, where it replays traces.
        recorded: its part of a recorded run, which decides in place of the scenario.
        since_ns: the time at which it starts, where the process that ran it before has died: what came
            earlier is skipped.
    """
    group, member, timeline = spec.group, spec.member, config.timeline
    device_class = config.device_classes[group.node]
    actions = timeline.actions_for(member) if timeline.actions else ()
    changes: Iterable[ConnectivityChange] | None
    if recorded is None:
        changes = device_connectivity(spec, config, series, actions)
        layers = context.first_quality(spec.user).layers
        trajectory, start_ns = device_trajectory(spec, config, series, actions, layers), spec.start_ns
    else:
        changes, trajectory, start_ns = recorded.connectivity, _recorded_budgets(recorded, context), 0
    if since_ns:
        trajectory, start_ns = resume_from(trajectory, start_ns, since_ns)
        changes = resume_at(changes or connectivity_changes([offline_until(spec.start_ns)]), since_ns)
    links = _Links(member, config, _recorded_links(recorded, agent, context))
    uplink, downlink = links.on(group.network)
    device = Device(
        context,
        number=spec.number,
        name=spec.name,
        agent=agent,
        scheduler=_scheduler(spec, context, config, agent),
        trajectory=trajectory,
        device_class=device_class,
        uplink=uplink,
        downlink=downlink,
        address_bytes=len(device_topic(MessageKind.PEE, config.fleet, spec.name)) - len(MessageKind.PEE),
        start_ns=start_ns,
        always_on=changes is None,
    )
    if changes is not None:
        context.clock.follow(device.run_connectivity(changes), CONNECTIVITY)
    context.clock.follow(device.run(), MEMORY)
    if context.visits is not None:
        _start_visits(device, spec, context, since_ns)
    _schedule(context, spec.new_users, device.change_user, since_ns)
    if actions:
        moves = network_changes(actions, group.network)
        _schedule(context, moves, lambda network: device.change_links(*links.on(network)), since_ns)
    return device


def _recorded_budgets(recorded: RecordedDevice, context: SimulationContext) -> BudgetTrajectory:
    """Return the recorded budgets, with what learning keeps of them."""
    return (
        recorded.trajectory if context.visits is None else context.visits.whole_budgets(recorded.trajectory)
    )


def _start_visits(device: Device, spec: DeviceSpec, context: SimulationContext, since_ns: int) -> None:
    """Let the users of *device* meet interactions."""
    assert context.visits is not None
    device.visits = VisitProcess(
        device,
        device.agent,
        spec,
        context.visits,
        clock=context.clock,
        log=context.log.interaction,
        stop_ns=context.stop_ns,
        since_ns=since_ns,
    )
    context.clock.follow(device.visits.run(), VISITS)


def _scheduler(
    spec: DeviceSpec, context: SimulationContext, config: FleetConfig, agent: Agent
) -> ReportScheduler:
    """Return the scheduler of the device's reports; its delivery tells it of a missing answer."""
    return ReportScheduler(
        agent,
        msgspec.structs.replace(config.policy, publish=spec.group.budget.publish),
        lambda: draw(config.seed, "refusals", spec.name, agent.seq),
        silence_ns=context.retry_ns,
        last_retry_ns=context.last_retry_ns,
        stop_ns=context.stop_ns,
    )


def _schedule(
    context: SimulationContext,
    moments: Sequence[tuple[int, Value]],
    action: Callable[[Value], None],
    since_ns: int,
) -> None:
    """Do *action* with each value at its time; of the values before *since_ns* only the last one counts."""
    for _, value in [moment for moment in moments if moment[0] < since_ns][-1:]:
        action(value)
    for t_ns, value in moments:
        if since_ns <= t_ns < context.stop_ns:
            context.clock.after(t_ns - since_ns, value, action)


MakeLink = Callable[
    [Direction, np.random.Generator | None, Sequence[FaultWindow[LinkFault]], np.random.Generator | None],
    Link,
]


def _recorded_links(
    recorded: RecordedDevice | None, agent: Agent, context: SimulationContext
) -> Mapping[str, MakeLink]:
    """Return the constructors of a device's links, by their end, where its exchanges are replayed."""
    if recorded is None or recorded.exchanges is None:
        return {}
    exchanges = recorded.exchanges
    return {
        "uplink": partial(RecordedUplink, recorded=exchanges, agent=agent, outages=context.outages),
        "downlink": partial(RecordedDownlink, recorded=exchanges),
    }


class _Links:
    """A device's links, by network; their state is kept when the device returns to a network."""

    def __init__(
        self, member: DeviceAttributes, config: FleetConfig, constructors: Mapping[str, MakeLink]
    ) -> None:
        self._member = member
        self._config = config
        self._constructors = constructors
        self._links: dict[str, tuple[Link, Link]] = {}

    def on(self, network: str) -> tuple[Link, Link]:
        """Return the device's uplink and downlink on *network*."""
        if network not in self._links:
            settings = self._config.networks[network]
            self._links[network] = (
                self._link(settings.uplink, "uplink", network),
                self._link(settings.downlink, "downlink", network),
            )
            for link in self._links[network]:
                link.timeout_ns = settings.timeout_ns
        return self._links[network]

    def _link(self, direction: Direction, end: str, network: str) -> Link:
        member, config = self._member, self._config
        elsewhere = () if network == member.network else (network,)
        rng = stream(config.seed, end, member.name, *elsewhere) if Link.draws(direction) else None
        windows = config.timeline.link_windows(member, end) if config.timeline.faults else ()
        impairment_rng = stream(config.seed, "weather", end, member.name, *elsewhere) if windows else None
        return self._constructors.get(end, Link)(direction, rng, windows, impairment_rng)
