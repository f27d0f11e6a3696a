"""Links: how long a message takes between a device and the cloud, and whether it arrives.

The fixed part of a delay is drawn when the message is sent, so that the earliest moment at which
an answer can matter is known before the answer is.
"""

import msgspec
import numpy as np

from wire.units import NS_PER_S, TIME_UNITS, BitsPerSecond, Duration, Share

MS = TIME_UNITS["ms"]


class Direction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One direction of a network."""

    latency: Duration = Duration(50 * MS)
    """Mean one-way delay of a message."""
    deviation: Duration = Duration(0)
    """Standard deviation of the delay; it is normal, cut off at 0."""
    bandwidth: BitsPerSecond = BitsPerSecond(5_000_000)
    """Bits a second; a message's bytes on the wire take their time one after the other."""
    loss: Share = Share(0.0)
    """Share of messages that never arrive."""

    def __post_init__(self) -> None:
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth(={self.bandwidth} bps) must be > 0")
        if self.loss > 0.9:
            raise ValueError(f"loss(={self.loss}) must be at most 0.9, or no update ever arrives")


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of network: what a device's messages go through."""

    uplink: Direction = Direction()
    """From the device to the cloud."""
    downlink: Direction = Direction(bandwidth=BitsPerSecond(20_000_000))
    """From the cloud to the device."""


class Link:
    """One direction of one device's connection.

    Args:
        direction: what it is like.
        rng: the stream that this link alone draws from.
    """

    __slots__ = ("_deviation", "_free_at", "_latency", "_loss", "_ns_per_byte", "_rng", "lossy")

    def __init__(self, direction: Direction, rng: np.random.Generator | None) -> None:
        self._latency = int(direction.latency)
        self._deviation = int(direction.deviation)
        self._loss = float(direction.loss)
        self.lossy = direction.loss > 0
        self._ns_per_byte = 8 * NS_PER_S / direction.bandwidth
        self._rng = rng
        self._free_at = 0

    @staticmethod
    def draws(direction: Direction) -> bool:
        """Tell whether such a link needs a random stream at all."""
        return direction.deviation > 0 or direction.loss > 0

    def delay(self) -> int:
        """Draw the fixed part of a message's delay, in nanoseconds."""
        if not self._deviation or self._rng is None:
            return self._latency
        return max(0, int(self._rng.normal(self._latency, self._deviation)))

    def loses(self) -> bool:
        """Draw whether a message is lost; never where the link is not `lossy`."""
        return self._rng is not None and self._rng.random() < self._loss

    def transfer(self, now: int, wire_bytes: int) -> int:
        """Return the time at which a message of *wire_bytes* that comes up at *now* is through.

        Messages of a link take its bandwidth one after the other.
        """
        begin = now if now > self._free_at else self._free_at
        self._free_at = through = begin + int(wire_bytes * self._ns_per_byte)
        return through
