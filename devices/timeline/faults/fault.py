"""The contract of a fault: when it is active, which devices it affects, and how it changes messages.

The base class says which devices are affected: those with selected links (`LinkFault`), all devices, because
the broker is gone (`BrokerFault`), or all devices that wait for the cloud (`CloudFault`).

A fault is active in windows of simulated time that are known before the run starts, so they are the same
under every clock. Its random numbers come from a stream of the device that nothing else uses: a fleet
without the fault behaves as before.
"""

from collections.abc import Callable
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

import msgspec

from devices.timeline.faults.impairment import Impairment
from devices.timeline.schedule import DeviceSelector, parse_moment
from wire.units import TIME_UNITS, Duration, format_duration

Stream = Literal["both", "uplink", "downlink"]
Draw = Callable[[], float]
"""Draws a number from 0 to 1."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """The keys that every fault has."""

    slows: ClassVar[bool] = False
    """True: it delays exchanges and loses nothing.

    Such a fault affects each device that has an exchange under way while the fault is active. A fault that
    changes messages affects the devices whose messages it changed.
    """

    at: str
    """The time of its start: a span since the start, a stage, or a stage and a span (`storm + 1 min`)."""
    duration: Duration
    """The time for which it is active; at most to the stop time."""

    def __post_init__(self) -> None:
        parse_moment(self.at)
        if self.duration <= 0:
            raise ValueError(f"duration(={format_duration(self.duration)}) must be > 0")


class LinkFault(Fault, frozen=True, kw_only=True):
    """The keys that every fault of links has.

    A subclass overrides the methods for what it does. They are called while the fault is active, and may
    draw random numbers, always in the same order.
    """

    stream: Stream = "both"
    """The direction: `uplink`, toward the cloud; `downlink`, from it; or `both`."""
    select: DeviceSelector = DeviceSelector()
    """The devices whose links it affects."""

    def added_delay_ns(self, draw: Draw) -> int:
        """Return the time in nanoseconds by which a message takes longer."""
        return 0

    def limit_rate(self, bits_per_second: int) -> int:
        """Return the bandwidth of a link that has *bits_per_second* without this fault."""
        return bits_per_second

    def loses(self, draw: Draw) -> bool:
        """Return whether a message is lost; asked again each time that a transport sends it again."""
        return False

    def impair(self, impairment: Impairment, number: int, draw: Draw) -> Impairment:
        """Return *impairment* with the changes of this fault, number *number* of the scenario."""
        return impairment

    @property
    def holds_back_ns(self) -> int:
        """The time for which it holds a message back, so that others overtake it; 0 if it holds none back."""
        return 0


class BrokerFault(Fault, frozen=True, kw_only=True):
    """The broker is gone while it is active: every device is cut off, and messages under way are lost."""

    reconnect_within: Duration = Duration(10 * TIME_UNITS["s"])
    """Devices come back at times drawn evenly over this span: the jitter of their back-off."""


class CloudFault(Fault, frozen=True, kw_only=True):
    """The keys that every fault of the cloud has."""

    slows: ClassVar[bool] = True
    stops: ClassVar[bool] = False
    """True: the cloud does nothing while it is active, and starts unfinished work again afterwards."""

    def serve_ns(self, service_ns: int) -> int:
        """Return the service time of work that begins while it is active and else takes *service_ns*."""
        return service_ns


F = TypeVar("F", bound=Fault, covariant=True)


class FaultWindow(NamedTuple, Generic[F]):
    """A span of time in which a fault is active."""

    start_ns: int
    end_ns: int
    number: int
    """Its place in the scenario's list of faults, from 0."""
    fault: F

    def is_active(self, t_ns: int) -> bool:
        """Return whether the fault is active at *t_ns*."""
        return self.start_ns <= t_ns < self.end_ns
