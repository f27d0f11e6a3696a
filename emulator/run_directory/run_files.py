"""The files of a run directory, checked when they are read, and tables against each other."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from emulator.run_directory.event_reader import EventReader, read_tables
from emulator.run_directory.layout import DEVICES, EVENTS, METRICS, SUMMARY, read_scenario, read_summary
from emulator.run_directory.manifest import MANIFEST, read_entries
from emulator.run_directory.run_tables import Tables, damaged, read_table
from scenarios.catalogue.event_columns import METRIC_COLUMNS
from wire.errors import InputError

_ALL = "all"
"""The dimension of statistics over the whole run."""
_PAIRS = (("network_ns", "networks"), ("new_user_ns", "new_user_groups"))
"""Columns of ``devices.parquet`` whose lists have equal lengths: times of changes, and values after them."""


class RunFiles:
    """The files of a run; each is read and checked when it is first used.

    Args:
        folder: a run directory.

    Raises:
        InputError: the folder is no run directory, or its summary or scenario is damaged. Reading a damaged
            table raises the same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary = read_summary(folder)
        self.scenario = read_scenario(folder)
        """The text of the resolved scenario."""

    def devices(self, columns: Iterable[str]) -> pa.Table:
        """Return the table of devices, which must have at least *columns*."""
        path = self.folder / DEVICES
        missing = set(columns) - set(self._devices.column_names)
        if missing:
            raise InputError(f"{path}: the run directory is damaged: no column {', '.join(sorted(missing))}")
        return self._devices

    @cached_property
    def _devices(self) -> pa.Table:
        path = self.folder / DEVICES
        table = read_table(path, ("device", "group"))
        count, named = len(pc.unique(table["device"])), self._simulated_devices
        if count != table.num_rows:
            raise damaged(path, f"{table.num_rows - count:,} devices are there twice")
        if count != named:
            raise damaged(path, f"has {count:,} devices, but {SUMMARY} says {named:,}")
        for times, values in _PAIRS:
            if {times, values} <= set(table.column_names):
                one, other = (pc.list_value_length(table[name]) for name in (times, values))
                if not pc.all(pc.equal(one, other), min_count=0).as_py():
                    raise damaged(path, f"{times} and {values} must be of one length")
        return table

    @property
    def _simulated_devices(self) -> object:
        """The number of devices that the run simulated, which may be a sample of its fleet."""
        return self.summary.get("sampled_devices", self.summary["devices"])

    @cached_property
    def events(self) -> Tables:
        """The event tables by name."""
        assert self._devices.num_rows
        return read_tables(self.folder / EVENTS)

    @cached_property
    def events_sha256(self) -> str:
        """The hash of the event log, computed from its parts."""
        return EventReader(self.folder).sha256()

    @cached_property
    def metrics(self) -> pa.Table | None:
        """The metrics by every dimension; None for a run of an older version."""
        path = self.folder / METRICS
        if not path.exists() and METRICS not in (read_entries(self.folder / MANIFEST) or {}):
            return None
        table = read_table(path, METRIC_COLUMNS)
        if not pc.any(pc.equal(table["dimension"], _ALL), min_count=0).as_py():
            raise damaged(path, f"no row of the dimension {_ALL}")
        return table
