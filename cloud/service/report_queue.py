"""Queue of reports that wait for an answer: one per device, the newest, in the order of arrival.

It does no I/O; time is an argument. Its memory is bounded, whatever the network sends. A message is decoded
before it is queued, so invalid messages take no slot.
"""

from collections import OrderedDict
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
    RATE = "rate"  # dropped without decoding: its device sends too many


class QueuedReport(NamedTuple):
    """A report that waits."""

    device: str
    report: BudgetReport
    arrived_s: float


@dataclass(frozen=True)
class AdmissionLimits:
    """Limits of one cloud service on the reports that it accepts."""

    max_queue: int = 10_000
    """Maximum number of devices with a report that waits."""
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
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, device: str, payload: bytes, now_s: float) -> Admission:
        """Queue the report in *payload*, which has arrived at *now_s*, if the limits allow it.

        The newer of two reports of a device is the one with the higher number, not the later one: a broker
        that passes on the messages of a stopped replica may change their order.

        Raises:
            RemoteProtocolError: the payload is not a report.
        """
        if not self._allows(device, now_s):
            return Admission.RATE
        waiting, report = self._waiting, decode(payload, BudgetReport)
        key: object = device if self._limits.coalesce else object()
        before = waiting.get(key)
        if before is not None:
            if before.report.seq > report.seq:
                return Admission.OLDER
            waiting[key] = QueuedReport(device, report, now_s)  # at the position of the older one
            return Admission.NEWER
        if len(waiting) >= self._limits.max_queue:
            return Admission.FULL
        waiting[key] = QueuedReport(device, report, now_s)
        return Admission.QUEUED

    def pop(self) -> QueuedReport:
        """Remove and return the report of the device that has waited longest.

        Raises:
            KeyError: the queue is empty.
        """
        return self._waiting.popitem(last=False)[1]

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
