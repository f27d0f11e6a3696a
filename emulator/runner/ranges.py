"""A fleet under the virtual clock whose devices share nothing: its ranges, over one process or several."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from devices.simulated.roster import DeviceRange, split_ranges
from emulator.processes.worker_pool import interruptible, worker_pool
from emulator.run_directory.event_parts import Leaf
from emulator.simulation.job import Job
from emulator.simulation.range_simulation import RangeSimulator
from emulator.simulation.simulation import fewer_gc_runs
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError

MAX_WORKERS = 256
PARTS = ".ranges"
"""Folder of the parts while ranges are simulated."""
_DEATHS = 3
"""Number of deaths of worker processes that end a run."""


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
        RunError: worker processes died again and again.
    """
    folder, ranges = job.folder.with_name(PARTS), split_ranges(len(job.devices))
    size = min(workers or os.cpu_count() or 1, len(ranges), MAX_WORKERS)
    if size > 1:
        return _simulate_in_pool(job, folder, ranges, size, on_share)
    with fewer_gc_runs():
        simulator, leaves = RangeSimulator(job, folder), list[Leaf]()
        for devices in ranges:
            report = partial(_add_share, on_share, len(leaves), len(ranges))
            leaves.append(simulator.simulate(devices, report))
    return leaves


def _add_share(on_share: Callable[[float], None], done: int, ranges: int, share: float) -> None:
    on_share((done + share) / ranges)


def _simulate_in_pool(
    job: Job, folder: Path, ranges: Sequence[DeviceRange], size: int, on_share: Callable[[float], None]
) -> list[Leaf]:
    """Simulate *ranges* in worker processes; those of a process that dies are simulated again."""
    leaves: dict[DeviceRange, Leaf] = {}
    for _ in range(_DEATHS):
        try:
            with worker_pool(size, _prepare, job, folder) as pool:
                futures: list[Future[Leaf]] = [
                    pool.submit(_simulate, devices) for devices in ranges if devices not in leaves
                ]
                for future in as_completed(futures):
                    leaf = future.result()
                    leaves[leaf.devices] = leaf
                    on_share(len(leaves) / len(ranges))
            return [leaves[devices] for devices in ranges]
        except BrokenProcessPool:
            pass
    raise RunError(
        f"{_DEATHS} worker processes have died, one after the other: killed for want of memory? "
        "fewer --workers need less"
    )


class _RangeWorker:
    """State of this worker process: its job, and the simulator once a range was asked for."""

    job: Job
    folder: Path
    simulator: RangeSimulator | None = None


def _prepare(job: Job, folder: Path) -> None:
    """Give this worker process its job."""
    _RangeWorker.job, _RangeWorker.folder = job, folder


def _simulate(devices: DeviceRange) -> Leaf:
    with interruptible(), fewer_gc_runs():
        if _RangeWorker.simulator is None:
            _RangeWorker.simulator = RangeSimulator(_RangeWorker.job, _RangeWorker.folder)
        return _RangeWorker.simulator.simulate(devices)
