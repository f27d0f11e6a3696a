"""The files of a run directory, checked when they are read, and tables against each other."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from emulator.run_directory.device_reader import DeviceReader
from emulator.run_directory.layout import METRICS, read_scenario, read_summary
from emulator.run_directory.manifest import MANIFEST, read_entries
from emulator.run_directory.run_tables import damaged, read_table
from scenarios.catalogue.event_columns import METRIC_COLUMNS

_ALL = "all"
"""The dimension of statistics over the whole run."""


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

    def devices(self, columns: Iterable[str] = ()) -> DeviceReader:
        """Return the reader of its devices, whose table must have at least *columns*."""
        reader = DeviceReader(self.folder, ("group", *columns))
        # A run may have simulated a sample of its fleet.
        reader.check(self.summary.get("sampled_devices", self.summary["devices"]))
        return reader

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
