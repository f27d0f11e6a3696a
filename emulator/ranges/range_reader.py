"""Reads single ranges of a run: their events and their devices, without the rest of the fleet."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from devices.event_log import COLUMNS
from devices.simulated.roster import DeviceRange
from emulator.run_directory.event_parts import Columns
from emulator.run_directory.event_reader import EventReader
from emulator.run_directory.layout import DEVICES
from emulator.run_directory.run_tables import damaged
from wire.input_files import open_regular


class RangeReader:
    """Reads ranges of a run whose table of devices was checked, or has just been written.

    Args:
        run: a run directory.

    Raises:
        InputError: it is damaged; reading a range raises the same.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / DEVICES
        self._events = EventReader(run)
        self._metadata: pq.FileMetaData | None = None

    def tables(self, devices: DeviceRange, names: Iterable[str] = COLUMNS) -> dict[str, Columns]:
        """Return the columns of the tables called *names*; a device is its index in the range."""
        return {
            name: {**columns, "device": columns["device"] - devices.first}
            for name, columns in self._events.read_range(devices, names).items()
        }

    def devices(self, devices: DeviceRange) -> pa.Table:
        """Return the rows of the range in the table of devices, which has a row group for each range."""
        try:
            with open_regular(self._path, "a table of a run") as file:
                # Threads of Arrow must not hold the file at the end of the process, see `wire.arrow_input`.
                parquet = pq.ParquetFile(file, metadata=self._metadata, pre_buffer=False)
                self._metadata = parquet.metadata
                table = parquet.read_row_group(devices.index, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self._path, str(error).splitlines()[0]) from None
        if table.num_rows != len(devices):
            raise damaged(self._path, f"{table.num_rows} rows are there of {devices}")
        return table
