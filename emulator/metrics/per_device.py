"""What `compare` measures: the metrics of the run's own summary, as sums over its devices.

There are no formulas here. A metric is one of `emulator.metrics`, which made ``summary.json``; what is taken
from it is how much each device adds to the figure, so that the devices' shares give the figure itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from emulator.metrics.aggregates import (
    Aggregate,
    Counter,
    Level,
    Ratio,
    Time,
    Trend,
    WeightedSum,
    nearest_rank,
)
from emulator.metrics.compute import RunMetrics
from emulator.metrics.frame import IntArray, RowSet
from emulator.metrics.summary import compute_metrics
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.event_log import logical_sha256
from emulator.run_directory.layout import SCENARIO
from emulator.run_directory.run_files import RunFiles
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.ranking_metrics import FloatArray
from wire.units import NS_PER_S

HOUR_S = 3600.0
P95 = 95.0


class Reduction(Enum):
    """How a metric becomes one figure of a run."""

    WHOLE = "whole"
    """As the summary has it: a mean over time, or a ratio."""
    PER_HOUR = "per hour"
    """A sum over events ÷ hours that devices were there."""
    MEAN = "mean"
    """The mean over events."""
    P95 = "p95"
    """The 95th percentile over events: no sum of anything."""


@dataclass(frozen=True)
class ComparedMetric:
    """A figure of a run."""

    name: str
    better: int
    """1 where more is better, -1 where less is, 0 where it is neither."""
    of: str
    """The metric of `scenarios.catalogue.metrics` that it is a figure of."""
    figure: Reduction = Reduction.WHOLE


COMPARED_METRICS = (
    ComparedMetric("ndcg_at_10", 1, "ndcg_at_10"),
    ComparedMetric("recall_at_20", 1, "recall_at_20"),
    ComparedMetric("hit_rate_at_10", 1, "hit_rate_at_10"),
    ComparedMetric("quality_ratio_to_full", 1, "quality_ratio_to_full"),
    ComparedMetric("quality_regret", -1, "quality_regret"),
    ComparedMetric("quality_shortfall_after_first", -1, "quality_shortfall_after_first"),
    ComparedMetric("below_best_share", -1, "below_best_share"),
    ComparedMetric("over_budget_share", -1, "over_budget_share"),
    ComparedMetric("reports_per_device_hour", 0, "budget_reports", Reduction.PER_HOUR),
    ComparedMetric("updates_applied_per_device_hour", 0, "updates_applied", Reduction.PER_HOUR),
    ComparedMetric("update_bytes_per_device_hour", -1, "update_bytes", Reduction.PER_HOUR),
    ComparedMetric("wire_bytes_per_device_hour", -1, "update_wire_bytes", Reduction.PER_HOUR),
    ComparedMetric("report_bytes_per_device_hour", -1, "report_bytes", Reduction.PER_HOUR),
    ComparedMetric("report_wire_bytes_per_device_hour", -1, "report_wire_bytes", Reduction.PER_HOUR),
    ComparedMetric("wasted_bytes_per_device_hour", -1, "wasted_bytes", Reduction.PER_HOUR),
    ComparedMetric("delta_ratio", -1, "delta_ratio"),
    ComparedMetric("update_latency_mean_seconds", -1, "update_latency_seconds", Reduction.MEAN),
    ComparedMetric("update_latency_p95_seconds", -1, "update_latency_seconds", Reduction.P95),
)
"""In the order in which they are shown."""


@dataclass(frozen=True)
class DeviceEvents:
    """One value per event, and the device of each by its place."""

    device: IntArray
    values: FloatArray

    def of(self, devices: IntArray, count: int) -> "DeviceEvents":
        """Return the events of *devices*, out of *count*, with their places among these."""
        places = np.full(count, -1, dtype=np.int64)
        places[devices] = np.arange(len(devices))
        place = places[self.device]
        return DeviceEvents(place[place >= 0], self.values[place >= 0])

    @property
    def p95(self) -> float:
        """The 95th percentile, as the summary has it; NaN of nothing."""
        found = nearest_rank(np.sort(self.values), P95, 1)
        return float("nan") if found is None else found


class MeasuredRun:
    """A run directory: what was run, and what each device adds to each figure.

    Args:
        folder: a run directory.

    Raises:
        InputError: it is none, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = RunFiles(folder)
        self.summary = self._files.summary

    @cached_property
    def scenario(self) -> Scenario:
        """What was run."""
        return parse(self._files.scenario, str(self.folder / SCENARIO))

    @cached_property
    def measures(self) -> RunMetrics:
        """The metrics of the run, as its summary has them."""
        seconds = self.summary["simulated_seconds"]
        assert isinstance(seconds, int | float)
        tables = self._files.events
        if logical_sha256(tables) != self.summary.get("event_log_sha256"):
            raise self._damaged("the event log is not the one that the run wrote")
        plan = RunTimeline.of(self.scenario).until(round(seconds * NS_PER_S))
        return compute_metrics(tables, self._devices, plan)

    @cached_property
    def _devices(self) -> pa.Table:
        return self._files.devices(["device", "user"])

    @cached_property
    def devices(self) -> Sequence[str]:
        """The ids of its devices."""
        names: list[str] = self._devices["device"].to_pylist()
        return names

    @cached_property
    def users(self) -> Sequence[int]:
        """The user that each device has from its start."""
        numbers: list[int] = self._devices["user"].to_pylist()
        return numbers

    def sums(self, metrics: Sequence[ComparedMetric]) -> tuple[FloatArray, FloatArray]:
        """Return what is divided by what, of each device: two arrays of shape (devices, metrics).

        Over all devices, sum ÷ sum is the figure; a percentile has zeros.
        """
        found = [self._sums(metric) for metric in metrics]
        return np.stack([above for above, _ in found], axis=1), np.stack(
            [below for _, below in found], axis=1
        )

    def events(self, metric: ComparedMetric) -> DeviceEvents:
        """Return the events that *metric* is a percentile of."""
        form = self.measures.form(metric.of)
        assert isinstance(form, Trend)
        return DeviceEvents(form.rows.device, form.values / form.scale)

    def _sums(self, metric: ComparedMetric) -> tuple[FloatArray, FloatArray]:
        form = self.measures.form(metric.of)
        match metric.figure:
            case Reduction.PER_HOUR:
                assert isinstance(form, Counter)
                return self._by_device(form.rows, form.values), self._seconds / HOUR_S
            case Reduction.MEAN:
                assert isinstance(form, Trend)
                ones = np.ones(len(form.values))
                return self._by_device(form.rows, form.values / form.scale), self._by_device(form.rows, ones)
            case Reduction.P95:
                return np.zeros(len(self.devices)), np.zeros(len(self.devices))
        return self._whole(form)

    def _whole(self, form: Aggregate) -> tuple[FloatArray, FloatArray]:
        match form:
            case Level():
                weighed = self._by_device(form.rows, form.values * form.time.values)
                return weighed, self._of(form.time)
            case Ratio():
                return self._of(form.above) * form.factor, self._of(form.below)
            case Time():
                return self._of(form.held), self._of(form.all)
        raise TypeError(f"{form!r} is no ratio of sums over devices")

    @cached_property
    def _seconds(self) -> FloatArray:
        """How long each device was there."""
        form = self.measures.form("ndcg_at_10")
        assert isinstance(form, Level)
        return self._of(form.time)

    def _of(self, part: WeightedSum) -> FloatArray:
        return self._by_device(part.rows, part.values)

    def _by_device(self, rows: RowSet, values: FloatArray | IntArray) -> FloatArray:
        return np.bincount(rows.device, values, len(self.devices)).astype(np.float64)

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self.folder}: the run directory is damaged: {what}")
