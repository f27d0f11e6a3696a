"""The sums of a range of devices from which all figures of a report are drawn once they are merged.

`measure_figures` is pure. Sums of neighbouring ranges merge in any grouping, and the page is the same to the
last byte. Their size depends neither on the number of devices nor on the number of events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from emulator.metrics.row_index import Columns, DeviceStates
from emulator.report.budget_quality import BudgetQualitySums, sum_quality_by_budget
from emulator.report.example_devices import ExampleDevices, find_examples
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.report.state_series import QUALITIES, SIZES, StateSeriesSums, sample_states
from emulator.report.update_sums import UpdateSums, sum_updates
from emulator.report.version_sums import VersionSums, sum_versions

FIGURE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "budget": ("device",),
    "quality": ("device", "t_ns", "version", *SIZES, *QUALITIES),
    "rollout": ("device", "t_ns", "step", "group"),
    "update": (
        "device",
        "cause",
        "result",
        "changed_ns",
        "sent_ns",
        "applied_ns",
        "update_bytes",
        "update_wire_bytes",
        "used_bytes",
        "lost_bytes",
        "full_update_bytes",
    ),
}
"""The columns of the event tables that figures need, by table."""


@dataclass(frozen=True, eq=False)
class FigureSums:
    """The sums of a range of devices, or of several that follow each other."""

    states: StateSeriesSums
    updates: UpdateSums
    by_budget: BudgetQualitySums
    examples: ExampleDevices
    versions: VersionSums

    def merged(self, other: "FigureSums") -> "FigureSums":
        """Return the sums of both; the devices of *other* come after these."""
        return FigureSums(
            self.states.merged(other.states),
            self.updates.merged(other.updates),
            self.by_budget.merged(other.by_budget),
            self.examples.merged(other.examples),
            self.versions.merged(other.versions),
        )


def measure_figures(
    tables: Mapping[str, Columns], devices: RangeDevices, views: FleetViews, stop_ns: int
) -> FigureSums:
    """Return the sums of a range of devices.

    Args:
        tables: `FIGURE_COLUMNS` of its event tables, each by time or by device and time; a device is its
            index in the range, a label its index.
        devices: the range.
        views: of the run.
        stop_ns: the end of the run.
    """
    held = DeviceStates.from_rows(tables["quality"], stop_ns)
    states = held.with_seconds
    return FigureSums(
        sample_states(held.columns, devices, views.slots, stop_ns),
        sum_updates(tables["update"], devices, views.slots, stop_ns),
        sum_quality_by_budget(states, devices),
        find_examples(tables, states, devices, stop_ns),
        sum_versions(tables, held.columns, stop_ns),
    )
