"""Staged rollout of a model version: to whom it is offered, and when the next group's turn is. Pure.

The words and the rules are those of update servers: devices are split into groups, a group's turn comes when
enough of the one before it hold the new version, and too many failures stop it all.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal

import msgspec

from cloud.settings import Seed
from wire.units import TIME_UNITS, Duration, Share, format_duration, format_share


class Rollout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a new model version comes to the fleet while budgets go on moving."""

    at: str
    """When the first group's turn is: a span since the start, a stage, or a stage and a span."""
    seed: Seed
    """The new version is the same model, trained anew with this seed."""
    groups: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    """Devices are split into this number of groups of about equal size."""
    success_threshold: Share = Share(0.8)
    """The next group's turn comes when this share of a group holds the new version."""
    error_threshold: Share = Share(0.05)
    """It stops when more than this share of a group has failed."""
    timeout: Duration = Duration(5 * TIME_UNITS["min"])
    """A device has failed that was connected for so long since its turn and does not hold the new version."""
    pause: Duration = Duration(0)
    """How long a group's turn lasts at least."""
    on_error: Literal["pause", "rollback"] = "pause"
    """What stopping means: no further group, or the old version for all."""

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f"timeout(={format_duration(self.timeout)}) must be > 0")
        if self.success_threshold <= 0:
            raise ValueError(f"success_threshold(={format_share(self.success_threshold)}) must be > 0")


class RolloutDecision(Enum):
    """What becomes of a rollout."""

    WAIT = "wait"
    NEXT = "next"
    """The next group's turn; after the last group, it is done."""
    STOP = "stop"


@dataclass(frozen=True)
class GroupStatus:
    """How a group stands."""

    devices: int
    updated: int
    """How many hold the new version."""
    failed: int
    since_ns: int
    """How long its turn has lasted."""


def group_of(version: str, device: str, groups: int) -> int:
    """Return the rollout group of *device*: by a hash, so that nobody has to keep a list."""
    digest = hashlib.blake2b(f"{version}\x1f{device}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") * groups >> 64


def decide(rollout: Rollout, standing: GroupStatus) -> RolloutDecision:
    """Return what a group's standing means."""
    if standing.failed > rollout.error_threshold * standing.devices:
        return RolloutDecision.STOP
    enough = standing.updated >= rollout.success_threshold * standing.devices
    return RolloutDecision.NEXT if enough and standing.since_ns >= rollout.pause else RolloutDecision.WAIT
