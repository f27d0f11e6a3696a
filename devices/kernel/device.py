"""A device in compiled code, from start to end: `devices.simulated.device` is the definition."""

from typing import Any

from devices.kernel import delivery, exchanges, rows, scheduler, walk
from devices.kernel.compiler import compiled, entry_point, fixed
from devices.kernel.events import CONNECTIVITY, MEMORY, NO_EXCHANGE, NORMAL, add, pop, push, rise
from devices.kernel.layout import DeviceStatus, EventKind, Run
from devices.protocol.report_scheduler import NEVER
from devices.timeline.connectivity import ConnectivityCause

_WAIT, _GO_ON, _REPORT = fixed(0, 1, 2)
_NEVER, _START = fixed(NEVER, ConnectivityCause.START)
_RUNNING, _FULL = fixed(DeviceStatus.RUNNING, DeviceStatus.TABLE_FULL)
_MEMORY, _CONNECTIVITY = fixed(EventKind.MEMORY, EventKind.CONNECTIVITY)
_NEW_USER, _NEW_NETWORK, _ALARM = fixed(EventKind.NEW_USER, EventKind.NEW_NETWORK, EventKind.ALARM)
_BARRIER, _SEND_NEXT = fixed(EventKind.BARRIER, EventKind.SEND_NEXT)
_ONLY_PART, _END = fixed(EventKind.ONLY_PART, EventKind.END)


@entry_point
def simulate(run: Run, first: int, stop: int, statuses: Any) -> int:
    """Simulate devices of a range; return the first that was not: its rows found no room.

    Args:
        run: the arrays.
        first: the first device, by its place in the range.
        stop: the end.
        statuses: receives the status of each device.
    """
    for at in range(first, stop):
        before = run.counts.copy()
        _prepare(run, at)
        device = run.device[0]
        _live(run, device)
        statuses[at] = device.status
        if device.status != _RUNNING:
            run.counts[:] = before
            if device.status == _FULL:
                return at
    return stop


@compiled
def _prepare(run: Run, at: int) -> None:
    """Copy a device and its links to where they are simulated, and free all exchanges."""
    run.device[0] = run.devices[at]
    device = run.device[0]
    links = len(run.own_links)
    for link in range(links):
        if device.first_link + link < len(run.links):
            run.own_links[link] = run.links[device.first_link + link]
    for stream in range(2 * links):
        if 2 * device.first_link + stream < len(run.streams):
            run.own_streams[stream] = run.streams[2 * device.first_link + stream]
    run.own_streams[2 * links] = run.streams[device.memory_stream]
    last = len(run.exchanges) - 1
    for place in range(last + 1):
        run.exchanges[place].references = 0
        run.exchanges[place].next_free = place + 1 if place < last else -1
    device.downlink = 1
    device.walk_at = device.alarm_ns = device.changed_ns = device.cause = device.refused_held = -1
    device.change_ns = device.again_ns = device.periodic_ns = device.deadline_ns = device.alarm_ns = _NEVER
    device.resend_ns = _NEVER


@compiled
def _live(run: Run, device: Any) -> None:
    """Simulate a device from its start to its last event."""
    last = len(run.events) - 1
    _add_moments(run, device)
    _advance(run, device, _CONNECTIVITY)
    if device.start_ns > 0:
        add(run, device, device.start_ns, MEMORY, _MEMORY, NO_EXCHANGE)
    else:
        _advance(run, device, _MEMORY)
    while device.events > 0 and device.status == _RUNNING:
        pop(run, device)
        event = run.events[last]
        device.now_ns = event.t_ns
        kind, place = event.kind, event.exchange
        if kind <= _CONNECTIVITY:
            _advance(run, device, kind)
        elif kind < _BARRIER:
            if _change(run, device, kind, event.first):
                report_if_due(run, device)
        else:
            if _on_message(run, device, event):
                report_if_due(run, device)
            if kind == _ONLY_PART and exchanges.end(run, device, run.exchanges[place]):
                report_if_due(run, device)
            if kind != _SEND_NEXT:
                exchanges.release(run, device, place)


@compiled
def _advance(run: Run, device: Any, kind: int) -> None:
    """Change memory or connectivity until the next change is to be waited for."""
    if kind == _MEMORY and device.has_begun == 0:
        _begin(run, device)
    while device.status == _RUNNING:
        step = _change_memory(run, device) if kind == _MEMORY else _change_connectivity(run, device)
        if step == _WAIT:
            return
        if step == _REPORT:
            report_if_due(run, device)


@compiled
def _change(run: Run, device: Any, kind: int, value: int) -> bool:
    """Change the user or the network, or do nothing but tell that a report may be due."""
    if kind == _NEW_USER:
        scheduler.on_user(device, value)
        if device.changed_ns < 0:
            return False
        rows.log_quality(run, device)
    elif kind == _NEW_NETWORK:
        device.uplink, device.downlink = value, value + 1
        return False
    return True


@compiled
def _on_message(run: Run, device: Any, event: Any) -> bool:
    """Do what an event of an exchange is for; tell whether a report may be due."""
    kind, place = event.kind, event.exchange
    if kind == _BARRIER:
        delivery.on_barrier(run, device, place)
        return False
    if kind == _SEND_NEXT:
        delivery.send_next(run, device)
        return False
    if kind == _END:
        return bool(exchanges.end(run, device, run.exchanges[place]))
    if kind == _ONLY_PART:
        run.exchanges[place].received_ns = device.now_ns
    return bool(delivery.on_part(run, device, event))


@compiled
def report_if_due(run: Run, device: Any) -> None:
    """Send a report if one is due; come back when the next may be."""
    if device.deadline_ns <= device.now_ns:
        cause = scheduler.poll(run, device)
        if cause >= 0:
            delivery.send(run, device, cause)
    deadline_ns = device.deadline_ns
    if deadline_ns != _NEVER and deadline_ns != device.alarm_ns:
        device.alarm_ns = deadline_ns
        add(run, device, deadline_ns, NORMAL, _ALARM, NO_EXCHANGE)


@compiled
def _add_moments(run: Run, device: Any) -> None:
    """Add the events that bring new users and other networks."""
    for at in range(device.user_at, device.user_end):
        _add_moment(run, device, run.new_users[at], _NEW_USER)
    for at in range(device.move_at, device.move_end):
        _add_moment(run, device, run.moves[at], _NEW_NETWORK)


@compiled
def _add_moment(run: Run, device: Any, moment: Any, kind: int) -> None:
    at = push(run, device, moment.t_ns, NORMAL, kind, NO_EXCHANGE)
    if at >= 0:
        run.events[at].first = moment.value
        rise(run, device, at)


@compiled
def _begin(run: Run, device: Any) -> None:
    """Start the device: it connects, unless something else says when."""
    device.has_begun = 1
    if device.always_on != 0 and device.now_ns < run.settings[0].stop_ns:
        _connect(run, device, _START)


@compiled
def _change_memory(run: Run, device: Any) -> int:
    """Set the free memory, and the budget that follows from it, or wait for the time to do so."""
    if device.is_due == 0:
        wait_ns = walk.next_change(run, device)
        if wait_ns < 0 or device.now_ns + wait_ns >= run.settings[0].stop_ns:
            return int(_WAIT)
        device.is_due = 1
        if wait_ns > 0:
            add(run, device, device.now_ns + wait_ns, MEMORY, _MEMORY, NO_EXCHANGE)
            return int(_WAIT)
    device.is_due = 0
    pressure = walk.pressure_of(run.groups[device.group], device.next_free)
    if device.next_budget != device.budget or device.has_budget == 0:
        device.has_budget, device.pressure = 1, pressure
        before = device.resident
        scheduler.on_budget(run, device, device.next_budget)
        rows.log_budget(run, device, device.next_free, before)
        rows.log_quality(run, device)
        return int(_REPORT)
    if pressure != device.pressure:
        device.pressure = pressure
        rows.log_quality(run, device)
    return int(_GO_ON)


@compiled
def _change_connectivity(run: Run, device: Any) -> int:
    """Connect or disconnect, as the next change says, or wait for the time to do so."""
    if device.contact_at == device.contact_end:
        return int(_WAIT)
    contact = run.contacts[device.contact_at]
    if contact.t_ns > device.now_ns:
        add(run, device, contact.t_ns, CONNECTIVITY, _CONNECTIVITY, NO_EXCHANGE)
        return int(_WAIT)
    device.contact_at = device.contact_at + 1
    if contact.online == 0:
        _cut_off(run, device, contact.why)
        return int(_GO_ON)
    return int(_REPORT) if _connect(run, device, contact.why) else int(_GO_ON)


@compiled
def _connect(run: Run, device: Any, why: int) -> bool:
    """Connect the device; tell whether a report may be due."""
    device.online = 1
    rows.log_connection(run, device, why)
    scheduler.on_connected(device)
    if device.changed_ns < 0:
        return False
    rows.log_quality(run, device)
    return True


@compiled
def _cut_off(run: Run, device: Any, why: int) -> None:
    """Cut the device off."""
    device.online = 0
    device.epoch = device.epoch + 1
    scheduler.on_disconnected(device)
    run.own_links[device.uplink].ordered_ns = 0
    run.own_links[device.downlink].ordered_ns = 0
    rows.log_connection(run, device, why)
    if device.changed_ns >= 0:
        rows.log_quality(run, device)
