"""The links of a device in compiled code: `devices.simulated.link` is the definition.

A link has two streams: its own, and that for impairments by faults.
"""

from typing import Any

import numpy as np

from devices.kernel.compiler import compiled, fixed
from devices.kernel.layout import NONE, Run
from devices.kernel.random_numbers import pareto, random, standard_normal
from devices.kernel.support import BANDWIDTH, DUPLICATION, LATENCY, LOSS, REORDERING
from devices.simulated.link import LONGEST_TIMEOUT_NS, MOST_RETRIES
from devices.timeline.faults import NO_FAULT

CONSTANT, NORMAL, UNIFORM, LOGNORMAL, PARETO = fixed(*range(5))
_NONE, _OWN, _MOST_RETRIES, _LONGEST_NS = fixed(NONE, NO_FAULT, MOST_RETRIES, LONGEST_TIMEOUT_NS)
_ONE, _NO_BITS = np.uint64(1), np.uint64(0)
(_NS_PER_S_8,) = fixed(8 * 1_000_000_000)


@compiled
def is_affected(run: Run, link: int, window: int, t_ns: int) -> bool:
    """Tell whether a fault changes messages of a link at a time."""
    span = run.windows[window]
    bit = (run.own_links[link].windows >> np.uint64(window)) & _ONE
    return bool(bit != _NO_BITS and span.start_ns <= t_ns and t_ns < span.end_ns)


@compiled
def is_unimpaired(run: Run, link: int) -> bool:
    """Tell whether every message arrives as it was sent."""
    own = run.own_links[link]
    return bool(run.directions[own.direction].is_lossy == 0 and own.windows == _NO_BITS)


@compiled
def transfer(run: Run, link: int, now: int, wire_bytes: int) -> int:
    """Return the time at which a message is through."""
    own = run.own_links[link]
    direction = run.directions[own.direction]
    begin = max(now, own.free_ns)
    ns_per_byte = direction.ns_per_byte
    if own.windows != _NO_BITS:
        rate = direction.bandwidth
        for window in range(len(run.windows)):
            if run.windows[window].kind == BANDWIDTH and is_affected(run, link, window, begin):
                rate = min(rate, run.windows[window].a)
        ns_per_byte = _NS_PER_S_8 / rate
    through = begin + int(wire_bytes * ns_per_byte)
    own.free_ns = through
    return int(through)


@compiled
def delay(run: Run, link: int, t_ns: int) -> int:
    """Draw the fixed part of the delay of a message that leaves at *t_ns*."""
    own = run.own_links[link]
    direction, stream = run.directions[own.direction], run.own_streams[2 * link]
    kind = direction.distribution
    total = direction.latency
    if kind == NORMAL:
        total = max(0, int(direction.a + direction.b * standard_normal(stream)))
    elif kind == UNIFORM:
        total = max(0, int(direction.a + direction.b * random(stream)))
    elif kind == LOGNORMAL:
        total = int(np.exp(direction.a + direction.b * standard_normal(stream)))
    elif kind == PARETO:
        total = int(direction.a + direction.b * (pareto(stream, direction.c) + 1.0))
    if own.windows != _NO_BITS:
        for window in range(len(run.windows)):
            if run.windows[window].kind == LATENCY and is_affected(run, link, window, t_ns):
                fault = run.windows[window]
                total += fault.a
                if fault.b > 0:
                    total += int(fault.b * (2 * random(run.own_streams[2 * link + 1]) - 1))
    return int(total)


@compiled
def late_ns(timeout_ns: int, retries: int) -> int:
    """Return the delay that so many retries add to a message."""
    total = 0
    for retry in range(retries):
        wait = timeout_ns
        if timeout_ns < _LONGEST_NS:
            wait = max(min(timeout_ns << retry, _LONGEST_NS), timeout_ns)
        total += wait
    return total


@compiled
def _is_lost(run: Run, link: int) -> bool:
    """Draw whether the link itself loses a message."""
    direction = run.directions[run.own_links[link].direction]
    return bool(direction.is_lossy != 0 and random(run.own_streams[2 * link]) < direction.loss)


@compiled
def draw_impairment(run: Run, link: int, t_ns: int) -> None:
    """Draw the impairment of a message that leaves at *t_ns*."""
    change: Any = run.impairment[0]
    reset_impairment(run)
    lost = _OWN if _is_lost(run, link) else _NONE
    if run.own_links[link].windows != _NO_BITS:
        weather = run.own_streams[2 * link + 1]
        for window in range(len(run.windows)):
            fault = run.windows[window]
            if fault.kind < LOSS or not is_affected(run, link, window, t_ns):
                continue
            is_hit = random(weather) < fault.share
            if not is_hit:
                continue
            if fault.kind == LOSS:
                lost = fault.number if lost == _NONE else lost
            elif fault.kind == DUPLICATION:
                change.duplicated = fault.number
            elif fault.kind == REORDERING:
                change.held_back, change.held_back_ns = fault.number, fault.a
            else:
                change.corrupted = fault.number
    if lost == _NONE:
        return
    direction = run.directions[run.own_links[link].direction]
    if direction.recovers == 0:
        change.lost = lost
        return
    retries = _retries(run, link, t_ns)
    if retries > _MOST_RETRIES:
        change.lost, change.retries = lost, _MOST_RETRIES
    else:
        change.resent, change.retries = lost, retries
        change.late_ns = late_ns(direction.timeout_ns, retries)


@compiled
def reset_impairment(run: Run) -> None:
    """Set the impairment of the next message to none."""
    change: Any = run.impairment[0]
    change.lost = change.corrupted = change.duplicated = change.held_back = change.resent = _NONE
    change.held_back_ns = change.retries = change.late_ns = 0


@compiled
def _retries(run: Run, link: int, t_ns: int) -> int:
    """Return which retry of a message arrives; beyond the most if none does."""
    own = run.own_links[link]
    timeout_ns = run.directions[own.direction].timeout_ns
    for retry in range(1, _MOST_RETRIES + 1):
        at_ns = t_ns + late_ns(timeout_ns, retry)
        lost = _is_lost(run, link)
        if own.windows != _NO_BITS:
            for window in range(len(run.windows)):
                if run.windows[window].kind != LOSS or not is_affected(run, link, window, at_ns):
                    continue
                if random(run.own_streams[2 * link + 1]) < run.windows[window].share:
                    lost = True
        if not lost:
            return retry
    return _MOST_RETRIES + 1


@compiled
def in_order(run: Run, link: int, arrives_ns: int) -> int:
    """Return the delivery time of a message, not before earlier ones."""
    own = run.own_links[link]
    own.ordered_ns = max(arrives_ns, own.ordered_ns)
    return int(own.ordered_ns)


@compiled
def recovers(run: Run, link: int) -> bool:
    """Tell whether lost messages are sent again."""
    return bool(run.directions[run.own_links[link].direction].recovers != 0)


@compiled
def service(run: Run, begin_ns: int, out: Any) -> None:
    """Set when the cloud begins with a report and when it is done, as `service_interval`."""
    for window in range(len(run.cloud_windows)):
        span = run.cloud_windows[window]
        if span.a != 0 and span.end_ns > begin_ns:
            done_ns = begin_ns + _service_ns(run, begin_ns)
            is_active = span.start_ns <= begin_ns and begin_ns < span.end_ns
            if is_active or span.start_ns < done_ns:
                begin_ns = span.end_ns
    out.begun_ns = begin_ns
    out.left_ns = begin_ns + _service_ns(run, begin_ns)


@compiled
def _service_ns(run: Run, begin_ns: int) -> int:
    """Return the service time of work that begins at a time."""
    total = run.settings[0].service_ns
    for window in range(len(run.cloud_windows)):
        span = run.cloud_windows[window]
        if span.start_ns <= begin_ns and begin_ns < span.end_ns and span.a == 0:
            total = int(total * span.share)
    return int(total)
