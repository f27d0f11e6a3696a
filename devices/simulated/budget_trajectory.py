"""The budget of a device over time: its memory process, with shocks and actions."""

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
"""The changes of a budget: (wait_ns, free_bytes, budget_bytes)."""


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
    if not scales:
        for wait, free_bytes in memory:
            free = free_bytes if free_bytes < most_free else most_free
            yield wait, free, rule(free)
        return
    now, last, free, factor, remaining = 0, 0, 0, 1.0, list(reversed(scales))
    for wait, free_bytes in memory:
        now += wait
        while remaining and remaining[-1][0] < now:
            at, factor = remaining.pop()
            yield at - last, free, int(rule(free) * factor)
            last = at
        while remaining and remaining[-1][0] == now:
            factor = remaining.pop()[1]
        free = free_bytes if free_bytes < most_free else most_free
        yield now - last, free, rule(free) if factor == 1.0 else int(rule(free) * factor)
        last = now
    for at, factor in reversed(remaining):
        yield at - last, free, int(rule(free) * factor)
        last = at


def resume_from(trajectory: BudgetTrajectory, start_ns: int, since_ns: int) -> tuple[BudgetTrajectory, int]:
    """Return the rest of *trajectory*, begun at *start_ns*, from *since_ns* on; and when that begins."""
    if start_ns >= since_ns:
        return trajectory, start_ns
    return _rest(trajectory, since_ns - start_ns), since_ns


def _rest(trajectory: BudgetTrajectory, skipped_ns: int) -> BudgetTrajectory:
    """Yield the budget that holds after *skipped_ns*, then every later one."""
    now, held = 0, (0, 0)
    for wait, *state in trajectory:
        if now + wait > skipped_ns:
            yield 0, *held
            yield now + wait - skipped_ns, state[0], state[1]
            yield from trajectory
            return
        now, held = now + wait, (state[0], state[1])
    yield 0, *held


def scale_factors(steps: Iterable[tuple[int, float]], start_ns: int) -> list[tuple[int, float]]:
    """Return scalings by the device's own time; of those before its start only the last counts."""
    factors: list[tuple[int, float]] = []
    for t_ns, factor in steps:
        if t_ns <= start_ns:
            factors = [(0, factor)]
        else:
            factors.append((t_ns - start_ns, factor))
    return factors


def memory_process(spec: DeviceSpec, seed: int, series: Sequence[Series[int]], layers: Layers) -> Changes:
    """Return the changes of a device's free memory, shocks included.

    Args:
        spec: the device.
        seed: of the run.
        series: the recorded series, where its memory replays a trace.
        layers: of its user's ranking, for a memory that swings around a block boundary.
    """
    group, name = spec.group, spec.name
    return apply_shocks(
        _own_memory(spec, seed, series, layers),
        group.shocks,
        seed=seed,
        group=group.name,
        device=name,
        start_ns=spec.start_ns,
    )


def _own_memory(spec: DeviceSpec, seed: int, series: Sequence[Series[int]], layers: Layers) -> Changes:
    """Return the changes of a device's free memory without shocks."""
    group, name = spec.group, spec.name
    memory = group.memory
    if isinstance(memory, Replay):
        played = assigned_series(
            memory,
            count=len(series),
            seed=seed,
            group=group.name,
            index=index_in_group(name),
            drawn=spec.series,
        )
        return memory_changes(series[played], memory, start_within(memory, seed, name))
    rng = stream(seed, "memory", name)
    if isinstance(memory, Boundary):
        return memory.changes_around(layers, group.budget, rng)
    return memory.changes(rng)


def index_in_group(name: str) -> int:
    """Return the index of the device called *name* in its group, from 0."""
    return int(name.rpartition("-")[2])


def recorded_offline_spans(
    spec: DeviceSpec, seed: int, series: Sequence[Series[bool]]
) -> Iterator[OfflineSpan]:
    """Yield the spans in which a device is offline in the recording that it replays, from its start on."""
    group, name = spec.group, spec.name
    trace = group.availability
    assert trace is not None
    played = assigned_series(
        trace,
        count=len(series),
        seed=seed,
        group=group.name,
        index=index_in_group(name),
        drawn=draw(seed, "availability", name),
    )
    for start_ns, end_ns in offline_spans(series[played], trace, start_within(trace, seed, name)):
        yield OfflineSpan(
            spec.start_ns + start_ns, min(spec.start_ns + end_ns, FOREVER), ConnectivityCause.TRACE
        )
