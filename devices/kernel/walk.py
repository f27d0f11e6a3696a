"""The changes of a device's budget in compiled code: a bounded walk, step by step, or changes made before.

`devices.memory.walks.BoundedWalk` and `devices.memory.budget.Budget` are the definition.
"""

from typing import Any

import numpy as np

from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import Run
from devices.kernel.random_numbers import integer, random, standard_exponential
from devices.memory.sampling import STEPS_AT_ONCE

(_STEPS,) = fixed(STEPS_AT_ONCE)


@compiled
def budget_of(group: Any, free: int) -> int:
    """Return the budget that follows from the free memory."""
    left = free - group.reserve
    budget = int(left * group.share) if left > 0 else 0
    if group.has_min != 0 and budget < group.min:
        return int(group.min)
    if group.has_max != 0 and budget > group.max:
        return int(group.max)
    return budget


@compiled
def pressure_of(group: Any, free: int) -> int:
    """Return the memory pressure, by its number in `devices.event_log.Pressure`."""
    share = free / group.memory
    if share >= group.moderate:
        return 0
    if share >= group.low:
        return 1
    return 2 if share >= group.critical else 3


@compiled
def next_change(run: Run, device: Any) -> int:
    """Find the next change of the budget; return the time until then, -1 where there is none."""
    group = run.groups[device.group]
    if group.walks == 0:
        if device.change_at == device.change_end:
            return -1
        change = run.changes[device.change_at]
        device.change_at = device.change_at + 1
        device.next_free, device.next_budget = change.free, change.budget
        return int(change.wait_ns)
    stream = run.own_streams[len(run.own_streams) - 1]
    if device.walk_at < 0:
        _begin(group, device, stream)
        return _follow(group, device, 0)
    at = device.walk_at
    if at == 0:
        _draw_steps(run, group, device, stream)
    device.walk_at = (at + 1) % _STEPS
    step = run.walk[at]
    free = step.budget if step.budget >= 0 else device.walk_free + step.free
    device.walk_free = min(max(free, group.walk_min), group.walk_max)
    return _follow(group, device, step.wait_ns)


@compiled
def _follow(group: Any, device: Any, wait_ns: int) -> int:
    """Set the next free memory and budget; return the time until then."""
    free = min(device.walk_free, group.memory)
    device.next_free, device.next_budget = free, budget_of(group, free)
    return wait_ns


@compiled
def _begin(group: Any, device: Any, stream: Any) -> None:
    """Draw the beginning of a walk."""
    device.walk_at = 0
    device.walk_free = group.initial
    if group.has_initial == 0:
        device.walk_free = integer(stream, group.walk_min, group.walk_max)
    device.passed_ns = 0


@compiled
def _draw_steps(run: Run, group: Any, device: Any, stream: Any) -> None:
    """Draw the next steps: (wait, step, reset to this or -1)."""
    if device.passed_ns == 0:
        device.passed_ns = -1
        if group.is_fixed != 0 and group.is_random_phase != 0:
            device.passed_ns = -1 - integer(stream, 0, group.step_every - 1)
    draws: Any = run.draws
    for at in range(_STEPS):
        draws[at] = random(stream)
    for at in range(_STEPS):
        size = integer(stream, 0, group.max_step)
        run.walk[at].free = size if draws[at] < group.increase else -size
        run.walk[at].budget = -1
    for at in range(_STEPS):
        wait = group.step_every
        if group.is_fixed == 0:
            wait = int(max(group.step_every * standard_exponential(stream), 1.0))
        run.walk[at].wait_ns = wait
    run.walk[0].wait_ns = run.walk[0].wait_ns + (device.passed_ns + 1)
    device.passed_ns = -1
    if group.retain > 0.0 or group.reset > 0.0:
        _draw_resets(run, group, stream)


@compiled
def _draw_resets(run: Run, group: Any, stream: Any) -> None:
    """Draw which steps change nothing, and which lead back to the beginning."""
    draws: Any = run.draws
    for at in range(_STEPS):
        draws[at] = random(stream)
        if draws[at] < group.retain:
            run.walk[at].free = 0
    if group.reset == 0.0:
        return
    for at in range(_STEPS):
        target = group.initial
        if group.has_initial == 0:
            target = integer(stream, group.walk_min, group.walk_max)
        if draws[at] >= 1.0 - group.reset:
            run.walk[at].budget = np.int64(target)
