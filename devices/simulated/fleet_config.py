"""The settings that the devices of a fleet are made from, and what follows from them for one device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from devices.protocol.report_policy import ReportPolicy
from devices.simulated.budget_trajectory import (
    BudgetTrajectory,
    budget_trajectory,
    memory_process,
    recorded_offline_spans,
    scale_factors,
)
from devices.simulated.device_class import DeviceClass
from devices.simulated.link import Network
from devices.simulated.roster import DeviceSpec
from devices.timeline.actions import ScheduledAction, budget_factors
from devices.timeline.connectivity import ConnectivityChange, connectivity_changes, offline_until
from devices.timeline.timeline import Timeline
from devices.traces.series import Series
from wire.layers import Layers
from wire.random_streams import stream


@dataclass(frozen=True)
class FleetConfig:
    """Settings that the devices of a fleet are made from."""

    seed: int
    fleet: str
    """The fleet's name in topics."""
    networks: Mapping[str, Network]
    device_classes: Mapping[str, DeviceClass]
    policy: ReportPolicy
    """Rules for reports that all groups share."""
    timeline: Timeline


@dataclass(frozen=True)
class TraceSeries:
    """The recorded series that the devices of a group replay; none where they replay no trace."""

    memory: Sequence[Series[int]] = ()
    availability: Sequence[Series[bool]] = ()


def device_trajectory(
    spec: DeviceSpec,
    config: FleetConfig,
    series: TraceSeries,
    actions: Sequence[ScheduledAction],
    layers: Layers,
) -> BudgetTrajectory:
    """Return the budget of a device over time, from its start on.

    Args:
        spec: the device.
        config: settings of the fleet.
        series: the recorded series of its group, where it replays traces.
        actions: on the device.
        layers: of its user's ranking in the version that is served to everybody.
    """
    group = spec.group
    memory = memory_process(spec, config.seed, series.memory, layers)
    scales = scale_factors(budget_factors(actions), spec.start_ns)
    return budget_trajectory(memory, group.budget.of, config.device_classes[group.node].memory, scales)


def device_connectivity(
    spec: DeviceSpec, config: FleetConfig, series: TraceSeries, actions: Sequence[ScheduledAction]
) -> Iterator[ConnectivityChange] | None:
    """Return the connectivity changes of a device; None if it is connected from its start on."""
    group, name = spec.group, spec.name
    offline_spans = config.timeline.offline_spans(spec.member, actions)
    if group.churn is not None:
        offline_spans.append(group.churn.offline_spans(stream(config.seed, "churn", name), spec.start_ns))
    if group.availability is not None:
        offline_spans.append(recorded_offline_spans(spec, config.seed, series.availability))
    return connectivity_changes([offline_until(spec.start_ns), *offline_spans]) if offline_spans else None
