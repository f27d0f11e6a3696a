"""The size of a fleet: its devices and about how often they change, known before a run starts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devices.memory import Boundary
from devices.simulated.budget_trajectory import BudgetTrajectory
from devices.simulated.fleet_config import FleetConfig, TraceSeries, device_connectivity, device_trajectory
from devices.simulated.roster import RANGE_DEVICES, DeviceNames, DeviceSpec, FleetGroup, split_ranges
from devices.simulated.sample import sample_size
from devices.timeline.timeline import Timeline
from emulator.run_directory.event_parts import part_path
from emulator.run_directory.layout import DEVICES, EVENTS
from emulator.run_directory.manifest import MANIFEST, read_entries
from emulator.simulation.trace_files import TraceFiles
from scenarios.language.scenario import Scenario
from wire.layers import Layers

_DEVICES: Final = 16
"""Devices of a group that are followed."""
_STEPS: Final = 2_000
"""Changes of a device after which the rest of the run counts as more of the same."""
_CYCLES: Final = ("budget", "update")
"""Tables with about a row for each change."""
_NO_LAYERS: Final = Layers((0,), (0,))

Step = tuple[int, bool]
"""The time of a step of a device, and True if it is a change."""


@dataclass(frozen=True)
class FleetSize:
    """The devices that a run simulates, and about how many changes they have.

    A change is one of the budget or of the connectivity, with what follows it: a report, an update, states.
    """

    devices: int
    changes: int
    range_changes: int
    """Changes of the range that has most."""


def estimate_size(scenario: Scenario, traces: TraceFiles) -> FleetSize:
    """Return the size of the fleet of *scenario*, from a few devices of each group.

    Args:
        scenario: resolved.
        traces: of its groups.
    """
    followed = {group.name: list(_some_devices(group)) for group in scenario.fleet}
    names = [spec.name for specs in followed.values() for spec in specs]
    stop_ns = int(scenario.stop_time)
    timeline = Timeline(scenario.seed, scenario.stages, scenario.actions, scenario.faults, names, stop_ns)
    config = FleetConfig(
        seed=scenario.seed,
        fleet="",
        networks=scenario.networks,
        device_classes=scenario.nodes,
        policy=scenario.reporting,
        timeline=timeline,
    )
    groups = []
    for group in scenario.fleet:
        series = TraceSeries(traces.memory.get(group.name, ()), traces.availability.get(group.name, ()))
        changes = [_count_changes(spec, config, series, stop_ns) for spec in followed[group.name]]
        groups.append((sum(changes) / len(changes), sample_size(group.count, scenario.sample or 1)))
    return _size_of_groups(groups)


def recorded_size(run: Path) -> FleetSize | None:
    """Return the size of the fleet of a finished run; None: it has no manifest, which counts rows.

    Raises:
        InputError: the manifest is damaged.
    """
    entries = read_entries(run / MANIFEST)
    if entries is None or DEVICES not in entries:
        return None
    ranges = split_ranges(entries[DEVICES].rows or 0)
    tables = [[entries.get(f"{EVENTS}/{part_path(name, each)}") for name in _CYCLES] for each in ranges]
    changes = [max((part.rows or 0 for part in parts if part), default=0) for parts in tables]
    return FleetSize(entries[DEVICES].rows or 0, sum(changes), max(changes, default=0))


def _size_of_groups(groups: Sequence[tuple[float, int]]) -> FleetSize:
    """Return the size of a fleet of groups: changes of a device, and number of devices."""
    room, fullest = RANGE_DEVICES, 0.0
    for changes, count in sorted(groups, reverse=True):
        fullest += changes * min(count, room)
        room -= min(count, room)
    devices, total = sum(count for _, count in groups), sum(changes * count for changes, count in groups)
    return FleetSize(devices, round(total), round(fullest))


def _some_devices(group: FleetGroup) -> Iterator[DeviceSpec]:
    """Yield some devices of a group, evenly spread over it; all start with the group."""
    names, count = DeviceNames([group]), min(group.count, _DEVICES)
    for at in range(count):
        yield DeviceSpec(at, names[at * group.count // count], group, 0, 0, (at + 0.5) / count)


def _count_changes(spec: DeviceSpec, config: FleetConfig, series: TraceSeries, stop_ns: int) -> float:
    """Return about how many changes a device has until the end of the run."""
    timeline, group = config.timeline, spec.group
    actions = timeline.actions_for(spec.member)
    connectivity = device_connectivity(spec, config, series, actions) or ()
    connections = _count_until(stop_ns, ((change.t_ns, change.online) for change in connectivity))
    lasting_ns = stop_ns - timeline.moment(group.start_at) - group.start_within // 2
    if isinstance(group.memory, Boundary):  # its changes follow from a table that is not trained yet
        spans = sum(2 / sum(each.values()) for each in group.memory.periods())
        return connections + max(lasting_ns, 0) * spans
    trajectory = device_trajectory(spec, config, series, actions, _NO_LAYERS)
    return connections + _count_until(lasting_ns, _budget_changes(trajectory))


def _budget_changes(trajectory: BudgetTrajectory) -> Iterator[Step]:
    """Yield the steps of a trajectory; those that leave the budget as it is are no changes."""
    now_ns, held = 0, -1
    for wait_ns, _, budget_bytes in trajectory:
        now_ns += wait_ns
        yield now_ns, budget_bytes != held
        held = budget_bytes


def _count_until(stop_ns: int, steps: Iterable[Step]) -> float:
    """Return about how many of *steps* are changes, and not later than *stop_ns*."""
    changes = 0
    for number, (t_ns, changed) in enumerate(steps):
        if t_ns > stop_ns:
            break
        changes += changed
        if number == _STEPS:
            return changes * stop_ns / max(t_ns, 1)
    return changes
