"""The sums of a run, or of a range of its devices, from which its figures are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Self

from emulator.metrics.fault_impact import ImpactSums
from emulator.metrics.message_units import MessageUnits
from emulator.metrics.peaks import PEAKS, PeakSums, TrafficSums
from emulator.metrics.rollout_progress import EgressSums, RolloutSums
from emulator.metrics.sample_sums import SampleSums
from emulator.metrics.sums import MetricSums


@dataclass(frozen=True)
class RowSelection:
    """A metric over the rows that pass some filters, without the warm-up."""

    metric: str
    filters: frozenset[tuple[str, str]] = frozenset()
    """Pairs of dimension and value."""


@dataclass(frozen=True, eq=False)
class RunSums:
    """The sums of a range of devices, or of several that follow each other."""

    devices: int
    metrics: Mapping[str, MetricSums] = field(default_factory=dict)
    """All metrics but peaks, by slice."""
    traffic: Mapping[str, TrafficSums] = field(default_factory=dict)
    """Sums by clock second, from which peaks are read, by quantity."""
    selected: Mapping[RowSelection, MetricSums] = field(default_factory=dict)
    """Sums of the rows that the rules of the scenario are about."""
    impact: ImpactSums | None = None
    rollout: RolloutSums = field(default_factory=lambda: RolloutSums({}))
    egress: EgressSums = field(default_factory=lambda: EgressSums(0, 0))
    message_units: MessageUnits | None = None
    """Messages that are billed; None if nothing is."""
    sample: SampleSums | None = None
    """The parts of each device; None if the devices are all of the fleet."""

    def metric(self, name: str) -> MetricSums:
        """Return the sums of the metric called *name*, by slice."""
        if name in PEAKS:
            quantity, seconds = PEAKS[name]
            return PeakSums(self.traffic[quantity], seconds)
        return self.metrics[name]

    def selection(self, selection: RowSelection) -> MetricSums:
        """Return the sums of a selection."""
        return self.selected[selection]

    def merged(self, other: Self) -> Self:
        """Return the sums of both; the devices of *other* come after these."""
        return type(self)(
            self.devices + other.devices,
            {name: sums.merged(other.metrics[name]) for name, sums in self.metrics.items()},
            {name: sums.merged(other.traffic[name]) for name, sums in self.traffic.items()},
            {name: sums.merged(other.selected[name]) for name, sums in self.selected.items()},
            self.impact.merged(other.impact) if self.impact and other.impact else self.impact,
            self.rollout.merged(other.rollout),
            self.egress.merged(other.egress),
            self.message_units.merged(other.message_units)
            if self.message_units and other.message_units
            else self.message_units,
            self.sample.merged(other.sample) if self.sample and other.sample else self.sample,
        )


def merge_sums(parts: Iterable[RunSums]) -> RunSums:
    """Return the sums of a run from those of its ranges, in the order of their devices.

    One part is in memory at a time.
    """
    return reduce(RunSums.merged, parts)
