"""What a cloud service counts."""

from collections import Counter
from dataclasses import dataclass, field

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histograms of times."""


@dataclass
class Times:
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


@dataclass
class Counts:
    """What a service has done since it started."""

    received: int = 0
    """Messages of devices, whatever came of them."""
    answered: int = 0
    """Reports whose answers the broker has confirmed."""
    unanswered: int = 0
    """Reports whose answers did not get through to the broker: their devices ask again."""
    superseded: int = 0
    """Reports in whose place a newer one of the device was answered."""
    parts: int = 0
    part_bytes: int = 0
    connected: int = 0
    broken: int = 0
    """Connections that broke, or did not come about."""
    ready: bool = False
    """Whether it is connected and subscribed."""
    flying: int = 0
    """Reports whose answers are being sent."""
    refused: Counter[str] = field(default_factory=Counter)
    """Messages that are no reports, by reason."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Reports that there was no room for, by reason."""
    selection: Times = field(default_factory=Times)
    """How long it took to work out an answer."""
    answers: Times = field(default_factory=Times)
    """From the arrival of a report until the broker has confirmed its answer."""
