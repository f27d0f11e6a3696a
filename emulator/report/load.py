"""The figures' sums of a finished run, range by range of its devices."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from devices.event_log import COLUMNS
from emulator.metrics.device_table import device_numbers
from emulator.metrics.row_index import Columns
from emulator.report.figure_sums import FIGURE_COLUMNS, FigureSums, measure_figures, merge_figures
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.run_directory.run_files import RunFiles
from wire.units import NS_PER_S

RANGE_DEVICES = 2048
"""Number of devices that are measured at a time."""


def load_figures(run: RunFiles, range_devices: int = RANGE_DEVICES) -> tuple[FleetViews, FigureSums]:
    """Return the views of a run and the sums of all its devices.

    Args:
        run: its files.
        range_devices: number of devices that are measured at a time; the sums do not depend on it.
    """
    devices = run.devices(("device", "group"))
    sizes = {size["values"]: size["counts"] for size in pc.value_counts(devices["group"]).to_pylist()}
    views = FleetViews.from_sizes(sizes)
    simulated = run.summary["simulated_seconds"]
    assert isinstance(simulated, int | float)
    stop_ns = round(simulated * NS_PER_S)
    return views, merge_figures(
        measure_figures(tables, part, views, stop_ns)
        for part, tables in _cut(run, devices, views, range_devices)
    )


def _cut(
    run: RunFiles, devices: pa.Table, views: FleetViews, range_devices: int
) -> Iterator[tuple[RangeDevices, Mapping[str, Columns]]]:
    """Yield the ranges of a run whose tables are whole, each with its columns."""
    names = devices["device"].to_pylist()
    tables = {name: _by_device(name, run.events[name], names) for name in FIGURE_COLUMNS}
    for first in range(0, len(names), range_devices):
        part = devices.slice(first, range_devices)
        groups = part["group"].to_pylist()
        columns = {name: _rows_of(table, first, first + len(part)) for name, table in tables.items()}
        yield RangeDevices(first, part["device"].to_pylist(), groups, views.slots_of(groups)), columns


def _by_device(name: str, table: pa.Table, names: list[str]) -> Columns:
    device = device_numbers(table, names)
    order = np.argsort(device, kind="stable")
    columns: dict[str, NDArray[Any]] = {"device": device[order]}  # Any: columns differ in type
    for column in FIGURE_COLUMNS[name][1:]:
        values, kind = table[column], COLUMNS[name][column]
        if not isinstance(kind, str):
            values = pc.index_in(values, value_set=pa.array(kind, pa.string())).fill_null(-1)
        columns[column] = values.to_numpy()[order]
    return columns


def _rows_of(columns: Columns, first: int, stop: int) -> Columns:
    """Return the rows of some devices, numbered from 0."""
    rows = slice(*np.searchsorted(columns["device"], [first, stop]).tolist())
    own = {name: values[rows] for name, values in columns.items()}
    return {**own, "device": own["device"] - first}
