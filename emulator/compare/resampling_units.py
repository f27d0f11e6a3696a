"""Units of the bootstrap in a comparison: devices, users of several devices, or complete runs.

Devices with the same user are one unit, since they share the properties of the user. Events that affect the
whole fleet (a shock, a fault, a full queue, a rollout) are shared by all devices of a run: then devices do
not show how another run would go, and complete runs must be drawn.
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
"""From this number of pairs on complete runs are drawn; with fewer, shared events cannot be judged."""
MAX_UNITS: Final = 2_000
"""More units than this are grouped into buckets, for speed; only sums of units are needed."""

_ONE_EACH: Final = "sample_without_replacement"
"""The assignment by which no two devices of a group play the same series of a trace."""


@dataclass(frozen=True)
class ResamplingUnits:
    """The units that are drawn in each resample."""

    kind: str
    """``devices``; ``users`` if some devices share a user; ``seeds`` for complete runs."""
    of_row: IntArray
    """The unit of each row."""
    count: int
    shared: tuple[str, ...] = ()
    """Keys of the scenario with events that all devices of a run share."""
    runs: int = 1

    @property
    def enough(self) -> bool:
        """True if the result holds for other runs of the same scenarios, too."""
        return not self.shared or self.runs >= MIN_SEEDS


def shared_causes(scenario: Scenario) -> Iterator[str]:
    """Yield keys of the scenario with events that the devices of a run share."""
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
    """Return the units of *pairs* of runs."""
    scenarios = [run.scenario for pair in pairs for run in (pair.first, pair.second)]
    shared = tuple(dict.fromkeys(key for scenario in scenarios for key in shared_causes(scenario)))
    sizes = [pair.rows for pair in pairs]
    if len(pairs) >= MIN_SEEDS:
        return ResamplingUnits(
            "seeds", np.repeat(np.arange(len(pairs)), sizes), len(pairs), shared, len(pairs)
        )
    users = np.concatenate([pair.users for pair in pairs], axis=1)
    of_row, count = _clusters(*users)
    kind = "devices" if count == len(of_row) else "users"
    if count > MAX_UNITS:
        of_row, count = of_row % MAX_UNITS, MAX_UNITS
    return ResamplingUnits(kind, of_row, count, shared, len(pairs))


def _clusters(first: IntArray, second: IntArray) -> tuple[IntArray, int]:
    """Return the cluster of each row, and the number of clusters; rows that share a user are in one cluster.

    Args:
        first: the user of each row in the first run.
        second: the user of each row in the second run.
    """
    size = len(first)
    users, user = np.unique(np.concatenate([first, second]), return_inverse=True)
    ends = np.tile(np.arange(size), 2), user + size
    nodes = size + len(users)
    links = coo_array((np.ones(2 * size), ends), shape=(nodes, nodes))
    labels = connected_components(links, directed=False)[1][:size]
    names, of = np.unique(labels, return_inverse=True)
    return of.astype(np.int64), len(names)
