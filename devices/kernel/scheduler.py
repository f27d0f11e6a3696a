"""The scheduler of reports in compiled code: `devices.protocol.report_scheduler` is the definition."""

import math
from typing import Any

from devices.kernel.agent import APPLIED, CONFIRMED, MISFIT, REJECTED, forget, set_budget
from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import DeviceStatus, Run
from devices.protocol.report_policy import LONGEST_SILENCE, MANY_REFUSALS, MOST_DOUBLINGS
from devices.protocol.report_scheduler import NEVER, ReportCause

_NEVER, _MANY_REFUSALS, _NO_CAUSE = fixed(NEVER, MANY_REFUSALS, -1)
_LONGEST_SILENCE, _MOST_DOUBLINGS = fixed(LONGEST_SILENCE, MOST_DOUBLINGS)
_START, _CHANGE, _RETRY = fixed(ReportCause.START, ReportCause.CHANGE, ReportCause.RETRY)
_REJECTED, _RECONNECT = fixed(ReportCause.REJECTED, ReportCause.RECONNECT)
_PERIODIC, _USER = fixed(ReportCause.PERIODIC, ReportCause.USER)
(_LEFT_TO_SIMPY,) = fixed(DeviceStatus.LEFT_TO_SIMPY)


@compiled
def requested_bytes(group: Any, budget: int) -> int:
    """Return the bytes that a device with a budget asks for."""
    requested = budget
    if group.headroom > 0:
        requested = min(requested, int(requested * (1.0 - group.headroom)))
    if group.levels == 0 or requested < 1:
        return requested
    step = math.ceil(math.log2(requested + 1) * group.levels)
    level = int(2.0 ** (step / group.levels))
    while level > requested:
        step -= 1
        level = int(2.0 ** (step / group.levels))
    return level


@compiled
def on_budget(run: Run, device: Any, budget: int) -> None:
    """Set the agent's budget, and decide when it is reported."""
    group, before, now = run.groups[device.group], device.resident, device.now_ns
    requested = requested_bytes(group, budget)
    set_budget(run, device, budget, requested)
    if device.resident < before:
        device.evicted_since = 1
    device.changed_ns = now
    if device.online == 0:
        return
    if group.every_change != 0 or device.seq == 0:
        device.cause, device.deadline_ns = _CHANGE, now
        return
    device.change_ns = _report_ns(group, device, requested)
    find_deadline(device)


@compiled
def _report_ns(group: Any, device: Any, requested: int) -> int:
    """Return the time to report a budget that has just changed; never: no report."""
    now, last = device.now_ns, device.last_requested
    if device.resident > device.budget:
        return int(now)
    if device.evicted_since == 0:
        if requested > last and group.hysteresis > 0 and requested <= last * (1.0 + group.hysteresis):
            return _NEVER
        if requested < last and group.headroom > 0:
            return _NEVER
        change = abs(requested - last)
        if change == 0 or change < group.on_change * last:
            return _NEVER
    return int(max(now + group.debounce_ns, device.last_ns + group.min_interval_ns))


@compiled
def on_user(device: Any, user: int) -> None:
    """Give the agent another user."""
    device.user = user
    forget(device)
    if device.changed_ns >= 0:
        device.changed_ns = device.now_ns
        if device.online != 0:
            device.cause, device.deadline_ns = _USER, device.now_ns


@compiled
def on_connected(device: Any) -> None:
    """Report: what was under way on an earlier connection may be lost."""
    device.online = 1
    if device.changed_ns >= 0:
        device.cause, device.deadline_ns = _RECONNECT, device.now_ns


@compiled
def on_disconnected(device: Any) -> None:
    """Plan nothing until the next connection."""
    device.online = device.awaits = 0
    device.cause = _NO_CAUSE
    _cancel_plans(device)


@compiled
def on_receipt(device: Any, receipt: int, is_latest: bool) -> None:
    """Decide on a part that the agent has received."""
    if receipt in (APPLIED, CONFIRMED):
        device.awaits = 0
        device.refused, device.refused_held = 0, -1
        device.silent = 0
        if device.again_ns != _NEVER or device.resend_ns != _NEVER:
            device.again_ns = device.resend_ns = _NEVER
            find_deadline(device)
    elif receipt == MISFIT:
        device.cause, device.deadline_ns = _CHANGE, device.now_ns
    elif receipt == REJECTED and is_latest:
        _on_rejected(device)


@compiled
def on_no_answer(run: Run, device: Any, seq: int) -> None:
    """Repeat a report if it is the last one; ever later where one after another has no answer."""
    if seq != device.seq or device.online == 0 or device.again_ns != _NEVER:
        return
    device.silent += 1
    first_ns = run.settings[0].retry_ns
    wait_ns = min(first_ns << min(device.silent - 1, _MOST_DOUBLINGS), _LONGEST_SILENCE * first_ns)
    if wait_ns > first_ns:
        device.resend_ns = device.now_ns + wait_ns - first_ns
        find_deadline(device)
    else:
        device.cause, device.deadline_ns = _RETRY, device.now_ns


@compiled
def poll(run: Run, device: Any) -> int:
    """Return the cause of a report that is due, -1 if none is."""
    now, group = device.now_ns, run.groups[device.group]
    if device.cause == _NO_CAUSE:
        _check_deadlines(run, device)
    if device.cause == _NO_CAUSE:
        return _NO_CAUSE
    cause = device.cause if device.seq > 0 else _START
    device.cause = _NO_CAUSE
    device.awaits, device.evicted_since = 1, 0
    _cancel_plans(device)
    if group.every_change != 0 and group.max_interval_ns == 0:
        return int(cause)
    device.last_requested, device.last_ns = device.requested, now
    if group.max_interval_ns > 0 and now < run.settings[0].stop_ns:
        device.periodic_ns = now + group.max_interval_ns
    find_deadline(device)
    return int(cause)


@compiled
def _on_rejected(device: Any) -> None:
    """Ask again; after many rejected answers the wait is drawn by a hash, which is left to SimPy."""
    if device.awaits == 0 or device.again_ns != _NEVER:
        return
    if device.held > device.refused_held:
        device.refused = 0
    device.refused, device.refused_held = device.refused + 1, device.held
    if device.refused < _MANY_REFUSALS:
        device.cause, device.deadline_ns = _REJECTED, device.now_ns
    else:
        device.status = _LEFT_TO_SIMPY


@compiled
def _check_deadlines(run: Run, device: Any) -> None:
    """Set the cause of the report whose time has come, if there is one."""
    now = device.now_ns
    if now >= device.change_ns:
        device.cause = _CHANGE
    elif now >= device.again_ns:
        device.cause = _REJECTED
    elif now >= device.resend_ns:
        device.resend_ns = _NEVER
        find_deadline(device)
        device.cause = _RETRY
    elif now >= device.periodic_ns:
        device.periodic_ns = _NEVER
        find_deadline(device)
        if now < run.settings[0].stop_ns:
            device.cause = _PERIODIC


@compiled
def _cancel_plans(device: Any) -> None:
    device.change_ns = device.again_ns = device.periodic_ns = device.deadline_ns = _NEVER
    device.resend_ns = _NEVER


@compiled
def find_deadline(device: Any) -> None:
    """Set the next deadline; a report that is due already keeps the one it has."""
    if device.cause == _NO_CAUSE:
        device.deadline_ns = min(device.change_ns, device.again_ns, device.periodic_ns, device.resend_ns)
