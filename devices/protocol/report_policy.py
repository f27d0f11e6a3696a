"""Rules for the reports of a device: when it reports a budget, and how many bytes it asks for. Pure.

A device that holds more than its budget reports at once, whatever the rules say: no rule may leave it above
its budget. The rules save reports of growth, and reports that change nothing.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from wire.units import NS_PER_S, Duration, Share, format_duration


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rules of a group's devices for reporting their budget."""

    on_change: Share = Share(0.0)
    """A change below this share of the last reported budget is reported only if it forces blocks out."""
    min_interval: Duration = Duration(0)
    """The least time between two reports of a device, unless its budget is exceeded."""
    max_interval: Duration | None = None
    """The longest time between two reports of a device, changed or not; null: no limit."""

    def __post_init__(self) -> None:
        if self.max_interval is not None and self.max_interval <= 0:
            raise ValueError(f"max_interval(={format_duration(self.max_interval)}) must be > 0, or null")
        if self.max_interval is not None and self.min_interval > self.max_interval:
            raise ValueError(
                f"min_interval(={format_duration(self.min_interval)}) must not exceed "
                f"max_interval(={format_duration(self.max_interval)})"
            )


LevelsPerDoubling = Annotated[int, msgspec.Meta(ge=1, le=64)]


class ReportPolicy(msgspec.Struct, frozen=True):
    """All rules for the reports of one device."""

    publish: Publish = Publish()
    hysteresis: float = 0.0
    """Growth is requested only beyond this share above the budget reported last."""
    debounce_ns: int = 0
    """A budget is reported when it has not changed for so long."""
    levels_per_doubling: int | None = None
    """Budgets are rounded down to so many levels between a size and twice the size."""
    headroom: float = 0.0
    """This share of the budget is left free, so that a small dip forces nothing out."""

    @property
    def reports_every_change(self) -> bool:
        """True if each change of the budget is reported at once, as it is."""
        return self == ReportPolicy(Publish(max_interval=self.publish.max_interval))

    def requested_bytes(self, budget_bytes: int) -> int:
        """Return the bytes that a device with *budget_bytes* asks for: never more than the budget."""
        requested = budget_bytes
        if self.headroom:
            requested = min(requested, int(requested * (1.0 - self.headroom)))
        if self.levels_per_doubling is None or requested < 1:
            return requested
        # Levels are whole bytes, so the size itself may be a level whose step is above it.
        step = math.ceil(math.log2(requested + 1) * self.levels_per_doubling)
        while (level := int(2.0 ** (step / self.levels_per_doubling))) > requested:
            step -= 1
        return level


@dataclass(frozen=True)
class LastReport:
    """The last report of a device."""

    requested_bytes: int
    t_ns: int


def next_report_ns(
    policy: ReportPolicy,
    last: LastReport,
    *,
    budget_bytes: int,
    resident_bytes: int,
    now_ns: int,
    evicted_since_report: bool,
) -> int | None:
    """Return the time to report a budget that has just changed, in nanoseconds; None: no report.

    Args:
        policy: the rules of its reports.
        last: its last report.
        budget_bytes: its budget now.
        resident_bytes: bytes that it holds, after eviction.
        now_ns: the time.
        evicted_since_report: whether blocks were evicted since the last report. The device then holds less
            than it reported, and no rule may drop that.
    """
    if resident_bytes > budget_bytes:
        return now_ns
    requested = policy.requested_bytes(budget_bytes)
    if not evicted_since_report and is_suppressed(policy, last.requested_bytes, requested):
        return None
    return max(now_ns + policy.debounce_ns, last.t_ns + int(policy.publish.min_interval))


def is_suppressed(policy: ReportPolicy, last_bytes: int, requested_bytes: int) -> bool:
    """Tell whether a rule suppresses a report of *requested_bytes* after one of *last_bytes*."""
    if (
        requested_bytes > last_bytes
        and policy.hysteresis
        and requested_bytes <= last_bytes * (1.0 + policy.hysteresis)
    ):
        return True
    if requested_bytes < last_bytes and policy.headroom:
        return True  # the headroom is for such a dip
    change = abs(requested_bytes - last_bytes)
    return change == 0 or change < policy.publish.on_change * last_bytes


MANY_REFUSALS = 8
"""After so many rejected answers in a row a device waits before it asks again.

A bad link damages or reorders several answers in a row, so the first ones are asked for again at once.
"""
LEAST_REFUSAL_WAIT_NS, LONGEST_REFUSAL_WAIT_NS = NS_PER_S, 60 * NS_PER_S


def refusal_wait_ns(in_a_row: int, draw: float) -> int:
    """Return the wait before a device asks again after rejected answers, in nanoseconds.

    A fleet that asks again and again is a load without use. The wait is at least a second; it doubles with
    each further answer, up to a minute, and half of it is drawn.

    Args:
        in_a_row: rejected answers in a row, the last one included.
        draw: a number from 0 to 1.
    """
    if in_a_row < MANY_REFUSALS:
        return 0
    wait_ns = min(NS_PER_S << min(in_a_row - MANY_REFUSALS, 16), LONGEST_REFUSAL_WAIT_NS)
    return max(int(wait_ns * (0.5 + 0.5 * draw)), LEAST_REFUSAL_WAIT_NS)


LEAST_ERROR_WAIT_NS, LONGEST_ERROR_WAIT_NS = NS_PER_S, 3600 * NS_PER_S


def error_wait_ns(in_a_row: int, retry_after_s: float, draw: float) -> int:
    """Return the wait of a device before it reports again after an error of the cloud, in nanoseconds.

    It is never less than the cloud asks for. It doubles with each further error, up to an hour, and up to
    half as much again is drawn, so that devices that are refused together do not come back together.

    Args:
        in_a_row: errors without a complete answer between them, the last one included.
        retry_after_s: what the cloud asks for.
        draw: a number from 0 to 1.
    """
    least_ns = max(int(retry_after_s * NS_PER_S), LEAST_ERROR_WAIT_NS)
    wait_ns = min(least_ns << min(in_a_row - 1, 16), max(LONGEST_ERROR_WAIT_NS, least_ns))
    return int(wait_ns * (1.0 + 0.5 * draw))


LONGEST_SILENCE: Final = 20
"""The longest wait for an answer, in first waits."""
MOST_DOUBLINGS: Final = LONGEST_SILENCE.bit_length()
SILENCE_JITTER: Final = 0.5
"""The share of a wait for an answer that is drawn on top of it by a real device."""


def silence_wait_ns(in_a_row: int, retry_ns: int) -> int:
    """Return the wait for an answer that did not come, without what is drawn, in nanoseconds.

    It doubles with each report without a complete answer: a cloud that is overloaded gets less to do.

    Args:
        in_a_row: reports in a row without a complete answer, this one included.
        retry_ns: the first wait.
    """
    return min(retry_ns << min(in_a_row - 1, MOST_DOUBLINGS), LONGEST_SILENCE * retry_ns)
