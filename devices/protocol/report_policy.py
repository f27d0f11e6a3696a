"""When a device tells of its budget, and for how much it asks. Pure.

A device that holds more than its budget reports at once, whatever the rules say: no policy may leave it
above its budget. What a policy saves is growth, and reports that change nothing.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec

from wire.units import Duration, Share, format_duration


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a group's devices report their budget."""

    on_change: Share = Share(0.0)
    """A change below this share of the last reported budget is reported only if it forces blocks out."""
    min_interval: Duration = Duration(0)
    """The least time between two reports of a device, unless its budget is exceeded."""
    max_interval: Duration | None = None
    """The longest time between two reports of a device, changed or not; null: no limit."""

    def __post_init__(self) -> None:
        if self.max_interval is not None and self.max_interval <= 0:
            raise ValueError(f"max_interval(={format_duration(self.max_interval)}) must be > 0, or null")
        if self.max_interval is not None and self.min_interval > self.max_interval:
            raise ValueError(
                f"min_interval(={format_duration(self.min_interval)}) must not exceed "
                f"max_interval(={format_duration(self.max_interval)})"
            )


LEAST_REFUSAL_WAIT_S, LONGEST_REFUSAL_WAIT_S = 1.0, 60.0
LevelsPerDoubling = Annotated[int, msgspec.Meta(ge=1, le=64)]


class Reporting(msgspec.Struct, frozen=True):
    """All rules for the reports of one device."""

    publish: Publish = Publish()
    hysteresis: float = 0.0
    """A growth is asked for only beyond this share above the budget reported last."""
    debounce_ns: int = 0
    """A budget is told of when it has held for so long."""
    levels_per_doubling: int | None = None
    """Budgets are rounded down to so many levels between a size and twice the size."""
    headroom: float = 0.0
    """This share of the budget is left free, so that a small dip forces nothing out."""

    @property
    def plain(self) -> bool:
        """Whether every change is reported at once, as it is."""
        return self == Reporting(Publish(max_interval=self.publish.max_interval))

    def wanted(self, budget_bytes: int) -> int:
        """Return the bytes that a device with *budget_bytes* asks for: never more than that."""
        wanted = budget_bytes
        if self.headroom:
            wanted = min(wanted, int(wanted * (1.0 - self.headroom)))
        if self.levels_per_doubling is None or wanted < 1:
            return wanted
        # Levels are whole bytes, so the one that is wanted itself may have a step that lies behind it.
        step = math.ceil(math.log2(wanted + 1) * self.levels_per_doubling)
        while (level := int(2.0 ** (step / self.levels_per_doubling))) > wanted:
            step -= 1
        return level


@dataclass(frozen=True)
class Told:
    """What a device said last."""

    wanted_bytes: int
    t_ns: int


def due(
    rule: Reporting, told: Told, *, budget_bytes: int, resident_bytes: int, now_ns: int, forced: bool
) -> int | None:
    """Return when a device whose budget has just changed is to report it, in nanoseconds; None: not at all.

    Args:
        rule: what its reports follow.
        told: what it reported last.
        budget_bytes: its budget now.
        resident_bytes: what it holds, after eviction.
        now_ns: the time.
        forced: whether blocks have been forced out since it reported last: what is held is then less than
            what was told, and no rule may have that forgotten.
    """
    if resident_bytes > budget_bytes:
        return now_ns
    wanted = rule.wanted(budget_bytes)
    if not forced and _spared(rule, told.wanted_bytes, wanted):
        return None
    return max(now_ns + rule.debounce_ns, told.t_ns + int(rule.publish.min_interval))


def _spared(rule: Reporting, told: int, wanted: int) -> bool:
    """Tell whether a rule keeps a device that has told of *told* bytes from telling of *wanted* ones."""
    if wanted > told and rule.hysteresis and wanted <= told * (1.0 + rule.hysteresis):
        return True
    if wanted < told and rule.headroom:
        return True  # the dip that the headroom is for
    return wanted == told or abs(wanted - told) < rule.publish.on_change * told


MANY_REFUSALS = 3
"""Answers in a row, after which a device that refuses them drops what it holds and asks for all of it."""


class Refusals:
    """When a device asks again whose answers it refuses: ever later, where one report after another is.

    What is wrong with one part is often wrong with the next, and a fleet that asks once a second for ever
    is a load that helps nobody.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._counted = False

    @property
    def many(self) -> bool:
        """Whether so many answers in a row were refused that what is held must be wrong, not they."""
        return self._in_a_row >= MANY_REFUSALS

    def reported(self) -> None:
        """Note that another report has left."""
        self._counted = False

    def wait_s(self, draw: float) -> float:
        """Return how long to wait after a part was refused, at least a second.

        It doubles with each report whose answer is refused, up to a minute; half of it is drawn.

        Args:
            draw: a number from 0 to 1.
        """
        if not self._counted:  # an answer has many parts
            self._counted = True
            self._in_a_row += 1
        whole = min(2.0 ** min(self._in_a_row - 1, 16), LONGEST_REFUSAL_WAIT_S)
        return max(whole * (0.5 + 0.5 * draw), LEAST_REFUSAL_WAIT_S)
