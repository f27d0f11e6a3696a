"""What chance is drawn from in a comparison: devices, users that several devices have, or whole runs.

Devices that have the same user are one unit: what is particular to the user is in each of them. What
happens to a fleet as a whole (a shock, a fault, a full queue, a rollout) is particular to the run: devices
say nothing of how it would go at another time, and only whole runs can be drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse import coo_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

from devices.memory import Replay
from emulator.compare.pairs import RunPair
from emulator.metrics.row_index import IntArray
from scenarios.language.scenario import Scenario

MIN_SEEDS: Final = 10
"""With so many pairs of runs whole runs are drawn; with fewer, what a whole run shares cannot be judged."""
MAX_UNITS: Final = 2_000
"""More units than this are drawn in buckets, for speed: their sums are what counts."""

_ONE_EACH: Final = "sample_without_replacement"
"""No two devices of a group play the same series of a trace."""


@dataclass(frozen=True)
class ResamplingUnits:
    """What is drawn anew."""

    kind: str
    """``devices``; ``users`` where some devices have the same one; ``seeds``."""
    of: IntArray
    """The unit of each pair of devices."""
    count: int
    shared: tuple[str, ...] = ()
    """What all devices of a run have in common, by key of the scenario."""
    runs: int = 1

    @property
    def enough(self) -> bool:
        """Tell whether they speak of more than these runs."""
        return not self.shared or self.runs >= MIN_SEEDS


def shared_causes(scenario: Scenario) -> Iterator[str]:
    """Yield what happens to the devices of a run together, by key of the scenario."""
    for group in scenario.fleet:
        if group.shocks:
            yield f"fleet[{group.name}].shocks"
        if isinstance(group.memory, Replay) and group.memory.assign != _ONE_EACH:
            yield f"fleet[{group.name}].memory.file"
        if group.availability is not None and group.availability.assign != _ONE_EACH:
            yield f"fleet[{group.name}].availability.file"
    if scenario.faults:
        yield "faults"
    if any(action.reassigns_users for action in scenario.actions):
        yield "actions: new_users"
    if scenario.rollout is not None:
        yield "rollout"
    if scenario.cloud.workers is not None:
        yield "cloud.workers"
    if scenario.can_abort:
        yield "thresholds: abort_on_fail"
    if scenario.clock == "realtime":
        yield "clock"


def find_units(pairs: Sequence[RunPair]) -> ResamplingUnits:
    """Return what is drawn anew of *pairs* of runs."""
    scenarios = [run.scenario for pair in pairs for run in (pair.one, pair.two)]
    shared = tuple(dict.fromkeys(key for scenario in scenarios for key in shared_causes(scenario)))
    sizes = [pair.rows for pair in pairs]
    if len(pairs) >= MIN_SEEDS:
        return ResamplingUnits(
            "seeds", np.repeat(np.arange(len(pairs)), sizes), len(pairs), shared, len(pairs)
        )
    users = np.concatenate([pair.users for pair in pairs], axis=1)
    of, count = _clusters(*users)
    kind = "devices" if count == len(of) else "users"
    if count > MAX_UNITS:
        of, count = of % MAX_UNITS, MAX_UNITS
    return ResamplingUnits(kind, of, count, shared, len(pairs))


def _clusters(first: IntArray, second: IntArray) -> tuple[IntArray, int]:
    """Return the cluster of each row, and how many there are: rows with a user in common are of one.

    Args:
        first: the user of each row on the first side.
        second: the same on the second.
    """
    size = len(first)
    users, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    ends = np.tile(np.arange(size), 2), place + size
    nodes = size + len(users)
    links = coo_array((np.ones(2 * size), ends), shape=(nodes, nodes))
    labels = connected_components(links, directed=False)[1][:size]
    names, of = np.unique(labels, return_inverse=True)
    return of.astype(np.int64), len(names)
