"""Actions: what happens to chosen devices at chosen times, and is not a fault."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec

from devices.timeline.schedule import Select, parse_moment
from wire.units import Duration, format_duration

RAMP_STEPS = 20
"""A budget that changes over a span does so in so many steps."""


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """What every action says."""

    at: str
    """When: a span since the start, a stage, or a stage and a span (`squeeze + 10 min`)."""
    select: Select = Select()
    """To which devices."""

    def __post_init__(self) -> None:
        parse_moment(self.at)


class BudgetScale(Action, frozen=True, kw_only=True, tag="budget_scale"):
    """Multiplies the budget, until another such action does."""

    factor: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)]
    """The budget is multiplied by this, from what the device's memory gives; 1 ends an earlier scaling."""
    over: Duration = Duration(0)
    """How long it takes to get there, in twenty steps; 0: at once."""


class Disconnect(Action, frozen=True, kw_only=True, tag="disconnect"):
    """Cuts devices off for a time; their memory goes on moving."""

    duration: Duration = Duration(0)
    """How long every one of them is away."""
    reconnect_within: Duration = Duration(0)
    """They come back later than that, at times drawn evenly over this span."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.duration + self.reconnect_within <= 0:
            raise ValueError(
                f"duration(={format_duration(self.duration)}) plus "
                f"reconnect_within(={format_duration(self.reconnect_within)}) must be > 0"
            )


class SwapNetwork(Action, frozen=True, kw_only=True, tag="network"):
    """Moves devices to another network: out of the house, into a tunnel."""

    to: str
    """Its name under `networks`."""
    duration: Duration | None = None
    """After this they are back on their own; null: they stay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.duration is not None and self.duration <= 0:
            raise ValueError(f"duration(={format_duration(self.duration)}) must be > 0, or null")


class NewUsers(Action, frozen=True, kw_only=True, tag="new_users"):
    """Gives devices to new users: what was held for the old one is dropped and asked for anew."""

    within: Duration = Duration(0)
    """They change hands at times drawn evenly over this span."""


Actions = BudgetScale | Disconnect | SwapNetwork | NewUsers


class Deed(NamedTuple):
    """An action on one device, at a known time."""

    t_ns: int
    place: int
    """Its place in the scenario's list of actions."""
    action: Actions


def scale_steps(deeds: Iterable[Deed]) -> Iterator[tuple[int, float]]:
    """Yield (t_ns, factor) of the scalings among *deeds*, which are in time order: each holds until the next.

    One that begins while another is under way starts from where that has got to.
    """
    scalings = [deed for deed in deeds if isinstance(deed.action, BudgetScale)]
    factor = 1.0
    for place, (t_ns, _, action) in enumerate(scalings):
        assert isinstance(action, BudgetScale)
        until_ns = scalings[place + 1].t_ns if place + 1 < len(scalings) else None
        before = factor
        for step_ns, part in _ramp(t_ns, int(action.over)):
            if until_ns is not None and step_ns >= until_ns:
                break
            factor = before * (1.0 - part) + action.factor * part  # at the end exactly what is asked for
            yield step_ns, factor


def _ramp(t_ns: int, over_ns: int) -> Sequence[tuple[int, float]]:
    if not over_ns:
        return [(t_ns, 1.0)]
    return [(t_ns + over_ns * step // RAMP_STEPS, step / RAMP_STEPS) for step in range(1, RAMP_STEPS + 1)]
