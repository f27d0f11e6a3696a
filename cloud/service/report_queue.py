"""What waits to be answered: one report per device, the newest, in the order in which devices came.

Pure but for memory: time is an argument, and nothing here knows a socket. All that is kept is bounded,
whatever the network sends: a message is read before it may wait, so junk takes nobody's place.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from wire.messages import BudgetReport, decode


class Admission(StrEnum):
    """What came of a report that arrived."""

    QUEUED = "queued"
    NEWER = "newer"  # it took the place of an older one of its device, which is superseded
    OLDER = "older"  # a newer one of its device waits: it is superseded itself
    FULL = "queue_full"  # dropped
    RATE = "rate"  # dropped unread: its device sends too many


class QueuedReport(NamedTuple):
    """A report that waits."""

    device: str
    report: BudgetReport
    arrived_s: float


@dataclass(frozen=True)
class AdmissionLimits:
    """What one cloud service takes in."""

    max_queue: int = 10_000
    """Devices with a report that waits."""
    rate: float = 20.0
    """Reports a second and device, in the long run."""
    burst: int = 100
    """Reports of a device at once."""
    coalesce: bool = True
    """Whether a device's newer report takes the place of its older one."""
    known: int = 200_000
    """Devices whose rate is kept in mind; who was silent for longest is forgotten first."""


class ReportQueue:
    """The reports that wait.

    Args:
        limits: how much it takes.
    """

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[object, QueuedReport] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, device: str, payload: bytes, now_s: float) -> Admission:
        """Take in the report in *payload*, which has arrived at *now_s*.

        Of two reports of a device the newer is the one with the higher number, in whatever order they come:
        a broker that hands on what another replica has left may turn them round.

        Raises:
            RemoteProtocolError: it is no report.
        """
        if not self._allows(device, now_s):
            return Admission.RATE
        waiting, report = self._waiting, decode(payload, BudgetReport)
        key: object = device if self._limits.coalesce else object()
        before = waiting.get(key)
        if before is not None:
            if before.report.seq > report.seq:
                return Admission.OLDER
            waiting[key] = QueuedReport(device, report, now_s)  # in the older one's place
            return Admission.NEWER
        if len(waiting) >= self._limits.max_queue:
            return Admission.FULL
        waiting[key] = QueuedReport(device, report, now_s)
        return Admission.QUEUED

    def pop(self) -> QueuedReport:
        """Return the report of the device that has waited longest.

        Raises:
            KeyError: none waits.
        """
        return self._waiting.popitem(last=False)[1]

    def _allows(self, device: str, now_s: float) -> bool:
        """Take a token out of the device's bucket, if there is one; it fills again with time."""
        limits, buckets = self._limits, self._buckets
        tokens, since_s = buckets.pop(device, (float(limits.burst), now_s))
        tokens = min(tokens + max(now_s - since_s, 0.0) * limits.rate, limits.burst)
        allowed = tokens >= 1.0
        buckets[device] = (tokens - 1.0 if allowed else tokens), now_s
        if len(buckets) > limits.known:
            buckets.popitem(last=False)
        return allowed
