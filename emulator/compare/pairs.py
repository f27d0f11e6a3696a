"""Pairs of runs, with a row for each device that both have.

If the runs have the same seed, a device has the same memory, network and user in both, and is one row. If
they have different seeds, equal ids mean nothing: each device of each run is a row of its own, and its values
of the other run are 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from emulator.compare.statistics import Bounds, RatioSums
from emulator.metrics.per_device import ComparedMetric, DeviceEvents, MeasuredRun, Reduction
from emulator.metrics.row_index import IntArray
from emulator.run_directory.device_reader import find_numbers
from wire.ranking_metrics import FloatArray


@dataclass(frozen=True)
class RunPair:
    """Two runs, the baseline and the compared one."""

    first: MeasuredRun
    second: MeasuredRun
    same_seed: bool

    @cached_property
    def devices(self) -> tuple[IntArray, IntArray]:
        """The numbers, in each run, of the devices that both runs have."""
        second = find_numbers(self.first.ids, self.second.ids)
        first = np.flatnonzero(second >= 0)
        return first, second[first]

    @cached_property
    def metrics(self) -> Sequence[ComparedMetric]:
        """The metrics that both runs have; the first columns of their sums."""
        return min(self.first.metrics, self.second.metrics, key=len)

    @property
    def count(self) -> int:
        """Number of devices that both runs have."""
        return len(self.devices[0])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.count if self.same_seed else 2 * self.count

    @cached_property
    def users(self) -> IntArray:
        """The user of each row in each run, shape (2, rows)."""
        first, second = (
            run.users[numbers] for run, numbers in zip((self.first, self.second), self.devices, strict=True)
        )
        if self.same_seed:
            return np.stack([first, second])
        # Made different: rows of two runs are not drawn together because of an equal user.
        users = np.concatenate([2 * first, 2 * second + 1])
        return np.stack([users, users])

    @cached_property
    def events(self) -> tuple[DeviceEvents, DeviceEvents]:
        """Latencies of each run, by row."""
        first, second = (
            run.events.select(numbers, len(run.ids))
            for run, numbers in zip((self.first, self.second), self.devices, strict=True)
        )
        return first, second if self.same_seed else replace(second, device=second.device + self.count)

    @cached_property
    def sums(self) -> tuple[RatioSums, RatioSums]:
        """Numerators and denominators of each row, scaled so that all denominators of a run add up to 1.

        So each pair of runs has the same weight, as in the means of a sweep. A percentile is replaced by the
        share of events above the percentile of both runs together.
        """
        parts = []
        for run, numbers in zip((self.first, self.second), self.devices, strict=True):
            above, below = (values[numbers, : len(self.metrics)] for values in run.sums)
            parts.append((above, below))
        for column, metric in enumerate(self.metrics):
            if metric.reduction is Reduction.P95:
                self._count_slow_events(parts, column)
        sums = [_scaled(*part) for part in parts]
        if not self.same_seed:
            none = np.zeros_like(sums[0].above)
            sums = [
                RatioSums(np.concatenate([sums[0].above, none]), np.concatenate([sums[0].below, none])),
                RatioSums(np.concatenate([none, sums[1].above]), np.concatenate([none, sums[1].below])),
            ]
        return sums[0], sums[1]

    def _count_slow_events(self, parts: Sequence[tuple[FloatArray, FloatArray]], column: int) -> None:
        """Write the number of events above the percentile of both runs, and of all events, into *column*."""
        first, second = self.events
        edge = replace(first, values=np.concatenate([first.values, second.values])).p95
        for run, ((above, below), events) in enumerate(zip(parts, self.events, strict=True)):
            row = events.device if self.same_seed else events.device - run * self.count
            above[:, column] = np.bincount(row, events.shown > edge, self.count)
            below[:, column] = np.bincount(row, minlength=self.count)

    @cached_property
    def p95(self) -> tuple[float, float]:
        """The percentile of each run."""
        first, second = self.events
        return first.p95, second.p95

    def bounds(self) -> Bounds:
        """Return the least and greatest value of any device, or of any event for a percentile."""
        extremes = [_extremes(sums) for sums in self.sums]
        for column, metric in enumerate(self.metrics):
            if metric.reduction is Reduction.P95:
                for (low, high), events in zip(extremes, self.events, strict=True):
                    low[column] = events.shown.min(initial=np.inf)
                    high[column] = events.shown.max(initial=-np.inf)
        return Bounds(*extremes[0], *extremes[1])


def _scaled(above: FloatArray, below: FloatArray) -> RatioSums:
    total = below.sum(axis=0)
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return RatioSums(above * scale, below * scale)


def _extremes(side: RatioSums) -> tuple[FloatArray, FloatArray]:
    defined = side.below > 0
    values = np.divide(side.above, side.below, out=np.zeros_like(side.above), where=defined)
    low, high = (np.where(defined, values, none) for none in (np.inf, -np.inf))
    return low.min(axis=0, initial=np.inf), high.max(axis=0, initial=-np.inf)
