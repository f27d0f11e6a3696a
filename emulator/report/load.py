"""The figures' sums of a finished run, range by range of its devices."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow.compute as pc

from emulator.metrics.row_index import Columns
from emulator.report.figure_sums import FIGURE_COLUMNS, FigureSums, measure_figures, merge_figures
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.run_directory.event_reader import EventReader
from emulator.run_directory.run_files import RunFiles
from wire.units import NS_PER_S


def load_figures(run: RunFiles, most_devices: int | None = None) -> tuple[FleetViews, FigureSums]:
    """Return the views of a run and the sums of all its devices, of which one range is in memory.

    Args:
        run: its files.
        most_devices: largest number of devices that are measured at a time; None: those of a range. The sums
            do not depend on it.
    """
    devices = run.devices(("device", "group"))
    sizes = {size["values"]: size["counts"] for size in pc.value_counts(devices["group"]).to_pylist()}
    views = FleetViews.from_sizes(sizes)
    simulated = run.summary["simulated_seconds"]
    assert isinstance(simulated, int | float)
    stop_ns = round(simulated * NS_PER_S)
    return views, merge_figures(
        measure_figures(tables, part, views, stop_ns) for part, tables in _ranges(run, views, most_devices)
    )


def _ranges(
    run: RunFiles, views: FleetViews, most_devices: int | None
) -> Iterator[tuple[RangeDevices, Mapping[str, Columns]]]:
    """Yield devices of a run that follow each other, with the columns of their event tables."""
    reader, devices = EventReader(run.folder), run.devices(("device", "group"))
    for each in reader.ranges:
        tables = reader.read_range(each)
        step = most_devices or len(each)
        for first in range(each.first, each.stop, step):
            part = devices.slice(first, min(step, each.stop - first))
            groups = part["group"].to_pylist()
            columns = {
                name: _rows_of(tables[name], name, first, first + len(part)) for name in FIGURE_COLUMNS
            }
            yield RangeDevices(first, part["device"].to_pylist(), groups, views.slots_of(groups)), columns


def _rows_of(columns: Columns, name: str, first: int, stop: int) -> Columns:
    """Return the rows of some devices, numbered from 0, with the columns that figures need."""
    rows = slice(*np.searchsorted(columns["device"], [first, stop]).tolist())
    own = {column: columns[column][rows] for column in FIGURE_COLUMNS[name]}
    return {**own, "device": own["device"] - first}
