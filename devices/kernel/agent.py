"""The protocol logic of a device in compiled code: `devices.protocol.agent` is the definition."""

from typing import Any

from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import Run

STALE, PROGRESS, MISFIT, REJECTED, APPLIED, CONFIRMED = fixed(*range(6))
"""The receipts of parts."""


@compiled
def last_at_most(values: Any, top: int, most: int) -> int:
    """Return the highest index up to *top* of rising *values* whose value is at most *most*; -1: none."""
    low, high = 0, top + 1
    while low < high:
        middle = (low + high) // 2
        if values[middle] <= most:
            low = middle + 1
        else:
            high = middle
    return int(low - 1)


@compiled
def best_layer(run: Run, group: int, budget: int) -> int:
    """Return the highest layer of a ranking that fits into a budget."""
    return int(last_at_most(run.layer_bytes[group], run.tops[group], budget))


@compiled
def complete_layer(run: Run, group: int, held: int) -> int:
    """Return the highest layer that the first *held* blocks of a ranking complete."""
    return int(last_at_most(run.layer_blocks[group], run.tops[group], held))


@compiled
def resident_bytes(run: Run, group: int, blocks: int) -> int:
    """Return the bytes that a device stores for the first *blocks* blocks of a ranking."""
    return int(run.resident[run.rankings[group] + blocks])


@compiled
def set_held(run: Run, device: Any, blocks: int) -> None:
    """Hold the first *blocks* blocks of the ranking."""
    device.held = blocks
    device.resident = resident_bytes(run, device.user_group, blocks)
    device.layer = complete_layer(run, device.user_group, blocks)


@compiled
def set_budget(run: Run, device: Any, budget: int, requested: int) -> None:
    """Take a new budget; with local eviction, blocks beyond it are gone when this returns."""
    device.budget, device.requested = budget, requested
    if run.settings[0].local_eviction == 0 or device.resident <= budget or device.is_known == 0:
        return
    group, fitting = device.user_group, 0
    for layer in range(best_layer(run, group, requested), 0, -1):
        blocks = run.layer_blocks[group, layer]
        if blocks <= device.held and resident_bytes(run, group, blocks) <= requested:
            fitting = blocks
            break
    set_held(run, device, fitting)
    device.evicted = 1


@compiled
def forget(device: Any) -> None:
    """Drop all blocks."""
    device.is_known = device.held = device.resident = device.layer = 0


@compiled
def receive(run: Run, device: Any, exchange: Any, first: int, end: int, part: int) -> int:
    """Take in an intact part, with the blocks *first* to *end*, of an answer; return its receipt."""
    if exchange.seq != device.seq:
        return STALE
    begins, introduces = device.is_known == 0, exchange.introduces != 0 and part == 1
    if begins and not introduces:
        return REJECTED
    group, target = exchange.user_group, exchange.target
    held = 0 if begins else device.held
    if first > held and device.evicted != 0:
        return MISFIT
    if first > held or not (end <= target and target <= run.layer_blocks[group, run.tops[group]]):
        return REJECTED
    blocks = min(max(end, held), target)
    if blocks > held and resident_bytes(run, group, blocks) > device.budget:
        return MISFIT if device.budget < device.reported else REJECTED
    if part == exchange.parts and blocks != target:
        return REJECTED
    if begins:
        device.moved = 1 if device.held > 0 else 0
        device.is_known, device.user_group = 1, group
        device.held = device.resident = device.layer = 0
    if blocks != device.held:
        set_held(run, device, blocks)
        device.moved = 1
    if part < exchange.parts:
        return PROGRESS
    return APPLIED if device.moved != 0 else CONFIRMED
