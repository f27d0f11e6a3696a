"""The difference between two runs, a range of devices after the other: memory is that of two ranges."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from devices.simulated.roster import DeviceRange
from emulator.compare.event_log_diff import TableDiff, diff_tables
from emulator.metrics.row_index import IntArray
from emulator.run_directory.device_reader import DeviceReader, find_numbers
from emulator.run_directory.event_reader import EventReader, labelled_table
from emulator.run_directory.layout import DEVICES
from emulator.run_directory.run_files import RunFiles
from emulator.run_directory.run_tables import Tables

_DEVICE_TABLE = DEVICES.removesuffix(".parquet")
DERIVED = (_DEVICE_TABLE, "metrics")
"""Tables that are not part of the event log."""


def diff_runs(before: RunFiles, after: RunFiles, most: int) -> list[TableDiff]:
    """Return the differences of all tables that both runs have.

    Args:
        before: a run.
        after: another run; its devices are paired by their ids.
        most: number of differences of a table that are written as text.

    Raises:
        InputError: a table is damaged.
    """
    first, second = _RunRows(before), _RunRows(after)
    differences: dict[str, TableDiff] = {}
    for one, other in _paired_devices(first.devices, second.devices):
        for found in diff_tables(first.tables(one), second.tables(other), most):
            known = differences.get(found.name)
            differences[found.name] = found if known is None else known.merged(found, most)
    return [*differences.values(), *diff_tables(_metrics(before), _metrics(after), most)]


def _metrics(run: RunFiles) -> Tables:
    return {} if run.metrics is None else {"metrics": run.metrics}


def _paired_devices(before: DeviceReader, after: DeviceReader) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the numbers of devices in two runs, rising: of those of a range, and of the same devices.

    Devices that only the second run has come last, with none of the first.
    """
    none = np.empty(0, dtype=np.int64)
    number = find_numbers(before.ids, after.ids)
    for devices in before.ranges:
        others = number[devices.first : devices.stop]
        yield np.arange(devices.first, devices.stop), np.sort(others[others >= 0])
    known = np.zeros(len(after), dtype=np.bool_)
    known[number[number >= 0]] = True
    for devices in after.ranges:
        rest = devices.first + np.flatnonzero(~known[devices.first : devices.stop])
        if len(rest):
            yield none, rest


class _RunRows:
    """The rows of a run's tables by device."""

    def __init__(self, run: RunFiles) -> None:
        self.devices = run.devices()
        self._events = EventReader(run.folder)

    def tables(self, numbers: IntArray) -> Tables:
        """Return the event tables and the table of devices with the rows of some devices.

        Args:
            numbers: of the devices, rising; most often those of a range.
        """
        ranges = [each for each in self.devices.ranges if _overlap(each, numbers)]
        parts = [self._range_tables(each, numbers) for each in ranges or self.devices.ranges[:1]]
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}

    def _range_tables(self, devices: DeviceRange, numbers: IntArray) -> Tables:
        chosen = np.zeros(len(devices), dtype=np.bool_)
        chosen[numbers[(numbers >= devices.first) & (numbers < devices.stop)] - devices.first] = True
        tables = {}
        for name, columns in self._events.read_range(devices).items():
            mask = chosen[columns["device"] - devices.first]
            own = {column: values[mask] for column, values in columns.items()}
            tables[name] = labelled_table(name, own, self.devices.ids)
        return {**tables, _DEVICE_TABLE: self.devices.read(devices).filter(pa.array(chosen))}


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    filled = [table for table in tables if table.num_rows]  # empty ones may lack the wall clock
    return pa.concat_tables(filled or tables[:1])


def _overlap(devices: DeviceRange, numbers: IntArray) -> bool:
    first, stop = np.searchsorted(numbers, [devices.first, devices.stop]).tolist()
    return bool(stop > first)
