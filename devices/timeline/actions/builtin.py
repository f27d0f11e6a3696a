"""The actions: scale budgets, disconnect devices, move them to another network, give them new users."""

from typing import Annotated, ClassVar

import msgspec

from devices.timeline.actions.action import Action, BudgetFactor, Draw, NetworkMove
from wire.units import Duration, format_duration


class BudgetScaling(Action, frozen=True, kw_only=True, tag="budget_scale"):
    """Multiplies the budget, until another such action does."""

    factor: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)]
    """The budget is multiplied by this, from what the device's memory gives; 1 ends an earlier scaling."""
    over: Duration = Duration(0)
    """The time until this factor is reached, in twenty steps; 0: at once."""

    @property
    def lasts_ns(self) -> int:
        """The time over which the factor is reached."""
        return int(self.over)

    def budget_factor(self) -> BudgetFactor:
        """Return the factor."""
        return BudgetFactor(self.factor, int(self.over))


class Disconnection(Action, frozen=True, kw_only=True, tag="disconnect"):
    """Cuts devices off for a time; their memory goes on changing."""

    affects_from_start: ClassVar[bool] = True

    duration: Duration = Duration(0)
    """The time for which every one of them is offline."""
    reconnect_within: Duration = Duration(0)
    """They reconnect after that, at times drawn evenly over this span."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.duration + self.reconnect_within <= 0:
            raise ValueError(
                f"duration(={format_duration(self.duration)}) plus "
                f"reconnect_within(={format_duration(self.reconnect_within)}) must be > 0"
            )

    @property
    def lasts_ns(self) -> int:
        """The time until the last device may be back."""
        return int(self.duration + self.reconnect_within)

    def offline_ns(self, draw: Draw) -> int:
        """Return the time that one device is away, in nanoseconds."""
        return int(self.duration) + int(self.reconnect_within * draw())


class NetworkChange(Action, frozen=True, kw_only=True, tag="network"):
    """Moves devices to another network: out of the house, into a tunnel."""

    affects_from_start: ClassVar[bool] = True

    to: str
    """Its name under `networks`."""
    duration: Duration | None = None
    """The time until they return to their own network; null: they stay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.duration is not None and self.duration <= 0:
            raise ValueError(f"duration(={format_duration(self.duration)}) must be > 0, or null")

    @property
    def lasts_ns(self) -> int:
        """The time until devices are back; 0 if they stay."""
        return int(self.duration or 0)

    def network_move(self) -> NetworkMove:
        """Return the network, and the time that devices stay on it."""
        return NetworkMove(self.to, self.duration)


class UserChange(Action, frozen=True, kw_only=True, tag="new_users"):
    """Gives devices to new users: a device drops the PEE of the old user and asks for one of the new user."""

    reassigns_users: ClassVar[bool] = True

    within: Duration = Duration(0)
    """The new users come at times drawn evenly over this span."""

    @property
    def spread_ns(self) -> int:
        """The time over which the new users come."""
        return int(self.within)
