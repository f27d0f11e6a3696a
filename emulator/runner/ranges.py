"""A fleet under the virtual clock whose devices share nothing: its ranges, over an executor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from devices.simulated.roster import DeviceRange, split_ranges
from emulator.executors.executor import Executor, SharedValue, WorkerDiedError
from emulator.executors.in_process import InProcessExecutor
from emulator.executors.map_tasks import map_tasks
from emulator.executors.open_executor import (
    IN_PROCESS,
    LOCAL,
    PROCESSES,
    ExecutorName,
    count_cores,
    open_executor,
)
from emulator.live.range_watch import RangeWatch
from emulator.run_directory.event_parts import Leaf
from emulator.run_directory.layout import PARTS
from emulator.simulation.garbage_collection import fewer_gc_runs
from emulator.simulation.job import Job
from emulator.simulation.range_simulation import RangeSimulator
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError

MAX_WORKERS = 256


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


def check_executor(scenario: Scenario, executor: ExecutorName | None) -> None:
    """Check that an *executor* that was asked for can simulate the ranges of *scenario*.

    Raises:
        InputError: it cannot, since one process simulates all devices, or real time has shards.
    """
    reason = scenario.shared_by or (None if scenario.clock == "virtual" else f"the clock is {scenario.clock}")
    if executor is not None and reason:
        raise InputError(f"executor(={executor}) must be left out: {reason}")


@contextmanager
def range_executor(workers: int | None, devices: int, name: ExecutorName | None = None) -> Iterator[Executor]:
    """Yield an executor for tasks on the ranges of a fleet of so many *devices*.

    Args:
        workers: most tasks at a time; None: one for each core.
        devices: the size of the fleet; one of a single range needs no other process of this machine.
        name: kind of the executor; None: processes of this machine.

    Raises:
        InputError: there is no such cluster.
        RunError: the process of a task died again and again.
    """
    name, size = name or LOCAL, workers
    if name.kind == PROCESSES:
        size = min(workers or count_cores(), len(split_ranges(devices)), MAX_WORKERS)
        name = name if size > 1 else ExecutorName(IN_PROCESS)
    try:
        with open_executor(name, size) as executor:
            yield executor
    except WorkerDiedError as error:
        raise RunError(f"{error} Fewer --workers need less") from None


def simulate_ranges(
    job: Job, executor: Executor, on_share: Callable[[float], None], watch: RangeWatch | None = None
) -> list[Leaf]:
    """Simulate all ranges of the fleet, write their parts, and return the leaves.

    The parts are in `PARTS`, beside the job's folder. Parts and leaves do not depend on the executor.

    Args:
        job: the inputs.
        executor: simulates the ranges; one whose worker dies is simulated again.
        on_share: receives the share of the work that is done.
        watch: shows the ranges to those who watch the run.
    """
    folder, ranges = job.folder.with_name(PARTS).resolve(), split_ranges(len(job.devices))
    if not isinstance(executor, InProcessExecutor):
        inputs, count = executor.share((job, folder, watch)), len(ranges)
        leaves = map_tasks(
            executor, simulate_range, ranges, inputs, on_done=lambda done: on_share(done / count)
        )
        return list(leaves)
    with fewer_gc_runs():
        simulator, leaves_here = RangeSimulator(job, folder, watch), list[Leaf]()
        for devices in ranges:
            report = partial(_add_share, on_share, len(leaves_here), len(ranges))
            leaves_here.append(simulator.simulate(devices, report))
    return leaves_here


def _add_share(on_share: Callable[[float], None], done: int, ranges: int, share: float) -> None:
    on_share((done + share) / ranges)


_SIMULATORS: dict[str, RangeSimulator] = {}
"""The simulator of this worker process, by the key of its inputs."""


def simulate_range(inputs: SharedValue[tuple[Job, Path, RangeWatch | None]], devices: DeviceRange) -> Leaf:
    """Simulate a range in this worker process, and return its leaf."""
    with fewer_gc_runs():
        if inputs.key not in _SIMULATORS:
            _SIMULATORS[inputs.key] = RangeSimulator(*inputs.get())
        return _SIMULATORS[inputs.key].simulate(devices)
