"""The course of a device's budget: what its memory does, what shocks and actions make of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from devices.memory import Boundary, Changes, Replay, apply_shocks
from devices.simulated.roster import DeviceSpec
from devices.timeline.connectivity import FOREVER, ConnectivityCause, OfflineSpan
from devices.traces.assignment import assigned_series, start_within
from devices.traces.availability import offline_spans
from devices.traces.series import Series, memory_changes
from wire.layers import Layers
from wire.random_streams import draw, stream

BudgetTrajectory = Iterator[tuple[int, int, int]]
"""How a budget moves: (wait_ns, free_bytes, budget_bytes)."""


def budget_trajectory(
    memory: Changes, rule: Callable[[int], int], most_free: int, scales: Sequence[tuple[int, float]]
) -> BudgetTrajectory:
    """Yield (wait_ns, free_bytes, budget_bytes): the budget that follows from memory and from actions.

    Args:
        memory: (wait_ns, free_bytes), the first wait 0.
        rule: the budget for so much free memory.
        most_free: no more memory is ever free.
        scales: (t_ns, factor) since the device's start, rising: from when on the budget is multiplied.
    """
    now, told, free, factor, remaining = 0, 0, 0, 1.0, list(reversed(scales))
    for wait, free_bytes in memory:
        now += wait
        while remaining and remaining[-1][0] < now:
            at, factor = remaining.pop()
            yield at - told, free, int(rule(free) * factor)
            told = at
        while remaining and remaining[-1][0] == now:
            factor = remaining.pop()[1]
        free = free_bytes if free_bytes < most_free else most_free
        yield now - told, free, rule(free) if factor == 1.0 else int(rule(free) * factor)
        told = now
    for at, factor in reversed(remaining):
        yield at - told, free, int(rule(free) * factor)
        told = at


def resume_from(course: BudgetTrajectory, start_ns: int, since_ns: int) -> tuple[BudgetTrajectory, int]:
    """Return what is left of *course*, begun at *start_ns*, from *since_ns* on; and when that begins."""
    if start_ns >= since_ns:
        return course, start_ns
    return _rest(course, since_ns - start_ns), since_ns


def _rest(course: BudgetTrajectory, skipped_ns: int) -> BudgetTrajectory:
    """Yield the budget that holds after *skipped_ns*, then every later one."""
    now, held = 0, (0, 0)
    for wait, *state in course:
        if now + wait > skipped_ns:
            yield 0, *held
            yield now + wait - skipped_ns, state[0], state[1]
            yield from course
            return
        now, held = now + wait, (state[0], state[1])
    yield 0, *held


def scale_factors(steps: Iterable[tuple[int, float]], start_ns: int) -> list[tuple[int, float]]:
    """Return scalings by the device's own time; of those before its start only the last counts."""
    found: list[tuple[int, float]] = []
    for t_ns, factor in steps:
        if t_ns <= start_ns:
            found = [(0, factor)]
        else:
            found.append((t_ns - start_ns, factor))
    return found


def memory_process(enrolled: DeviceSpec, seed: int, series: Sequence[Series[int]], layers: Layers) -> Changes:
    """Return how a device's free memory moves, shocks included.

    Args:
        enrolled: the device.
        seed: of the run.
        series: the recorded series, where its memory replays a trace.
        layers: of its user's ranking, for a memory that swings around a block boundary.
    """
    group, name = enrolled.group, enrolled.name
    return apply_shocks(
        _own_memory(enrolled, seed, series, layers),
        group.shocks,
        seed=seed,
        group=group.name,
        device=name,
        start_ns=enrolled.start_ns,
    )


def _own_memory(enrolled: DeviceSpec, seed: int, series: Sequence[Series[int]], layers: Layers) -> Changes:
    """Return what a device's memory does by itself."""
    group, name = enrolled.group, enrolled.name
    memory = group.memory
    if isinstance(memory, Replay):
        played = assigned_series(
            memory,
            count=len(series),
            seed=seed,
            group=group.name,
            index=place_in_group(name),
            drawn=enrolled.series,
        )
        return memory_changes(series[played], memory, start_within(memory, seed, name))
    rng = stream(seed, "memory", name)
    if isinstance(memory, Boundary):
        return memory.changes_around(layers, group.budget, rng)
    return memory.changes(rng)


def place_in_group(name: str) -> int:
    """Return the place of the device called *name* in its group, from 0."""
    return int(name.rpartition("-")[2])


def recorded_offline_spans(
    enrolled: DeviceSpec, seed: int, series: Sequence[Series[bool]]
) -> Iterator[OfflineSpan]:
    """Yield when a device could not be reached in the recording that it plays, from its start on."""
    group, name = enrolled.group, enrolled.name
    trace = group.availability
    assert trace is not None
    played = assigned_series(
        trace,
        count=len(series),
        seed=seed,
        group=group.name,
        index=place_in_group(name),
        drawn=draw(seed, "availability", name),
    )
    for start_ns, end_ns in offline_spans(series[played], trace, start_within(trace, seed, name)):
        yield OfflineSpan(
            enrolled.start_ns + start_ns, min(enrolled.start_ns + end_ns, FOREVER), ConnectivityCause.TRACE
        )
