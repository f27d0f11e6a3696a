"""What `compare` measures on each device, read from a run's event tables by the names of their columns.

A metric is a numerator and a denominator per device; over the whole fleet, sum ÷ sum is what
``summary.json`` says. A metric whose columns a run does not have is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emulator.journal import read_table
from emulator.metrics.summary import held_for
from emulator.rundir import DEVICES, EVENTS, read_summary
from wire.errors import InputError
from wire.metrics import FloatArray
from wire.units import NS_PER_S

HOUR_S = 3600.0
P95 = 95.0


@dataclass(frozen=True)
class Metric:
    """Something that is measured on each device."""

    name: str
    better: int
    """1 where more is better, -1 where less is, 0 where it is neither."""
    needs: Mapping[str, Sequence[str]]
    """Columns by table."""
    sums: Callable[["Measures"], tuple[FloatArray, FloatArray]]
    """Numerator and denominator of each device."""


class Measures:
    """The event tables of one run, by device.

    Args:
        folder: a run directory.

    Raises:
        InputError: it is none, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary = read_summary(folder)
        self._devices = read_table(folder / DEVICES, ["device"])
        self.devices: list[str] = self._devices["device"].to_pylist()
        self._names = pa.array(self.devices, pa.string())

    def sums(self, metrics: Sequence[Metric]) -> tuple[FloatArray, FloatArray]:
        """Return numerators and denominators of *metrics*: two arrays of shape (devices, metrics)."""
        found = [metric.sums(self) for metric in metrics]
        above, below = (np.stack([pair[side] for pair in found], axis=1) for side in (0, 1))
        return above, below

    def has(self, metric: Metric) -> bool:
        """Tell whether this run has all the columns that *metric* needs."""
        tables = {"devices": self._devices, "quality": self.quality, "update": self.updates}
        return all(set(columns) <= set(tables[name].column_names) for name, columns in metric.needs.items())

    @cached_property
    def quality(self) -> pa.Table:
        """The table of states."""
        return self._read("quality", ["device", "t_ns", "order"])

    @cached_property
    def updates(self) -> pa.Table:
        """The table of what came of reports."""
        return self._read("update", ["device"])

    def _read(self, name: str, columns: Sequence[str]) -> pa.Table:
        return read_table(self.folder / EVENTS / f"{name}.parquet", columns)

    @cached_property
    def states(self) -> Mapping[str, NDArray[Any]]:
        """The columns of the table of states, with ``seconds`` and the device's ``place``."""
        seconds = self.summary.get("simulated_seconds")
        if not isinstance(seconds, int | float):
            raise InputError(f"{self.folder}: the run directory is damaged: no simulated_seconds")
        states = dict(held_for(self.quality, round(seconds * NS_PER_S)))
        return states | {"place": self._places(pa.array(states["device"], pa.string()))}

    @cached_property
    def seconds(self) -> FloatArray:
        """How long each device was there."""
        return self.over_states(np.ones(len(self.states["seconds"])))

    def over_states(self, values: NDArray[Any]) -> FloatArray:
        """Return the integral of *values*, one per state, over each device's time."""
        weighted = values.astype(np.float64) * self.states["seconds"]
        return self._by_device(self.states["place"], weighted)

    def device(self, column: str) -> FloatArray:
        """Return a column of the table of devices."""
        return np.asarray(self._devices[column].to_numpy(), dtype=np.float64)

    def over_updates(self, column: str) -> FloatArray:
        """Return the sum of *column* over each device's updates."""
        return self._by_device(self.update_places, self.updates[column].to_numpy().astype(np.float64))

    def reports(self) -> FloatArray:
        """Return how many reports each device has sent."""
        return self._by_device(self.update_places, np.ones(len(self.update_places)))

    @cached_property
    def update_places(self) -> NDArray[np.int64]:
        """The device of each update."""
        return self._places(self.updates["device"])

    @cached_property
    def applied(self) -> tuple[NDArray[np.int64], FloatArray]:
        """Device and latency in seconds of each update that was applied."""
        mask = pc.equal(self.updates["result"], "applied").to_numpy(zero_copy_only=False)
        changed, done = (self.updates[name].to_numpy()[mask] for name in ("changed_ns", "applied_ns"))
        return self.update_places[mask], (done - changed) / NS_PER_S

    def per_applied(self, values: FloatArray) -> FloatArray:
        """Return the sum of *values*, one per applied update, for each device."""
        return self._by_device(self.applied[0], values)

    def p95_latency(self) -> tuple[FloatArray, FloatArray]:
        """Return each device's own 95th percentile of latency, and 1 where it has one."""
        places, seconds = self.applied
        order = np.argsort(places, kind="stable")
        present, starts = np.unique(places[order], return_index=True)
        found, there = np.zeros(len(self.devices)), np.zeros(len(self.devices))
        groups = np.split(seconds[order], starts[1:])  # one, empty, where there is no device
        for place, own in zip(present, groups, strict=False):
            found[place], there[place] = np.percentile(own, P95), 1.0
        return found, there

    def _places(self, names: pa.Array) -> NDArray[np.int64]:
        places = pc.index_in(names, value_set=self._names)
        if places.null_count:
            raise InputError(f"{self.folder}: the run directory is damaged: events of unknown devices")
        return np.asarray(places.to_numpy(), dtype=np.int64)

    def _by_device(self, places: NDArray[np.int64], values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(places, values, len(self.devices)), dtype=np.float64)


def _time_mean(column: str) -> Callable[[Measures], tuple[FloatArray, FloatArray]]:
    return lambda run: (run.over_states(run.states[column]), run.seconds)


def _per_hour(column: str) -> Callable[[Measures], tuple[FloatArray, FloatArray]]:
    return lambda run: (run.over_updates(column), run.seconds / HOUR_S)


def _ratio_to_full(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.over_states(run.states["ndcg_at_10"]), run.device("full_ndcg_at_10") * run.seconds


def _regret(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.over_states(run.states["best_ndcg_at_10"] - run.states["ndcg_at_10"]), run.seconds


def _over_budget(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.over_states(run.states["resident_bytes"] > run.states["budget_bytes"]), run.seconds


def _wasted(run: Measures) -> tuple[FloatArray, FloatArray]:
    sent, used, lost = (run.over_updates(name) for name in ("update_bytes", "used_bytes", "lost_bytes"))
    return sent - used - lost, run.seconds / HOUR_S


def _delta_ratio(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.over_updates("update_bytes"), run.over_updates("full_update_bytes")


def _reports(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.reports(), run.seconds / HOUR_S


def _applied(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.per_applied(np.ones(len(run.applied[0]))), run.seconds / HOUR_S


def _latency(run: Measures) -> tuple[FloatArray, FloatArray]:
    return run.per_applied(run.applied[1]), run.per_applied(np.ones(len(run.applied[0])))


_STATES = {"quality": ["ndcg_at_10"]}
_WIRE = ["update_wire_bytes"]
_WASTE = ["update_bytes", "used_bytes", "lost_bytes"]
_TIMES = {"update": ["result", "applied_ns", "changed_ns"]}

METRICS = (
    Metric("ndcg_at_10", 1, _STATES, _time_mean("ndcg_at_10")),
    Metric("recall_at_20", 1, {"quality": ["recall_at_20"]}, _time_mean("recall_at_20")),
    Metric("hit_rate_at_10", 1, {"quality": ["hit_rate_at_10"]}, _time_mean("hit_rate_at_10")),
    Metric("quality_ratio_to_full", 1, _STATES | {"devices": ["full_ndcg_at_10"]}, _ratio_to_full),
    Metric("quality_regret", -1, {"quality": ["ndcg_at_10", "best_ndcg_at_10"]}, _regret),
    Metric("over_budget_share", -1, {"quality": ["resident_bytes", "budget_bytes"]}, _over_budget),
    Metric("reports_per_device_hour", 0, {"update": []}, _reports),
    Metric("updates_applied_per_device_hour", 0, {"update": ["result"]}, _applied),
    Metric("update_bytes_per_device_hour", -1, {"update": ["update_bytes"]}, _per_hour("update_bytes")),
    Metric("wire_bytes_per_device_hour", -1, {"update": _WIRE}, _per_hour("update_wire_bytes")),
    Metric("report_bytes_per_device_hour", -1, {"update": ["report_bytes"]}, _per_hour("report_bytes")),
    Metric("wasted_bytes_per_device_hour", -1, {"update": _WASTE}, _wasted),
    Metric("delta_ratio", -1, {"update": ["update_bytes", "full_update_bytes"]}, _delta_ratio),
    Metric("update_latency_mean_seconds", -1, _TIMES, _latency),
    Metric("update_latency_p95_seconds", -1, _TIMES, Measures.p95_latency),
)  # fmt: skip
"""In the order in which they are shown."""
