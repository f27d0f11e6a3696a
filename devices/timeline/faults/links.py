"""Faults of links: latency, bandwidth, loss, duplicates, reordering, corruption."""

from typing import ClassVar, Literal

from devices.timeline.faults.fault import Draw, LinkFault
from devices.timeline.faults.impairment import Impairment
from wire.units import TIME_UNITS, BitsPerSecond, Duration, Share, format_duration, format_share


class LatencyFault(LinkFault, frozen=True, kw_only=True, tag="latency"):
    """Messages take longer."""

    slows: ClassVar[bool] = True

    delay: Duration
    """The time added to the delay of every report and of every answer, its parts together."""
    jitter: Duration = Duration(0)
    """As much more, or less, drawn evenly for each report and for each answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jitter > self.delay:
            raise ValueError(
                f"jitter(={format_duration(self.jitter)}) must not exceed "
                f"delay(={format_duration(self.delay)})"
            )

    def added_delay_ns(self, draw: Draw) -> int:
        """Return the delay with its jitter."""
        jitter = int(self.jitter)
        return int(self.delay) + (int(jitter * (2 * draw() - 1)) if jitter else 0)


class BandwidthFault(LinkFault, frozen=True, kw_only=True, tag="bandwidth"):
    """Links are slower."""

    slows: ClassVar[bool] = True

    rate: BitsPerSecond
    """The most bits a second."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate <= 0:
            raise ValueError(f"rate(={self.rate} bps) must be > 0")

    def limit_rate(self, bits_per_second: int) -> int:
        """Return the lower rate of the two."""
        return min(bits_per_second, int(self.rate))


class LossFault(LinkFault, frozen=True, kw_only=True, tag="loss"):
    """Messages are lost: they never arrive, or late where the network's `recovery` is transport."""

    share: Share
    """The share of messages; 100 % is a link that is cut without either end noticing."""

    def loses(self, draw: Draw) -> bool:
        """Return whether a message is among the share."""
        return draw() < self.share


class DuplicationFault(LinkFault, frozen=True, kw_only=True, tag="duplicates"):
    """Messages arrive twice, as QoS 1 allows; the cloud works on such a report twice and answers it twice."""

    share: Share
    """The share of messages."""

    def impair(self, impairment: Impairment, number: int, draw: Draw) -> Impairment:
        """Duplicate a share of the messages."""
        return impairment._replace(duplicated=number) if draw() < self.share else impairment


class ReorderingFault(LinkFault, frozen=True, kw_only=True, tag="reordering"):
    """Parts of updates are held back, so that later ones overtake them."""

    share: Share
    """The share of parts."""
    delay: Duration = Duration(200 * TIME_UNITS["ms"])
    """The time for which a part is held back."""
    stream: Literal["downlink"] = "downlink"
    """Only parts of updates can overtake each other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delay <= 0:
            raise ValueError(f"delay(={format_duration(self.delay)}) must be > 0")

    @property
    def holds_back_ns(self) -> int:
        """The time for which a part is held back."""
        return int(self.delay)

    def impair(self, impairment: Impairment, number: int, draw: Draw) -> Impairment:
        """Hold a share of the parts back."""
        if draw() >= self.share:
            return impairment
        return impairment._replace(held_back=number, held_back_ns=self.holds_back_ns)


class CorruptionFault(LinkFault, frozen=True, kw_only=True, tag="corruption"):
    """Messages arrive damaged: the cloud refuses such a report, a device such a part."""

    share: Share
    """The share of messages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share > 0.9:
            raise ValueError(
                f"share(={format_share(self.share)}) must be at most 90 %, or no update ever gets through"
            )

    def impair(self, impairment: Impairment, number: int, draw: Draw) -> Impairment:
        """Damage a share of the messages."""
        return impairment._replace(corrupted=number) if draw() < self.share else impairment
