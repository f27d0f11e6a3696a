"""The events of one device, in a heap: by time, priority and the order in which they were made."""

from typing import Any

from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import DeviceStatus, Run

NORMAL, CONNECTIVITY, MEMORY = fixed(1, 2, 3)
"""Priorities at equal times, as in `devices.simulated.device`."""
NO_EXCHANGE, NO, YES = fixed(-1, 0, 1)
(_FULL,) = fixed(DeviceStatus.TABLE_FULL)


@compiled
def is_before(one: Any, other: Any) -> bool:
    """Tell whether an event comes before another one."""
    return bool(one.t_ns < other.t_ns or (one.t_ns == other.t_ns and one.order < other.order))


@compiled
def push(run: Run, device: Any, t_ns: int, priority: int, kind: int, exchange: int) -> int:
    """Add an event; return its place in the heap before it rises, where the rest of it is to be set.

    The caller must call `rise` with that place.
    """
    at = device.events
    if at >= len(run.events) - 2:
        device.status = _FULL
        return NO_EXCHANGE
    event = run.events[at]
    event.t_ns, event.order = t_ns, (priority << 48) + device.next_event
    event.kind, event.exchange = kind, exchange
    device.events = at + 1
    device.next_event = device.next_event + 1
    if exchange >= 0:
        run.exchanges[exchange].references = run.exchanges[exchange].references + 1
    return int(at)


@compiled
def rise(run: Run, device: Any, at: int) -> None:
    """Move the event at a place of the heap up to where it belongs."""
    events = run.events
    last = len(events) - 2  # this place is never used by an event of the heap: it holds the one that moves
    if at < 0:
        return
    events[last] = events[at]
    while at > 0:
        above = (at - 1) >> 1
        if not is_before(events[last], events[above]):
            break
        events[at] = events[above]
        at = above
    events[at] = events[last]


@compiled
def add(run: Run, device: Any, t_ns: int, priority: int, kind: int, exchange: int) -> None:
    """Add an event that needs nothing but an exchange, which may be -1."""
    rise(run, device, push(run, device, t_ns, priority, kind, exchange))


@compiled
def pop(run: Run, device: Any) -> None:
    """Remove the first event, and put it at the last place of the array."""
    events = run.events
    last = len(events) - 1
    count = device.events - 1
    device.events = count
    events[last] = events[0]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= count:
            break
        if below + 1 < count and is_before(events[below + 1], events[below]):
            below += 1
        if not is_before(events[below], events[count]):
            break
        events[at] = events[below]
        at = below
    events[at] = events[count]


@compiled
def add_part(
    run: Run, device: Any, t_ns: int, kind: int, exchange: int, first: int, end: int, part: int, size: int,
    is_copy: int, is_damaged: int,
) -> None:  # fmt: skip
    """Add the arrival of a part."""
    at = push(run, device, t_ns, NORMAL, kind, exchange)
    if at < 0:
        return
    event = run.events[at]
    event.first, event.end, event.part, event.size = first, end, part, size
    event.is_copy, event.is_damaged = is_copy, is_damaged
    rise(run, device, at)
