"""Pairs of runs, and their devices side by side: a row for each device that both have.

Where the runs have one seed, a row is a device that lives the same life on both sides. Where they have not,
equal ids mean nothing: each device is a row of its own, with nothing on the other side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emulator.compare.statistics import Bounds, RatioSums
from emulator.metrics.per_device import COMPARED_METRICS, DeviceEvents, MeasuredRun, Reduction
from emulator.metrics.row_index import IntArray
from wire.ranking_metrics import FloatArray


@dataclass(frozen=True)
class RunPair:
    """Two runs."""

    one: MeasuredRun
    two: MeasuredRun
    same_lives: bool
    """Whether they have the same seed."""

    @cached_property
    def devices(self) -> tuple[IntArray, IntArray]:
        """The places of the devices that both have, in either run."""
        there = {name: at for at, name in enumerate(self.two.devices)}
        ours = [at for at, name in enumerate(self.one.devices) if name in there]
        theirs = [there[self.one.devices[at]] for at in ours]
        return np.array(ours, dtype=np.int64), np.array(theirs, dtype=np.int64)

    @property
    def count(self) -> int:
        """How many devices both have."""
        return len(self.devices[0])

    @property
    def rows(self) -> int:
        """How many rows they make."""
        return self.count if self.same_lives else 2 * self.count

    @cached_property
    def users(self) -> IntArray:
        """The users of each row on either side, shape (2, rows)."""
        ours, theirs = (
            np.array(run.users, dtype=np.int64)[places]
            for run, places in zip((self.one, self.two), self.devices, strict=True)
        )
        if self.same_lives:
            return np.stack([ours, theirs])
        # Apart: that a user is on both sides is no reason to draw them together.
        each = np.concatenate([2 * ours, 2 * theirs + 1])
        return np.stack([each, each])

    @cached_property
    def events(self) -> tuple[DeviceEvents, DeviceEvents]:
        """Latencies of either side, by row."""
        (metric,) = [each for each in COMPARED_METRICS if each.reduction is Reduction.P95]
        one, two = (
            run.events(metric).select(places, len(run.devices))
            for run, places in zip((self.one, self.two), self.devices, strict=True)
        )
        return one, two if self.same_lives else DeviceEvents(two.device + self.count, two.values)

    @cached_property
    def sums(self) -> tuple[RatioSums, RatioSums]:
        """What is divided by what in each row; over all rows, denominators add up to 1.

        So the figures of several pairs of runs weigh alike, as the means of a sweep do. In place of a
        percentile there is the share of events above that of both sides together.
        """
        found = []
        for run, places in zip((self.one, self.two), self.devices, strict=True):
            above, below = (values[places] for values in run.sums(COMPARED_METRICS))
            found.append((above, below))
        for at, metric in enumerate(COMPARED_METRICS):
            if metric.reduction is Reduction.P95:
                self._exceed(found, at)
        sums = [_scaled(*each) for each in found]
        if not self.same_lives:
            none = np.zeros_like(sums[0].above)
            sums = [
                RatioSums(np.concatenate([sums[0].above, none]), np.concatenate([sums[0].below, none])),
                RatioSums(np.concatenate([none, sums[1].above]), np.concatenate([none, sums[1].below])),
            ]
        return sums[0], sums[1]

    def _exceed(self, found: Sequence[tuple[FloatArray, FloatArray]], at: int) -> None:
        """Put events above the percentile of both sides, and all events, into column *at*."""
        events = self.events
        edge = DeviceEvents(np.empty(0, np.int64), np.concatenate([each.values for each in events])).p95
        for place, ((above, below), each) in enumerate(zip(found, events, strict=True)):
            row = each.device if self.same_lives else each.device - place * self.count
            above[:, at] = np.bincount(row, each.values > edge, self.count)
            below[:, at] = np.bincount(row, minlength=self.count)

    @cached_property
    def p95(self) -> tuple[float, float]:
        """The percentile of either side."""
        one, two = self.events
        return one.p95, two.p95

    def bounds(self) -> Bounds:
        """Return the least and greatest value that any device has, or any event of a percentile."""
        found = [_extremes(each) for each in self.sums]
        for at, metric in enumerate(COMPARED_METRICS):
            if metric.reduction is Reduction.P95:
                for (low, high), each in zip(found, self.events, strict=True):
                    low[at], high[at] = each.values.min(initial=np.inf), each.values.max(initial=-np.inf)
        return Bounds(*found[0], *found[1])


def _scaled(above: FloatArray, below: FloatArray) -> RatioSums:
    whole = below.sum(axis=0)
    scale = np.divide(1.0, whole, out=np.zeros_like(whole), where=whole > 0)
    return RatioSums(above * scale, below * scale)


def _extremes(side: RatioSums) -> tuple[FloatArray, FloatArray]:
    there = side.below > 0
    values = np.divide(side.above, side.below, out=np.zeros_like(side.above), where=there)
    low, high = (np.where(there, values, none) for none in (np.inf, -np.inf))
    return low.min(axis=0, initial=np.inf), high.max(axis=0, initial=-np.inf)
