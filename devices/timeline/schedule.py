"""The schedule of a run: its stages, the moments that count from them, and the selection of devices.

A moment is a span of time since the start (``25 min``), or a stage with or without a span behind it
(``squeeze``, ``squeeze + 30 s``). It never depends on the entries before it in the file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from wire.units import Duration, Share, format_duration, format_share, parse_duration

_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,47}")
_MOMENT = re.compile(r"(?P<stage>[A-Za-z][A-Za-z0-9._-]*)\s*(?:\+\s*(?P<after>\S.*))?")


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the run, with a share of the fleet that is to be connected; stages follow each other."""

    name: str
    """The name in actions, faults and the report: a letter, then letters, digits, '.', '_' or '-'."""
    duration: Duration
    """The length of the stage."""
    target: Share = Share(1.0)
    """The share of the fleet's devices that is connected from the end of the ramp on."""
    ramp: Duration | None = None
    """The time over which devices connect or leave at the start of the stage; null: the whole stage. In the
    first stage all of them connect: `0 s` connects them at once, or as `start_within` says."""
    spread: Literal["linear", "uniform", "poisson"] = "linear"
    """Their distribution over the ramp: evenly, at times drawn for each, or as a Poisson process."""

    def __post_init__(self) -> None:
        if not _STAGE_NAME.fullmatch(self.name):
            raise ValueError(
                f"name(={self.name!r}) must be a letter, then at most 47 letters, digits, '.', '_' or '-'"
            )
        if self.duration <= 0:
            raise ValueError(f"duration(={format_duration(self.duration)}) must be > 0")
        if self.ramp is not None and self.ramp > self.duration:
            raise ValueError(
                f"ramp(={format_duration(self.ramp)}) must not exceed "
                f"duration(={format_duration(self.duration)})"
            )

    @property
    def ramp_ns(self) -> int:
        """The time over which devices connect or leave."""
        return int(self.duration if self.ramp is None else self.ramp)


class DeviceSelector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The devices that an action or a fault affects: those that fit every key that is written."""

    groups: tuple[str, ...] = ()
    """Names of groups of the fleet; none: of all."""
    labels: dict[str, str] = {}
    """Labels that a device's group must have, with these values."""
    nodes: tuple[str, ...] = ()
    """Names of nodes; none: all."""
    networks: tuple[str, ...] = ()
    """Names of networks that a device starts on; none: all."""
    share: Share = Share(1.0)
    """The share of them, drawn device by device."""

    def __post_init__(self) -> None:
        if self.share <= 0:
            raise ValueError(f"share(={format_share(self.share)}) must be > 0")

    def fits(self, *, group: str, labels: Mapping[str, str], node: str, network: str) -> bool:
        """Return whether such a device is selected, apart from the share."""
        return (
            (not self.groups or group in self.groups)
            and (not self.nodes or node in self.nodes)
            and (not self.networks or network in self.networks)
            and all(labels.get(key) == value for key, value in self.labels.items())
        )


@dataclass(frozen=True)
class Moment:
    """A moment of the run as the scenario writes it, before its time is computed."""

    stage: str | None
    """The stage from which it counts; None: the start of the run."""
    after_ns: int

    def resolve(self, starts: Mapping[str, int]) -> int:
        """Return the moment in nanoseconds since the start.

        Args:
            starts: when each stage starts, by name.
        """
        return self.after_ns + (starts[self.stage] if self.stage is not None else 0)


def parse_moment(text: str) -> Moment:
    """Read ``25 min``, ``squeeze`` or ``squeeze + 30 s``.

    Raises:
        ValueError: *text* has none of these forms.
    """
    match = _MOMENT.fullmatch(text.strip())
    try:
        if match is None:
            return Moment(None, parse_duration(0 if text.strip() == "0" else text))
        after = match["after"]
        return Moment(match["stage"], parse_duration(after) if after else 0)
    except ValueError:
        raise ValueError(
            f"at(={text!r}) must be a span of time such as '25 min', a stage, or a stage and a span such as "
            "'squeeze + 30 s'"
        ) from None


def stage_starts(stages: Sequence[Stage]) -> dict[str, int]:
    """Return when each stage starts, in nanoseconds."""
    starts: dict[str, int] = {}
    now = 0
    for stage in stages:
        starts[stage.name] = now
        now += stage.duration
    return starts
