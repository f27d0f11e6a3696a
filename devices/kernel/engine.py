"""The kernel as its callers see it: devices in, rows of the event log out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.event_log import COLUMNS, row_type
from devices.kernel import tables
from devices.kernel.device import simulate
from devices.kernel.inputs import InputMaker, KernelInputs
from devices.kernel.layout import (
    CHANGE,
    DEVICE,
    EVENT,
    EXCHANGE,
    IMPAIRMENT,
    LINK,
    QUEUED,
    DeviceStatus,
    RunArrays,
    share_arrays,
)
from devices.kernel.random_numbers import STREAM
from devices.memory.sampling import STEPS_AT_ONCE
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.quality import UserQuality
from devices.simulated.fleet_config import FleetConfig, TraceSeries
from devices.simulated.roster import DeviceSpec
from wire.geometry import Geometry

Rows = dict[str, NDArray[Any]]
"""The rows of devices by table, in the order of device and row."""

TABLES = ("budget", "update", "quality", "connection", "fault")
"""The tables that the kernel writes; only rollouts have rows in the sixth."""
MODEL_ARRAYS = (
    "users", "user_groups", "quality", "quality_text", "tops", "layer_blocks", "layer_bytes", "rankings",
    "starts", "resident", "full_bytes",
)  # fmt: skip
INPUT_ARRAYS = ("groups", "devices", "links", "streams", "changes", "contacts", "new_users", "moves")
LEAST_ROWS, LEAST_PLACES = 2**16, 64


@dataclass(frozen=True)
class KernelFleet:
    """All that the devices of a run have in common, as SimPy has it."""

    config: FleetConfig
    rules: tables.DeviceRules
    answers: tables.CloudAnswers
    version: str
    geometry: Geometry
    prefixes: Mapping[int, BlockPrefix]
    """The complete ranking of each user group."""
    qualities: Mapping[int, UserQuality]
    """The quality of each layer for each user of the fleet."""
    series: Mapping[str, TraceSeries]
    """The recorded series of each group that replays a trace."""


class Kernel:
    """The compiled simulation of a fleet.

    Args:
        fleet: the fleet, which `devices.kernel.support` must not refuse.
    """

    def __init__(self, fleet: KernelFleet) -> None:
        self._fleet = fleet
        self._model = tables.model_tables(fleet.prefixes, fleet.qualities)
        config = fleet.config
        layers = {user: quality.layers for user, quality in fleet.qualities.items()}
        places = self._model.places
        self._inputs = InputMaker(config, fleet.series, fleet.rules.stop_ns, places, layers)
        self._common: dict[str, NDArray[Any]] = {
            "settings": tables.settings_table(fleet.geometry, fleet.version, fleet.rules, fleet.answers),
            "directions": tables.direction_table(list(config.networks.values())),
            "windows": tables.window_table(tables.link_windows(config)),
            "cloud_windows": tables.cloud_table(config.timeline.cloud_windows),
            "outages": tables.outage_table(config.timeline.outages),
            "status_bytes": tables.status_table(),
        }
        self._places, self._row_places = LEAST_PLACES, LEAST_ROWS

    def simulate(self, specs: Sequence[DeviceSpec]) -> tuple[Rows, list[DeviceSpec]]:
        """Return the rows of *specs*, and the devices that are left to SimPy, whose rows are not in them.

        Args:
            specs: devices, by rising number.
        """
        pieces: list[Rows] = []
        left: list[DeviceSpec] = []
        for members, batch in self._inputs.batches(specs):
            statuses = np.zeros(len(members), np.int64)
            self._simulate_batch(batch, statuses, pieces)
            left += [members[at] for at in np.flatnonzero(statuses == DeviceStatus.LEFT_TO_SIMPY).tolist()]
        rows = {name: np.concatenate([piece[name] for piece in pieces]) for name in TABLES} if pieces else {}
        none: Rows = {name: np.zeros(0, row_type(columns)) for name, columns in COLUMNS.items()}
        return none | rows, left

    def _simulate_batch(self, batch: KernelInputs, statuses: NDArray[np.int64], pieces: list[Rows]) -> None:
        """Simulate a batch of devices.

        Rows are taken whenever a table is full; if that of a single device is, larger ones are made.
        """
        arrays, first = self._arrays(batch), 0
        while True:
            first = simulate(share_arrays(arrays), first, len(statuses), statuses)
            counts = arrays.counts.tolist()
            if any(counts):
                pieces.append(_take_rows(arrays, counts))
                arrays.counts[:] = 0
            elif first < len(statuses):
                self._places, self._row_places = 2 * self._places, 2 * self._row_places
                arrays = self._arrays(batch)
            if first == len(statuses):
                return

    def _arrays(self, batch: KernelInputs) -> RunArrays:
        """Return the arrays for a batch."""
        places, rows = self._places, self._row_places
        arrays: dict[str, NDArray[Any]] = {
            **self._common,
            **{name: getattr(self._model, name) for name in MODEL_ARRAYS},
            **{name: getattr(batch, name) for name in INPUT_ARRAYS},
            **{f"{name}_rows": np.zeros(rows, row_type(COLUMNS[name])) for name in TABLES},
        }
        return RunArrays(
            device=np.zeros(1, DEVICE),
            own_links=np.zeros(batch.most_links, LINK),
            own_streams=np.zeros(2 * batch.most_links + 1, STREAM),
            walk=np.zeros(STEPS_AT_ONCE, CHANGE),
            draws=np.zeros(STEPS_AT_ONCE),
            events=np.zeros(4 * places, EVENT),
            exchanges=np.zeros(places, EXCHANGE),
            queue=np.zeros(4 * places, QUEUED),
            impairment=np.zeros(1, IMPAIRMENT),
            counts=np.zeros(len(TABLES), np.int64),
            **arrays,
        )


def _take_rows(arrays: RunArrays, counts: Sequence[int]) -> Rows:
    """Return copies of the rows that are in the tables."""
    tables_of = zip(TABLES, counts, strict=True)
    return {name: getattr(arrays, f"{name}_rows")[:count].copy() for name, count in tables_of}
