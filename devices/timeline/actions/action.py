"""The contract of an action: when it happens, to which devices, and what it changes about one of them."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import msgspec

from devices.timeline.schedule import DeviceSelector, parse_moment

Draw = Callable[[], float]
"""Draws a number from 0 to 1."""


class BudgetFactor(NamedTuple):
    """A factor for the budget, and the time over which it is reached."""

    factor: float
    over_ns: int


class NetworkMove(NamedTuple):
    """Another network, and the time that a device stays on it; None: to the end of the run."""

    network: str
    stays_ns: int | None


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """The keys that every action has.

    A subclass overrides what it changes; the defaults change nothing.
    """

    affects_from_start: ClassVar[bool] = False
    """True: its devices count as affected from its start. False: when it has happened to all of them."""
    reassigns_users: ClassVar[bool] = False
    """True: each of its devices gets a new user."""

    at: str
    """The time: a span since the start, a stage, or a stage and a span (`squeeze + 10 min`)."""
    select: DeviceSelector = DeviceSelector()
    """The devices that it changes."""

    def __post_init__(self) -> None:
        parse_moment(self.at)

    @property
    def spread_ns(self) -> int:
        """The time over which it happens to its devices, at a time drawn for each; 0: to all at once."""
        return 0

    @property
    def lasts_ns(self) -> int:
        """The time from its start until it has happened to all of its devices."""
        return self.spread_ns

    def offline_ns(self, draw: Draw) -> int | None:
        """Return the time that a device is cut off, in nanoseconds; None if it stays connected."""
        return None

    def budget_factor(self) -> BudgetFactor | None:
        """Return the factor by which budgets are multiplied from now on; None leaves them as they are."""
        return None

    def network_move(self) -> NetworkMove | None:
        """Return the network that devices move to; None if they stay."""
        return None


class ScheduledAction(NamedTuple):
    """An action on one device, at a known time."""

    t_ns: int
    number: int
    """Its place in the scenario's list of actions, from 0."""
    action: Action
