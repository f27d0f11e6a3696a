"""The sums of a run, merged from those of its ranges, which an executor measures."""

from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from devices.simulated.roster import DeviceRange, split_ranges
from emulator.executors.executor import Executor, SharedValue
from emulator.executors.map_tasks import TASKS_PER_WORKER, map_tasks
from emulator.ranges.range_reader import RangeReader

RANGES_PER_TASK = 8
"""Most ranges that a task merges: the sums of one take megabytes, and those of all travel to one process."""


class MergeableSums(Protocol):
    """Sums of a range of devices."""

    def merged(self, other: Self, /) -> Self:
        """Return the sums of both; the devices of *other* come after these."""
        ...


Sums = TypeVar("Sums", bound=MergeableSums)


def sum_ranges(
    executor: Executor,
    run: Path,
    devices: int,
    measure: Callable[..., Sums],
    *inputs: object,
    on_share: Callable[[float], None] = lambda _: None,
) -> Sums:
    """Return the sums of all ranges of a run; they do not depend on how many are measured in one task.

    Args:
        executor: runs the tasks.
        run: a run directory, which all workers can read.
        devices: the number of its devices.
        measure: a function of a module: returns the sums of a range from a reader, the range, and *inputs*.
        inputs: further arguments, the same for all ranges.
        on_share: receives the share of the tasks that is done.
    """
    ranges = split_ranges(devices)
    size = min(RANGES_PER_TASK, -(-len(ranges) // (TASKS_PER_WORKER * executor.workers)))
    tasks = [
        DeviceRange(ranges[at].first, ranges[min(at + size, len(ranges)) - 1].stop)
        for at in range(0, len(ranges), size)
    ]
    shared = executor.share((run.resolve(), inputs))
    call = partial(measure_ranges, measure)
    sums = map_tasks(executor, call, tasks, shared, on_done=lambda done: on_share(done / len(tasks)))
    return reduce(_merge, sums)


def measure_ranges(
    measure: Callable[..., Sums],
    shared: SharedValue[tuple[Path, tuple[Any, ...]]],  # Any: of the types that measure takes
    devices: DeviceRange,
) -> Sums:
    """Return the merged sums of the ranges in *devices*."""
    run, inputs = shared.get()
    reader = RangeReader(run)
    own = [each for each in split_ranges(devices.stop) if each.first >= devices.first]
    return reduce(_merge, (measure(reader, each, *inputs) for each in own))


def _merge(one: Sums, other: Sums) -> Sums:
    return one.merged(other)
