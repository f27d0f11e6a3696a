"""Staged rollout of a model version: which devices are offered it, and when the next group starts. Pure.

The terms and rules are those of update servers: devices are split into groups; a group starts when enough
devices of the group before it hold the new version; too many failures stop the rollout.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, Protocol

import msgspec

from cloud.settings import Seed
from wire.units import TIME_UNITS, Duration, Share, format_duration, format_share


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Staged rollout of a new model version, while budgets keep changing."""

    at: str
    """Start of the first group: a span since the start, a stage, or a stage and a span."""
    seed: Seed
    """The new version is the same model, trained again with this seed."""
    groups: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    """Devices are split into this number of groups of about equal size."""
    success_threshold: Share = Share(0.8)
    """The next group starts when this share of a group holds the new version."""
    error_threshold: Share = Share(0.05)
    """The rollout stops when more than this share of a group has failed."""
    timeout: Duration = Duration(5 * TIME_UNITS["min"])
    """A device has failed if it was connected for this time since its group started and does not hold the new
    version."""
    pause: Duration = Duration(0)
    """Shortest time between the starts of two groups."""
    on_error: Literal["pause", "rollback"] = "pause"
    """Effect of a stop: no further group starts, or all devices get the old version."""

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f"timeout(={format_duration(self.timeout)}) must be > 0")
        if self.success_threshold <= 0:
            raise ValueError(f"success_threshold(={format_share(self.success_threshold)}) must be > 0")


class RolloutDecision(Enum):
    """Decision on the next step of a rollout."""

    WAIT = "wait"
    NEXT = "next"
    """Start the next group; after the last group, the rollout is complete."""
    STOP = "stop"


@dataclass(frozen=True)
class GroupStatus:
    """Progress of a group."""

    devices: int
    updated: int
    """Number of devices that hold the new version."""
    failed: int
    since_ns: int
    """Time since the group started."""


class GroupRules(Protocol):
    """The rules by which a group is judged: those of a scenario, or of a real rollout."""

    @property
    def success_threshold(self) -> float:
        """The next group starts when this share of a group holds the new version."""

    @property
    def error_threshold(self) -> float:
        """The rollout stops when more than this share of a group has failed."""

    @property
    def pause(self) -> int:
        """Shortest time between the starts of two groups, in nanoseconds."""


def decide(rules: GroupRules, status: GroupStatus) -> RolloutDecision:
    """Return the decision for a group with this status."""
    if status.failed > rules.error_threshold * status.devices:
        return RolloutDecision.STOP
    enough = status.updated >= rules.success_threshold * status.devices
    return RolloutDecision.NEXT if enough and status.since_ns >= rules.pause else RolloutDecision.WAIT
