"""Links: the delay of a message between a device and the cloud, and its impairments, such as loss and damage.

The fixed part of a delay is drawn when the message is sent, so that the earliest moment at which an answer
can take effect is known before the answer is.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from devices.distributions import normal_before_cut, uniform_before_cut
from devices.timeline.faults import NO_FAULT, NO_IMPAIRMENT, FaultWindow, Impairment, LinkFault
from wire.units import NS_PER_S, TIME_UNITS, BitsPerSecond, Duration, Share, format_duration

MS = TIME_UNITS["ms"]
Distribution = Literal["normal", "uniform", "lognormal", "pareto"]

Recovery = Literal["none", "transport"]

LEAST_TIMEOUT_NS, LONGEST_TIMEOUT_NS = 200 * MS, 60_000 * MS
MOST_RETRIES = 15
"""After so many retries a message is lost for good, as with TCP on Linux."""

PARETO_SHAPE = 1.0 + math.sqrt(2.0)
"""With this shape a Pareto distribution's standard deviation equals its mean."""


class Direction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One direction of a network."""

    latency: Duration = Duration(50 * MS)
    """Mean one-way delay of a message; the parts of an answer travel together and have one delay."""
    deviation: Duration = Duration(0)
    """Standard deviation of the delay."""
    distribution: Distribution = "normal"
    """Of the delay: normal or uniform, cut off at 0, or lognormal; or pareto, a few messages far behind.

    Mean and deviation are those of the delays that there are, after the cut; before it where a deviation is
    more than 1,000 times the mean.
    """
    bandwidth: BitsPerSecond = BitsPerSecond(5_000_000)
    """Bits a second; a message's bytes on the wire take their time one after the other."""
    loss: Share = Share(0.0)
    """Share of messages that are lost on the way: they never arrive, or late, as `recovery` says."""
    recovery: Recovery = "none"
    """Treatment of lost messages, those of a fault, too: none, they never arrive and the device reports
    again after `updates.retry_after`; or transport, they are sent again, as TCP does, and later ones wait.

    The first time after a timeout of the mean round trip and four deviations, at least 200 ms; it doubles
    with each retry, to 60 s at most; after 15 retries the message is lost. Each retry counts on the wire, and
    takes none of the bandwidth of other messages.
    """

    def __post_init__(self) -> None:
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth(={self.bandwidth} bps) must be > 0")
        if self.loss > 0.9:
            raise ValueError(f"loss(={self.loss}) must be at most 0.9, or no update ever arrives")
        if self.distribution in ("pareto", "lognormal") and self.deviation and not self.latency:
            raise ValueError(f"latency(=0 s) must be > 0 where the distribution is {self.distribution}")
        if self.distribution == "pareto" and self.deviation > self.latency:
            raise ValueError(
                f"deviation(={format_duration(self.deviation)}) must not exceed "
                f"latency(={format_duration(self.latency)}) where the distribution is pareto"
            )


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of network.

    The bandwidth is that of the device's own access: a report takes it first and has its delay then, an
    answer has its delay first and takes the bandwidth when it is near. Messages take it in turn.
    """

    uplink: Direction = Direction()
    """From the device to the cloud."""
    downlink: Direction = Direction(bandwidth=BitsPerSecond(20_000_000))
    """From the cloud to the device."""

    @property
    def timeout_ns(self) -> int:
        """The time that a transport waits before it sends again (RFC 6298; mean and deviation are known)."""
        ends = self.uplink, self.downlink
        mean, deviation = sum(end.latency for end in ends), math.hypot(*(end.deviation for end in ends))
        return max(mean + int(4 * deviation), LEAST_TIMEOUT_NS)


class Link:
    """One direction of one device's connection.

    Args:
        direction: its settings.
        rng: the stream that this link alone draws from; None where it draws nothing.
        windows: the faults on it, by the order of their start.
        impairment_rng: the stream for impairments by these faults.
    """

    __slots__ = (
        "_direction",
        "_free_ns",
        "_impairment_rng",
        "_latency",
        "_lossy",
        "_ns_per_byte",
        "_ordered_ns",
        "_rng",
        "_windows",
        "latency_ns",
        "recovers",
        "timeout_ns",
        "unimpaired",
    )

    def __init__(
        self,
        direction: Direction,
        rng: np.random.Generator | None,
        windows: Sequence[FaultWindow[LinkFault]] = (),
        impairment_rng: np.random.Generator | None = None,
    ) -> None:
        self._direction = direction
        self.latency_ns = self._latency = int(direction.latency)
        """The mean delay of a message."""
        self._lossy = direction.loss > 0
        self.unimpaired = not self._lossy and not windows
        """True if every message arrives as it was sent."""
        self._ns_per_byte = 8 * NS_PER_S / direction.bandwidth
        self._rng = rng
        self._windows = tuple(windows)
        self._impairment_rng = impairment_rng
        self._free_ns = 0
        self.recovers = direction.recovery == "transport"
        """True if lost messages are sent again, and all arrive in order."""
        self.timeout_ns = Network(uplink=direction, downlink=direction).timeout_ns
        """Time until a lost message is sent again for the first time."""
        self._ordered_ns = 0

    @staticmethod
    def draws(direction: Direction) -> bool:
        """Tell whether such a link needs a random stream at all."""
        return direction.deviation > 0 or direction.loss > 0

    def delay(self, t_ns: int) -> int:
        """Draw the fixed part of the delay of a message that leaves at *t_ns*, in nanoseconds."""
        delay = self._latency if not self._direction.deviation else self._drawn()
        if self._windows:
            delay += self._disturbance(t_ns)
        return delay

    def draw_impairment(self, t_ns: int) -> Impairment:
        """Draw the impairment of a message that leaves at *t_ns*; only where not `unimpaired`."""
        lost: int | None = None
        if self._lossy and self._rng is not None and self._rng.random() < self._direction.loss:
            lost = NO_FAULT
        impairment = NO_IMPAIRMENT
        for window in self._windows:
            if not window.is_active(t_ns):
                continue
            if window.fault.loses(self.draw) and lost is None:
                lost = window.number
            impairment = window.fault.impair(impairment, window.number, self.draw)
        if lost is None:
            return impairment
        if not self.recovers:
            return impairment._replace(lost=lost)
        retries = self._retries(t_ns)
        if retries > MOST_RETRIES:
            return impairment._replace(lost=lost, retries=MOST_RETRIES)
        return impairment._replace(resent=lost, retries=retries, late_ns=self.late_ns(retries))

    def late_ns(self, retries: int) -> int:
        """Return the delay that *retries* retries add to a message."""
        waits = (min(self.timeout_ns << retry, LONGEST_TIMEOUT_NS) for retry in range(retries))
        return sum(max(wait, self.timeout_ns) for wait in waits)

    def in_order(self, arrives_ns: int) -> int:
        """Return the delivery time of a message that arrives at *arrives_ns*: not before earlier ones."""
        self._ordered_ns = max(arrives_ns, self._ordered_ns)
        return self._ordered_ns

    def restart_order(self) -> None:
        """Wait for nothing that was sent on a connection that has ended."""
        self._ordered_ns = 0

    def transfer(self, now: int, wire_bytes: int) -> int:
        """Return the time at which a message of *wire_bytes* that is sent at *now* is through.

        Messages of a link take its bandwidth one after the other.
        """
        begin = now if now > self._free_ns else self._free_ns
        ns_per_byte = self._ns_per_byte if not self._windows else self._slowest(begin)
        self._free_ns = through = begin + int(wire_bytes * ns_per_byte)
        return through

    def next_free_ns(self, now: int) -> int:
        """Return the time at which the link could begin to send a message at *now*."""
        return max(now, self._free_ns)

    def draw(self) -> float:
        """Draw a number from 0 to 1 from the stream for impairments."""
        assert self._impairment_rng is not None
        return float(self._impairment_rng.random())

    def damage(self, part: bytes) -> bytes:
        """Return *part* with one byte changed."""
        at = int(self.draw() * len(part))
        return part[:at] + bytes([part[at] ^ 0x20]) + part[at + 1 :]

    def _retries(self, t_ns: int) -> int:
        """Return which retry of a message that left at *t_ns* arrives; beyond `MOST_RETRIES` if none does."""
        for retry in range(1, MOST_RETRIES + 1):
            at_ns = t_ns + self.late_ns(retry)
            lost = self._lossy and self._rng is not None and self._rng.random() < self._direction.loss
            for window in self._windows:
                if window.is_active(at_ns) and window.fault.loses(self.draw):
                    lost = True
            if not lost:
                return retry
        return MOST_RETRIES + 1

    def _drawn(self) -> int:
        rng, direction = self._rng, self._direction
        if rng is None:
            return self._latency
        mean, deviation = self._latency, int(direction.deviation)
        match direction.distribution:
            case "normal":
                return max(0, int(rng.normal(*normal_before_cut(mean, deviation))))
            case "uniform":
                return max(0, int(rng.uniform(*uniform_before_cut(mean, deviation))))
            case "lognormal":
                sigma = math.sqrt(math.log1p((deviation / mean) ** 2))
                return int(rng.lognormal(math.log(mean) - sigma * sigma / 2, sigma))
            case "pareto":
                # Shifted so that mean and deviation are as stated: the excess has mean = deviation.
                excess = rng.pareto(PARETO_SHAPE) + 1.0
                scale = deviation * (PARETO_SHAPE - 1.0) / PARETO_SHAPE
                return int(mean - deviation + scale * excess)

    def _disturbance(self, t_ns: int) -> int:
        return sum(
            window.fault.added_delay_ns(self.draw) for window in self._windows if window.is_active(t_ns)
        )

    def _slowest(self, t_ns: int) -> float:
        rate = int(self._direction.bandwidth)
        for window in self._windows:
            if window.is_active(t_ns):
                rate = window.fault.limit_rate(rate)
        return 8 * NS_PER_S / rate
