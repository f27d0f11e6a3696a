"""Faults: what goes wrong on purpose, from when, for how long, and for whom.

A fault has windows in simulated time that are known beforehand, so the same weather comes under every
clock. What is drawn in it comes from a stream of the device's own that nothing else draws from: the same
fleet without the fault does what it did before.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec

from devices.timeline.schedule import Select, parse_moment
from wire.units import TIME_UNITS, BitsPerSecond, Duration, Share, format_duration, format_share

Stream = Literal["both", "uplink", "downlink"]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """What every fault says."""

    at: str
    """When it begins: a span since the start, a stage, or a stage and a span (`storm + 1 min`)."""
    duration: Duration
    """How long it lasts; at most to the stop time."""

    def __post_init__(self) -> None:
        parse_moment(self.at)
        if self.duration <= 0:
            raise ValueError(f"duration(={format_duration(self.duration)}) must be > 0")


class LinkFault(Fault, frozen=True, kw_only=True):
    """What every fault of links says."""

    stream: Stream = "both"
    """Which direction it is on: `uplink`, toward the cloud; `downlink`, from it; or `both`."""
    select: Select = Select()
    """Whose links."""


class Latency(LinkFault, frozen=True, kw_only=True, tag="latency"):
    """Messages take longer."""

    delay: Duration
    """What is added to the delay of every report and of every answer, its parts together."""
    jitter: Duration = Duration(0)
    """As much more, or less, drawn evenly for each report and for each answer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jitter > self.delay:
            raise ValueError(
                f"jitter(={format_duration(self.jitter)}) must not exceed "
                f"delay(={format_duration(self.delay)})"
            )


class Bandwidth(LinkFault, frozen=True, kw_only=True, tag="bandwidth"):
    """Links are slower."""

    rate: BitsPerSecond
    """The most bits a second."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate <= 0:
            raise ValueError(f"rate(={self.rate} bps) must be > 0")


class Loss(LinkFault, frozen=True, kw_only=True, tag="loss"):
    """Messages are lost: they never arrive, or late where the network's `recovery` is transport."""

    share: Share
    """The share of messages; 100 % is a link that is cut without either end noticing."""


class Duplicates(LinkFault, frozen=True, kw_only=True, tag="duplicates"):
    """Messages arrive twice, as QoS 1 allows; the cloud works on such a report twice and answers it twice."""

    share: Share
    """The share of messages."""


class Reordering(LinkFault, frozen=True, kw_only=True, tag="reordering"):
    """Parts of updates are held back, so that later ones overtake them."""

    share: Share
    """The share of parts."""
    delay: Duration = Duration(200 * TIME_UNITS["ms"])
    """How long a part is held back."""
    stream: Literal["downlink"] = "downlink"
    """Only parts of updates can overtake each other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delay <= 0:
            raise ValueError(f"delay(={format_duration(self.delay)}) must be > 0")


class Corruption(LinkFault, frozen=True, kw_only=True, tag="corruption"):
    """Messages arrive damaged: the cloud refuses such a report, a device such a part."""

    share: Share
    """The share of messages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share > 0.9:
            raise ValueError(
                f"share(={format_share(self.share)}) must be at most 90 %, or no update ever gets through"
            )


class BrokerDown(Fault, frozen=True, kw_only=True, tag="broker_down"):
    """The broker is gone: every device is cut off, and what was under way is lost."""

    reconnect_within: Duration = Duration(10 * TIME_UNITS["s"])
    """Devices come back at times drawn evenly over this span: the jitter of their back-off."""


class CloudDown(Fault, frozen=True, kw_only=True, tag="cloud_down"):
    """The cloud is gone: reports wait for it in the broker; what it was working on it does again."""


class CloudSlow(Fault, frozen=True, kw_only=True, tag="cloud_slow"):
    """The cloud takes longer to answer."""

    factor: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
    """How many times as long."""


LinkFaults = Latency | Bandwidth | Loss | Duplicates | Reordering | Corruption
Faults = LinkFaults | BrokerDown | CloudDown | CloudSlow


class Window(NamedTuple):
    """A span of time in which a fault is in force."""

    start_ns: int
    end_ns: int
    place: int
    """Its place in the scenario's list of faults."""
    fault: Faults

    def holds(self, t_ns: int) -> bool:
        """Tell whether the fault is in force at *t_ns*."""
        return self.start_ns <= t_ns < self.end_ns


def finish(begin_ns: int, service_ns: int, windows: Sequence[Window]) -> tuple[int, int]:
    """Return when the cloud begins for good with a report taken up at *begin_ns*, and when it is done.

    A cloud that is down begins when it is up again; what it had begun it begins anew, since the broker
    hands it the unconfirmed report once more. A slow cloud takes as long as the factor at the beginning says.

    Args:
        begin_ns: when it would begin.
        service_ns: how long it takes when nothing is wrong.
        windows: of `CloudDown` and `CloudSlow`, in the order of their start.
    """
    for window in windows:
        if isinstance(window.fault, CloudDown) and window.end_ns > begin_ns:
            done_ns = begin_ns + _slowed(begin_ns, service_ns, windows)
            if window.holds(begin_ns) or window.start_ns < done_ns:
                begin_ns = window.end_ns
    return begin_ns, begin_ns + _slowed(begin_ns, service_ns, windows)


def _slowed(begin_ns: int, service_ns: int, windows: Sequence[Window]) -> int:
    for window in windows:
        if isinstance(window.fault, CloudSlow) and window.holds(begin_ns):
            service_ns = int(service_ns * window.fault.factor)
    return service_ns
