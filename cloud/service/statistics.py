"""Statistics of a cloud service since it started."""

from collections import Counter
from dataclasses import dataclass, field

from prometheus_client import Histogram

from cloud.service.outcomes import REASONS, MessageOutcome, UpdateContent
from wire.errors import Reason
from wire.prometheus.families import BUCKETS_S

PREFIX = "peelfleet_cloud_"
"""Prefix of all metrics of a cloud."""


def _histogram(name: str, help_text: str, *labels: str) -> Histogram:
    return Histogram(name, help_text, labels, buckets=BUCKETS_S, registry=None)


def _new_updates() -> Counter[tuple[str, str]]:
    """Return a zero for each possible reason and outcome: a series has to exist from the start."""
    return Counter({(reason, outcome.value): 0 for outcome, reasons in REASONS.items() for reason in reasons})


def _new_errors() -> Counter[tuple[str, str]]:
    """Return a zero for each error that can be told, sent or left out."""
    reasons = REASONS[MessageOutcome.REJECTED] + REASONS[MessageOutcome.DROPPED]
    told = [reason for reason in reasons if reason != Reason.UNKNOWN_TOPIC]  # it does not say which device
    return Counter({(reason, result): 0 for reason in told for result in ("sent", "left_out")})


@dataclass
class Traffic:
    """Messages in one direction."""

    messages: int = 0
    bytes: int = 0
    """Payload in total."""
    largest_bytes: int = 0
    """Payload of the largest message."""

    def add(self, payload_bytes: int) -> None:
        """Count a message."""
        self.messages += 1
        self.bytes += payload_bytes
        self.largest_bytes = max(self.largest_bytes, payload_bytes)


class Latencies:
    """Histograms of times, in seconds."""

    def __init__(self) -> None:
        self.connecting = _histogram(
            PREFIX + "connect_duration_seconds", "From the attempt to the broker's word"
        )
        self.parts = _histogram(PREFIX + "update_e2e_seconds", "Parts of the way of an update", "part")
        self.queue = self.parts.labels("queue")
        """From the arrival of a report until the service starts on it."""
        self.selection = self.parts.labels("selection")
        """Time to compute an answer."""
        self.downlink = self.parts.labels("downlink")
        """From the first publish of an answer until the broker has confirmed all of it."""
        self.answers = _histogram(PREFIX + "answer_seconds", "From a report's arrival to its sent answer")
        """From the arrival of a report until the broker has confirmed its answer."""


@dataclass
class ServiceStatistics:
    """Counters and histograms that a service updates."""

    received: Traffic = field(default_factory=Traffic)
    """All messages from devices, refused ones included."""
    sent: Traffic = field(default_factory=Traffic)
    """Messages that the broker has confirmed: parts of updates, and retained messages."""
    received_wire_bytes: int = 0
    update_wire_bytes: int = 0
    updates: Counter[tuple[str, str]] = field(default_factory=_new_updates)
    """Finished messages of devices, by (reason, outcome)."""
    errors: Counter[tuple[str, str]] = field(default_factory=_new_errors)
    """Errors to devices, by reason, and ``sent`` or ``left_out``."""
    update_bytes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(UpdateContent, 0)))
    """Payload of confirmed parts, by the content of their update."""
    connected: int = 0
    """Connections that the broker has accepted."""
    refused: int = 0
    """Attempts to connect that failed."""
    broken: int = 0
    """Connections that broke."""
    ready: bool = False
    """True if the service is connected and subscribed, and accepts reports."""
    latencies: Latencies = field(default_factory=Latencies)

    def count(self, reason: str, outcome: MessageOutcome) -> None:
        """Count a message of a device that is finished."""
        self.updates[reason, outcome.value] += 1

    def total(self, *outcomes: MessageOutcome) -> int:
        """Return the number of messages that ended with one of *outcomes*."""
        return sum(count for (_, outcome), count in self.updates.items() if outcome in outcomes)
