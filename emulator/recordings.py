"""The recordings that a scenario plays, read before anything is trained: a mistake is told at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devices.fleet import FleetGroup
from devices.memory import Replay
from devices.traces.assignment import Played, reuse_warnings
from devices.traces.availability import read_availability
from devices.traces.series import Series, read_memory


@dataclass(frozen=True)
class Recordings:
    """What groups play, by the group's name."""

    memory: dict[str, tuple[Series[int], ...]] = field(default_factory=dict)
    availability: dict[str, tuple[Series[bool], ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What the user should know of series that several devices play."""


def read_recordings(groups: Sequence[FleetGroup]) -> Recordings:
    """Return what *groups* play.

    Raises:
        InputError: a trace is missing or damaged, or has too few series to be sampled without replacement.
    """
    memory = {
        group.name: read_memory(group.memory, Path(group.memory.file))
        for group in groups
        if isinstance(group.memory, Replay)
    }
    availability = {
        group.name: read_availability(group.availability, Path(group.availability.file))
        for group in groups
        if group.availability is not None
    }
    played: list[tuple[str, int, Played, int]] = []
    for group in groups:
        if isinstance(group.memory, Replay):
            played.append((group.name, group.count, group.memory, len(memory[group.name])))
        if group.availability is not None:
            played.append((group.name, group.count, group.availability, len(availability[group.name])))
    return Recordings(memory, availability, tuple(reuse_warnings(played)))
