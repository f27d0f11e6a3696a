"""Queue of reports that wait for an answer: one per device, the newest, in the order of arrival.

It does no I/O; time is an argument. Its memory is bounded, whatever the network sends. A message is decoded
before it is queued, so invalid messages take no slot.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from wire.messages import BudgetReport, decode


class Admission(StrEnum):
    """Decision on a report that arrived."""

    QUEUED = "queued"
    NEWER = "newer"  # it replaces an older report of its device
    OLDER = "older"  # a newer report of its device waits: this one is superseded
    FULL = "queue_full"  # dropped
    LATE = "late"  # its device sends too many: it waits until the rate allows it
    RATE = "rate"  # as LATE, and the older report of its device that waited so is dropped


class QueuedReport(NamedTuple):
    """A report that waits."""

    device: str
    report: BudgetReport
    arrived_s: float


@dataclass(frozen=True)
class AdmissionLimits:
    """Limits of one cloud service on the reports that it accepts."""

    max_queue: int = 10_000
    """Maximum number of devices with a report that waits, and of those whose report is late."""
    rate: float = 20.0
    """Reports per second and device, on average."""
    burst: int = 100
    """Reports that a device may send at once."""
    coalesce: bool = True
    """True if a newer report of a device replaces its older one."""
    rate_entries: int = 200_000
    """Maximum number of rate-limit entries; the least recently used are evicted."""


class ReportQueue:
    """The reports that wait.

    Args:
        limits: rate, burst and size.
    """

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[object, QueuedReport] = OrderedDict()
        self._late: dict[str, QueuedReport] = {}
        """The newest report of each device that is above its rate."""
        self._due: list[tuple[float, str]] = []
        """A heap of the times at which late reports are admitted, one for each."""
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._late)

    @property
    def is_ready(self) -> bool:
        """True if a report can be answered now."""
        return bool(self._waiting)

    @property
    def next_due_s(self) -> float:
        """The time at which the next late report can be admitted; infinite if none is late."""
        return self._due[0][0] if self._due else math.inf

    def put(self, device: str, payload: bytes, now_s: float) -> Admission:
        """Queue the report in *payload*, which has arrived at *now_s*, if the limits allow it.

        The newer of two reports of a device is the one with the higher number, not the later one: a broker
        that passes on the messages of a stopped replica may change their order.

        Raises:
            RemoteProtocolError: the payload is not a report.
        """
        is_allowed = device not in self._late and self._allows(device, now_s)
        queued = QueuedReport(device, decode(payload, BudgetReport), now_s)
        return self._queue(queued) if is_allowed else self._defer(queued, now_s)

    def admit_late(self, now_s: float) -> Iterator[tuple[QueuedReport, Admission]]:
        """Queue the late reports whose time has come; yield each of them with the decision."""
        while self._due and self._due[0][0] <= now_s:
            _, device = heapq.heappop(self._due)
            self._allows(device, now_s)
            late = self._late.pop(device)
            yield late, self._queue(late)

    def wait_s(self, device: str) -> float:
        """Return the seconds from the last report of *device* until its rate allows the next one."""
        tokens, _ = self._buckets.get(device, (0.0, 0.0))
        return max(1.0 - tokens, 0.0) / self._limits.rate

    def pop(self) -> QueuedReport:
        """Remove and return the report of the device that has waited longest, of those that are not late.

        Raises:
            KeyError: there is none.
        """
        return self._waiting.popitem(last=False)[1]

    def clear(self) -> int:
        """Remove all reports; return their number."""
        count = len(self)
        self._waiting.clear()
        self._late.clear()
        self._due.clear()
        return count

    def _queue(self, queued: QueuedReport) -> Admission:
        waiting = self._waiting
        key: object = queued.device if self._limits.coalesce else object()
        before = waiting.get(key)
        if before is not None:
            if before.report.seq > queued.report.seq:
                return Admission.OLDER
            waiting[key] = queued  # at the position of the older one
            return Admission.NEWER
        if len(waiting) >= self._limits.max_queue:
            return Admission.FULL
        waiting[key] = queued
        return Admission.QUEUED

    def _defer(self, queued: QueuedReport, now_s: float) -> Admission:
        """Keep the newest report of a device above its rate: the last one says what it needs."""
        late, device = self._late, queued.device
        before = late.get(device)
        if before is not None:
            if before.report.seq <= queued.report.seq:
                late[device] = queued
            return Admission.RATE
        if len(late) >= self._limits.max_queue:
            return Admission.FULL
        late[device] = queued
        heapq.heappush(self._due, (now_s + self.wait_s(device), device))
        return Admission.LATE

    def _allows(self, device: str, now_s: float) -> bool:
        """Take a token from the device's bucket, if there is one; the bucket refills with time."""
        limits, buckets = self._limits, self._buckets
        tokens, since_s = buckets.pop(device, (float(limits.burst), now_s))
        tokens = min(tokens + max(now_s - since_s, 0.0) * limits.rate, limits.burst)
        allowed = tokens >= 1.0
        buckets[device] = (tokens - 1.0 if allowed else tokens), now_s
        if len(buckets) > limits.rate_entries:
            buckets.popitem(last=False)
        return allowed
