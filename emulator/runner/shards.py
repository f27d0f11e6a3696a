"""A fleet under the virtual clock, simulated in one process or in several, its shards."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from devices.simulated.roster import simulated_names
from emulator.processes.worker_pool import interruptible, worker_pool
from emulator.simulation.job import Job
from emulator.simulation.simulation import Outcome, Simulation
from scenarios.language.scenario import Scenario
from wire.errors import InputError, RunError

MAX_SHARDS = 256


def check_shards(scenario: Scenario, shards: int) -> None:
    """Check that *scenario* can run in so many processes.

    Raises:
        InputError: it cannot.
    """
    reason = scenario.shared_by or ("the clock is lockstep" if scenario.clock == "lockstep" else None)
    if shards > 1 and reason:
        raise InputError(f"shards(={shards}) must be 1: {reason}")
    drawn = simulated_names(scenario.fleet, scenario.seed, scenario.sample) if shards > 1 else ("",)
    devices = len(drawn)
    if shards > devices:
        raise InputError(f"shards(={shards}) must not exceed the number of devices (={devices})")
    if shards > MAX_SHARDS:
        raise InputError(f"shards(={shards}) must not exceed {MAX_SHARDS}: each is a process")


def run_virtual_shards(job: Job, shards: int, progress: Callable[[int], None]) -> tuple[Outcome, list[Path]]:
    """Simulate the fleet in *shards* processes; return the outcome and the folders of the event logs.

    Devices in different shards share nothing, so the event log does not depend on their number.
    """
    if shards == 1:
        return Simulation(job, progress).run_virtual(), [job.folder]
    jobs = [
        replace(job, devices=job.devices[number::shards], folder=job.folder.with_name(f".shard-{number}"))
        for number in range(shards)
    ]
    try:
        with worker_pool(shards) as pool:
            outcomes = list(pool.map(_run_shard, jobs))
    except BrokenProcessPool:
        raise RunError("the process of a shard has died: killed for want of memory?") from None
    return Outcome(max(outcome.wall_seconds for outcome in outcomes), None), [shard.folder for shard in jobs]


def _run_shard(job: Job) -> Outcome:
    simulation = Simulation(job, lambda _: None)
    with interruptible():
        return simulation.run_virtual()
