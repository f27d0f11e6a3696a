"""Sums by device of a sample, in the figures that have intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from emulator.metrics.device_sums import DeviceSums
from emulator.metrics.row_index import FloatArray
from emulator.metrics.sample_estimates import Estimate, SampledDevices, estimate
from emulator.metrics.strata import Strata
from scenarios.catalogue.metrics import METRICS, Kind, Metric
from scenarios.catalogue.summary_keys import ESTIMATED


@dataclass(frozen=True, eq=False)
class SampleSums:
    """The parts of each device of a sample in the figures of `ESTIMATED`."""

    strata: Strata
    above: FloatArray
    """Shape (devices, figures)."""
    below: FloatArray
    """NaN for totals."""

    @classmethod
    def from_devices(cls, strata: Strata, sums: DeviceSums) -> Self:
        """Return the parts of the devices of a range."""
        pairs = [_parts(sums, METRICS[name]) for name in ESTIMATED.values()]
        above, below = (np.stack([pair[side] for pair in pairs], axis=1) for side in (0, 1))
        return cls(strata, above, below)

    def merged(self, other: Self) -> Self:
        """Return the parts of the devices of both."""
        return type(self)(
            self.strata.merged(other.strata),
            np.concatenate([self.above, other.above]),
            np.concatenate([self.below, other.below]),
        )

    @property
    def fleet_devices(self) -> int:
        """Number of devices of the fleet."""
        return int(self._sampled().fleet_counts.sum())

    def estimates(self) -> Mapping[str, Estimate]:
        """Return the estimate of each figure of `ESTIMATED` for the fleet."""
        return dict(zip(ESTIMATED, estimate(self._sampled(), self.above, self.below), strict=True))

    def _sampled(self) -> SampledDevices:
        _, first, stratum = np.unique(np.array(self.strata.group), return_index=True, return_inverse=True)
        return SampledDevices(stratum.astype(np.int64), self.strata.fleet_devices[first])


def _parts(sums: DeviceSums, metric: Metric) -> tuple[FloatArray, FloatArray]:
    """Return by device the two sums of a metric; NaN below if it is a total."""
    match metric.kind:
        case Kind.COUNTER | Kind.TIME:
            total = sums.total(metric.name)
            return total, np.full(len(total), np.nan)
        case Kind.TREND:
            return sums.mean(metric.name)
    return sums.ratio(metric.name)
