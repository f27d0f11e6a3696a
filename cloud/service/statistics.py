"""What a cloud service counts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud.service.outcomes import REASONS, Outcome, UpdateContent

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histograms of times."""


@dataclass
class LatencyHistogram:
    """A histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        place = 0
        for bound in BUCKETS_S:
            if seconds <= bound:
                break
            place += 1
        self.counts[place] += 1
        self.sum_s += seconds


def _results() -> Counter[tuple[str, str]]:
    return Counter({(reason, result.value): 0 for result, reasons in REASONS.items() for reason in reasons})


@dataclass
class Traffic:
    """Messages in one direction."""

    messages: int = 0
    bytes: int = 0
    """Their payload."""
    largest_bytes: int = 0
    """That of the largest."""

    def add(self, payload_bytes: int) -> None:
        """Count a message."""
        self.messages += 1
        self.bytes += payload_bytes
        self.largest_bytes = max(self.largest_bytes, payload_bytes)


@dataclass
class ServiceStatistics:
    """What a service has done since it started."""

    received: Traffic = field(default_factory=Traffic)
    """What came, whatever came of it."""
    sent: Traffic = field(default_factory=Traffic)
    """What the broker has confirmed: parts of updates, and what it retains."""
    received_wire_bytes: int = 0
    update_wire_bytes: int = 0
    updates: Counter[tuple[str, str]] = field(default_factory=_results)
    """Messages that wait no more, by (reason, result)."""
    update_bytes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(UpdateContent, 0)))
    """Payload of the parts that the broker has confirmed, by what their update brings."""
    connected: int = 0
    """Connections that the broker has accepted."""
    refused: int = 0
    """Attempts to connect that came to nothing."""
    broken: int = 0
    """Connections that broke."""
    ready: bool = False
    """Whether it is connected and subscribed, and takes reports."""
    connecting: LatencyHistogram = field(default_factory=LatencyHistogram)
    queue: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From a report's arrival until it was its turn."""
    selection: LatencyHistogram = field(default_factory=LatencyHistogram)
    """How long it took to work out an answer."""
    downlink: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the first publish of an answer until the broker has confirmed all of it."""
    answers: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the arrival of a report until the broker has confirmed its answer."""

    def became(self, reason: str, result: Outcome) -> None:
        """Count what became of a message."""
        self.updates[reason, result.value] += 1

    def total(self, *results: Outcome) -> int:
        """Return how many messages ended with one of *results*."""
        wanted: Sequence[str] = [result.value for result in results]
        return sum(count for (_, result), count in self.updates.items() if result in wanted)
