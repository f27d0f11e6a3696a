"""Metrics of a run by device, for `compare`.

There are no formulas here: the metrics are those of `emulator.metrics`, as in ``summary.json``. Each is split
into two sums by device, so that the ratio of the sums over all devices is the value in the summary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from devices.simulated.roster import DeviceRange
from emulator.metrics.aggregates import Trend
from emulator.metrics.device_sums import DeviceSums
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.formulas import FORMULAS
from emulator.metrics.frame import Frame
from emulator.metrics.histogram import Histogram, bucket_middles
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import Columns, IntArray
from emulator.metrics.scales import scan
from emulator.metrics.slices import Slices
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.device_reader import DeviceReader
from emulator.run_directory.event_reader import EventReader
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
    """The way in which a metric becomes one number of a run."""

    AS_SUMMARY = "as summary"
    """Its value in the summary: a mean over time, or a ratio."""
    PER_HOUR = "per hour"
    """A sum over events ÷ device hours."""
    MEAN = "mean"
    """The mean over events."""
    P95 = "p95"
    """The 95th percentile over events, which is not a ratio of sums."""


@dataclass(frozen=True)
class ComparedMetric:
    """A number of a run that is compared with another run's."""

    name: str
    better: int
    """1 if more is better, -1 if less is better, 0 if neither is."""
    of: str
    """Its metric in `scenarios.catalogue.metrics`."""
    reduction: Reduction = Reduction.AS_SUMMARY


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
"""The compared metrics of every run, in the order in which they are shown."""
VISIT_METRICS = (
    ComparedMetric("prequential_ndcg_at_10", 1, "prequential_ndcg_at_10"),
    ComparedMetric("prequential_recall_at_20", 1, "prequential_recall_at_20"),
    ComparedMetric("prequential_ndcg_at_10_of_cloud", 1, "prequential_ndcg_at_10_of_cloud"),
)
"""Further ones, of two runs whose users meet interactions."""


@dataclass(frozen=True)
class DeviceEvents:
    """Events of devices: the device number and the value of each, in the smallest unit."""

    device: IntArray
    values: IntArray
    scale: int
    """Number of smallest units in one unit of the metric."""

    def select(self, devices: IntArray, count: int) -> "DeviceEvents":
        """Return the events of some *devices* out of *count*, numbered by their index in *devices*."""
        numbers = np.full(count, -1, dtype=np.int64)
        numbers[devices] = np.arange(len(devices))
        number = numbers[self.device]
        return DeviceEvents(number[number >= 0], self.values[number >= 0], self.scale)

    @property
    def shown(self) -> FloatArray:
        """The values as a percentile shows them: each as the middle of its bucket."""
        return bucket_middles(self.values) / self.scale

    @property
    def p95(self) -> float:
        """The 95th percentile, as in the summary; NaN without events."""
        percentile = Histogram.from_values(self.values).percentile(P95)
        return float("nan") if percentile is None else percentile / self.scale


class MeasuredRun:
    """A finished run with its scenario, its summary and its metrics by device.

    Args:
        folder: a run directory.

    Raises:
        InputError: the folder is no run directory, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = RunFiles(folder)
        self.summary = self._files.summary

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario of the run."""
        return parse(self._files.scenario, str(self.folder / SCENARIO))

    @property
    def metrics(self) -> tuple[ComparedMetric, ...]:
        """The metrics that can be compared with those of another run."""
        return COMPARED_METRICS + (() if self.scenario.interactions is None else VISIT_METRICS)

    @cached_property
    def _devices(self) -> DeviceReader:
        return self._files.devices(("user",))

    @property
    def ids(self) -> pa.ChunkedArray:
        """The ids of its devices, by number."""
        return self._devices.ids

    @cached_property
    def users(self) -> IntArray:
        """The first user of each device."""
        return self._devices.numbers("user")

    @property
    def sums(self) -> tuple[FloatArray, FloatArray]:
        """Numerators and denominators by device: two arrays of shape (devices, `metrics`).

        The ratio of their sums over all devices is the metric of the run. A percentile has zeros.
        """
        return self._values.above, self._values.below

    @property
    def events(self) -> DeviceEvents:
        """The events of which a compared metric is a percentile, in the order of the event log."""
        return self._values.events

    @cached_property
    def _values(self) -> "_DeviceValues":
        """The values by device, from one range after the other."""
        reader = EventReader(self.folder)
        if reader.sha256() != self.summary.get("event_log_sha256"):
            raise self._damaged("the event log was changed after the run")
        seconds = self.summary["simulated_seconds"]
        assert isinstance(seconds, int | float)
        timeline = RunTimeline.from_scenario(self.scenario).until(round(seconds * NS_PER_S))
        return _DeviceValues.joined(
            [
                _measure_range(
                    reader.read_range(numbers), self._devices.read(numbers), numbers, timeline, self.metrics
                )
                for numbers in self._devices.ranges
            ]
        )

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self.folder}: the run directory is damaged: {what}")


@dataclass(frozen=True)
class _DeviceValues:
    """The values of consecutive devices: sums by device, and events with the time of their rows."""

    above: FloatArray
    below: FloatArray
    events: DeviceEvents
    t_ns: IntArray

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the values of all devices, with the events in the order of time, then of devices."""
        t_ns = np.concatenate([part.t_ns for part in parts])
        device = np.concatenate([part.events.device for part in parts])
        values = np.concatenate([part.events.values for part in parts])
        order = np.argsort(t_ns, kind="stable")
        return cls(
            np.concatenate([part.above for part in parts]),
            np.concatenate([part.below for part in parts]),
            DeviceEvents(device[order], values[order], parts[0].events.scale),
            t_ns[order],
        )


def _measure_range(
    tables: Mapping[str, Columns],
    rows: pa.Table,
    numbers: DeviceRange,
    timeline: RunTimeline,
    metrics: Sequence[ComparedMetric],
) -> _DeviceValues:
    """Return the values of a range of devices.

    Sums by device are not split by dimension, so they need no scales but those of the range itself.
    """
    devices = DeviceTable.read(rows)
    own = {name: {**columns, "device": columns["device"] - numbers.first} for name, columns in tables.items()}
    slices = Slices(scan(own, devices, timeline).scales(), timeline)
    inputs = MetricInputs(Frame(devices, timeline, own["quality"], slices), own, 0)
    of_devices = DeviceSums(inputs, len(numbers))
    sums = [_sums(of_devices, metric) for metric in metrics]
    above, below = (np.stack([pair[side] for pair in sums], axis=1) for side in (0, 1))
    if devices.strata is not None:  # the number of devices that each stands for
        weights = (devices.strata.fleet_devices / devices.strata.sampled_devices)[:, None]
        above, below = above * weights, below * weights
    (percentile,) = [metric for metric in metrics if metric.reduction is Reduction.P95]
    trend = FORMULAS[percentile.of](inputs)
    assert isinstance(trend, Trend)
    exchanges, _ = inputs.exchanges
    assert trend.rows.parent is exchanges
    events = DeviceEvents(trend.rows.device + numbers.first, trend.values, trend.scale)
    return _DeviceValues(above, below, events, own["update"]["t_ns"][trend.rows.selected])


def _sums(of_devices: DeviceSums, metric: ComparedMetric) -> tuple[FloatArray, FloatArray]:
    """Return numerator and denominator of *metric* by device."""
    match metric.reduction:
        case Reduction.P95:
            none = np.zeros_like(of_devices.seconds)
            return none, none.copy()
        case Reduction.PER_HOUR:
            return of_devices.total(metric.of), of_devices.seconds / HOUR_S
        case Reduction.MEAN:
            return of_devices.mean(metric.of)
    return of_devices.ratio(metric.of)
