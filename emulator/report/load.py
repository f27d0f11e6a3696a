"""The figures' sums of a finished run, range by range of its devices."""

from functools import reduce

import numpy as np
import pyarrow.compute as pc

from devices.simulated.roster import DeviceRange
from emulator.executors.executor import Executor
from emulator.metrics.row_index import Columns
from emulator.ranges.range_reader import RangeReader
from emulator.ranges.range_sums import sum_ranges
from emulator.report.figure_sums import FIGURE_COLUMNS, FigureSums, measure_figures
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.run_directory.run_files import RunFiles
from wire.units import NS_PER_S


def load_figures(
    run: RunFiles, executor: Executor, most_devices: int | None = None
) -> tuple[FleetViews, FigureSums]:
    """Return the views of a run and the sums of all its devices.

    Args:
        run: its files.
        executor: measures the ranges.
        most_devices: largest number of devices that are measured at a time; None: those of a range. The sums
            do not depend on it.
    """
    devices = run.devices()
    sizes = {size["values"]: size["counts"] for size in pc.value_counts(devices.column("group")).to_pylist()}
    views = FleetViews.from_sizes(sizes)
    simulated = run.summary["simulated_seconds"]
    assert isinstance(simulated, int | float)
    stop_ns = round(simulated * NS_PER_S)
    return views, sum_ranges(executor, run.folder, len(devices), _measure_range, views, stop_ns, most_devices)


def _measure_range(
    reader: RangeReader, devices: DeviceRange, views: FleetViews, stop_ns: int, most_devices: int | None
) -> FigureSums:
    """Return the sums of a range, of which so many devices are measured at a time."""
    tables, rows = reader.tables(devices, FIGURE_COLUMNS), reader.devices(devices)
    names, groups = rows["device"].to_pylist(), rows["group"].to_pylist()
    step = most_devices or len(devices)

    def measure_part(at: int) -> FigureSums:
        to = min(at + step, len(devices))
        part = RangeDevices(devices.first + at, names[at:to], groups[at:to], views.slots_of(groups[at:to]))
        columns = {name: _rows_of(tables[name], name, at, to) for name in FIGURE_COLUMNS}
        return measure_figures(columns, part, views, stop_ns)

    return reduce(FigureSums.merged, map(measure_part, range(0, len(devices), step)))


def _rows_of(columns: Columns, name: str, first: int, stop: int) -> Columns:
    """Return the rows of some devices, numbered from 0, with the columns that figures need."""
    rows = slice(*np.searchsorted(columns["device"], [first, stop]).tolist())
    own = {column: columns[column][rows] for column in FIGURE_COLUMNS[name]}
    return {**own, "device": own["device"] - first}
