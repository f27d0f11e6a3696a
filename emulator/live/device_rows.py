"""The rows of one device of a run under way, from what the run has written so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from devices.event_log import COLUMNS
from devices.simulated.roster import DeviceNames, split_ranges
from emulator.run_directory.event_log import draft_batches
from emulator.run_directory.event_parts import decode_part, part_path
from emulator.run_directory.layout import DRAFTS, PARTS, SCENARIO, read_scenario
from scenarios.language.load import parse
from wire.errors import InputError

DeviceTables = Mapping[str, Mapping[str, NDArray[Any]]]  # Any: of several types
TABLES: Final = ("quality", "update")


def read_device_rows(run: Path, name: str) -> DeviceTables:
    """Return the rows of a device by table, in order of time, without labels.

    A fleet that is simulated range after range has those of a range that is done.

    Args:
        run: the directory of a run under way.
        name: id of the device.

    Raises:
        InputError: the fleet has no such device, or nothing of it is written yet.
    """
    scenario = parse(read_scenario(run), str(run / SCENARIO))
    names = DeviceNames(scenario.fleet, scenario.seed, scenario.sample)
    try:
        number = names.index(name)
    except ValueError:
        raise InputError(f"device(={name!r}) is not one of the fleet, such as {names[0]}") from None
    drafts = sorted(run.glob(DRAFTS))
    if any(path.iterdir() for path in drafts):
        tables = {table: _from_drafts(drafts, table, number) for table in TABLES}
    else:
        tables = {table: _from_part(run / PARTS, table, number, len(names)) for table in TABLES}
    if not len(tables["quality"]["t_ns"]):
        raise InputError(f"device(={name!r}) has logged nothing yet: look again later")
    return tables


def _from_part(folder: Path, table: str, number: int, count: int) -> Mapping[str, NDArray[Any]]:
    """Return the rows of a device from the part of its range."""
    (devices,) = (each for each in split_ranges(count) if each.first <= number < each.stop)
    if not any((folder / part_path(each, devices)).exists() for each in TABLES):
        raise InputError(
            f"{devices} are simulated together, and are not done yet: look again later, or at another device"
        )
    try:
        part = pq.read_table(folder / part_path(table, devices), filters=[("device", "==", number)])
    except FileNotFoundError:  # no row of this table
        return _in_order([], table)
    return decode_part(table, part)


def _from_drafts(folders: list[Path], table: str, number: int) -> Mapping[str, NDArray[Any]]:
    """Return the rows of a device from the drafts of all processes of the fleet."""
    found = []
    for folder in folders:
        for batch in draft_batches(folder, table):
            own = pc.equal(batch.column("device"), number)
            if own.true_count:
                found.append(batch.filter(own))
    return _in_order(found, table)


def _in_order(batches: list[pa.RecordBatch], table: str) -> Mapping[str, NDArray[Any]]:
    """Return the numbers of some rows; a process that was started again counts its rows from 1 again."""
    kinds = {column: kind for column, kind in COLUMNS[table].items() if isinstance(kind, str)}
    if not batches:
        return {column: np.empty(0, dtype=kind) for column, kind in kinds.items()}
    rows = (
        pa.Table.from_batches(batches)
        .select(list(kinds))
        .sort_by([("t_ns", "ascending"), ("order", "ascending")])
    )
    return {column: rows[column].to_numpy() for column in kinds}
