"""A fleet under the virtual clock whose devices share nothing: its ranges, over one process or several."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from devices.simulated.roster import DeviceRange, split_ranges
from emulator.executors.executor import SharedValue, WorkerDiedError
from emulator.executors.map_tasks import map_tasks
from emulator.executors.open_executor import count_cores, open_executor
from emulator.run_directory.event_parts import Leaf
from emulator.simulation.job import Job
from emulator.simulation.range_simulation import RangeSimulator
from emulator.simulation.simulation import fewer_gc_runs
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError

MAX_WORKERS = 256
PARTS = ".ranges"
"""Folder of the parts while ranges are simulated."""


def check_shards(scenario: Scenario, shards: int, devices: int) -> None:
    """Check that *scenario* can run in so many processes.

    Raises:
        InputError: it cannot.
    """
    reason = scenario.shared_by or ("the clock is lockstep" if scenario.clock == "lockstep" else None)
    if shards > 1 and reason:
        raise InputError(f"shards(={shards}) must be 1: {reason}")
    if shards > devices:
        raise InputError(f"shards(={shards}) must not exceed the number of devices (={devices})")
    if shards > MAX_WORKERS:
        raise InputError(f"shards(={shards}) must not exceed {MAX_WORKERS}: each is a process")


def simulate_ranges(job: Job, workers: int | None, on_share: Callable[[float], None]) -> list[Leaf]:
    """Simulate all ranges of the fleet, write their parts, and return the leaves.

    The parts are in `PARTS`, beside the job's folder. Parts and leaves do not depend on the workers.

    Args:
        job: the inputs.
        workers: most processes; None: a process for each core.
        on_share: receives the share of the work that is done.

    Raises:
        RunError: the process of a range died again and again.
    """
    folder, ranges = job.folder.with_name(PARTS), split_ranges(len(job.devices))
    size = min(workers or count_cores(), len(ranges), MAX_WORKERS)
    if size > 1:
        return _simulate_in_processes(job, folder, ranges, size, on_share)
    with fewer_gc_runs():
        simulator, leaves = RangeSimulator(job, folder), list[Leaf]()
        for devices in ranges:
            report = partial(_add_share, on_share, len(leaves), len(ranges))
            leaves.append(simulator.simulate(devices, report))
    return leaves


def _add_share(on_share: Callable[[float], None], done: int, ranges: int, share: float) -> None:
    on_share((done + share) / ranges)


def _simulate_in_processes(
    job: Job, folder: Path, ranges: Sequence[DeviceRange], size: int, on_share: Callable[[float], None]
) -> list[Leaf]:
    """Simulate *ranges* in worker processes; a range whose process dies is simulated again."""
    with open_executor(workers=size) as executor:
        inputs = executor.share((job, folder))
        try:
            return list(
                map_tasks(
                    executor,
                    simulate_range,
                    ranges,
                    inputs,
                    on_done=lambda done: on_share(done / len(ranges)),
                )
            )
        except WorkerDiedError as error:
            raise RunError(f"{error} Fewer --workers need less") from None


_SIMULATORS: dict[str, RangeSimulator] = {}
"""The simulator of this worker process, by the key of its inputs."""


def simulate_range(inputs: SharedValue[tuple[Job, Path]], devices: DeviceRange) -> Leaf:
    """Simulate a range in this worker process, and return its leaf."""
    with fewer_gc_runs():
        if inputs.key not in _SIMULATORS:
            _SIMULATORS[inputs.key] = RangeSimulator(*inputs.get())
        return _SIMULATORS[inputs.key].simulate(devices)
