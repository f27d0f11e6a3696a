"""The disk and the memory that a run will take, estimated before it starts.

The figures were measured with runs of this product (docs/scale.md); estimates are right within a factor of 2.
"""

from dataclasses import dataclass
from typing import Final

from cloud.data.sources import Synthetic
from devices.simulated.roster import RANGE_DEVICES
from emulator.simulation.engines import uses_kernel
from emulator.space.fleet_size import FleetSize
from scenarios.language.scenario import Scenario

_MIB: Final = 2**20

_EVENT_BYTES: Final = 60
"""Bytes on disk of a change: its rows in the event tables."""
_DRAFT_BYTES: Final = 450
"""The same in drafts, which runs that share a queue or a broker have until they end."""
_DEVICE_BYTES: Final = 100
"""Bytes on disk of a device: its row in the table of devices, which exists twice for a moment."""
_OTHER_BYTES: Final = 2 * _MIB
"""Bytes on disk of the report, the metrics and the model's note."""

_CHANGE_MEMORY: Final = 1_700
"""Bytes in memory of a change while its range is simulated, or measured."""
_LIVING_MEMORY: Final = 24_000
"""Bytes in memory of a device in SimPy where all devices live at the same time."""
_CONNECTION_MEMORY: Final = 66_000
"""The same with a connection of its own, in real time."""
_LISTED_MEMORY: Final = 100
"""Bytes in memory of a device that does not live: its id, its sums."""
_QUALITY_MEMORY: Final = 24
"""Bytes in memory of the quality of one layer for one user, in each process."""
_KEPT_MEMORY: Final = 1_200
"""Bytes in memory of a change of which all rows are kept, for a threshold that can end the run."""
_MOST_SPLIT: Final = 160 * _MIB
"""Bytes in memory while drafts are split into ranges."""
_RUN, _ALONE_IN_SIMPY, _ALONE_IN_KERNEL = 150 * _MIB, 190 * _MIB, 230 * _MIB
"""Memory of a run's process: with workers, and without, in either engine."""
_SIMPY_WORKER, _KERNEL_WORKER, _MEASURING_WORKER = 130 * _MIB, 215 * _MIB, 100 * _MIB
_BROKER, _SHARD, _REPLICA = 20 * _MIB, 100 * _MIB, 60 * _MIB


@dataclass(frozen=True)
class Processes:
    """The processes of a run."""

    workers: int
    """Most processes for the ranges of the fleet."""
    shards: int = 1
    """Processes of the fleet in real time."""
    is_replay: bool = False
    """True if a recorded run is played again."""


@dataclass(frozen=True)
class Space:
    """The bytes that a run takes at its peak."""

    disk: int
    memory: int


def estimate_space(scenario: Scenario, size: FleetSize, processes: Processes) -> Space:
    """Return about how much a run of *scenario* takes.

    Args:
        scenario: resolved.
        size: of its fleet.
        processes: that carry it.
    """
    drafted = scenario.shared or scenario.clock != "virtual"
    event_bytes = _EVENT_BYTES + _DRAFT_BYTES * drafted
    disk = size.changes * event_bytes + size.devices * _DEVICE_BYTES + _OTHER_BYTES
    workers = min(processes.workers, -(-size.devices // RANGE_DEVICES))
    measuring = size.range_changes * _CHANGE_MEMORY
    if not drafted:
        kernel = uses_kernel(scenario, is_replay=processes.is_replay)
        each = _quality_bytes(scenario) + measuring
        return Space(disk, size.devices * _LISTED_MEMORY + _of_ranges(workers, each, kernel=kernel))
    simulating = _living_bytes(scenario, size, processes) + _quality_bytes(scenario)
    splitting = min(size.changes * _DRAFT_BYTES, _MOST_SPLIT)
    others = workers * (_MEASURING_WORKER + measuring) if workers > 1 else measuring
    # What living devices took is free for what comes after them, but not given back by this process.
    afterwards = splitting if scenario.clock == "realtime" else max(simulating, splitting)
    return Space(disk, _RUN + max(simulating, afterwards + others))


def _of_ranges(workers: int, each: int, *, kernel: bool) -> int:
    """Return the memory of processes that take *each* so much for a range."""
    if workers == 1:
        return (_ALONE_IN_KERNEL if kernel else _ALONE_IN_SIMPY) + each
    return _RUN + workers * ((_KERNEL_WORKER if kernel else _SIMPY_WORKER) + each)


def _living_bytes(scenario: Scenario, size: FleetSize, processes: Processes) -> int:
    """Return the memory of devices that all live at the same time, and of the processes that serve them."""
    kept = size.changes * _KEPT_MEMORY if scenario.can_abort else 0
    if scenario.clock == "virtual":
        return size.devices * _LIVING_MEMORY + kept
    if scenario.clock == "lockstep":
        return size.devices * _LIVING_MEMORY + kept + _BROKER + _REPLICA
    shards, replicas = processes.shards, scenario.realtime.replicas
    return size.devices * _CONNECTION_MEMORY + kept + _BROKER + shards * _SHARD + replicas * _REPLICA


def _quality_bytes(scenario: Scenario) -> int:
    """Return the memory of the quality of all layers; users of data in files are not counted."""
    users = scenario.data.users if isinstance(scenario.data, Synthetic) else 0
    return users * scenario.model.layers * _QUALITY_MEMORY
