"""The event log of a run directory in tests: read as tables, and written by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from devices.event_log import COLUMNS, row_type
from devices.simulated.roster import split_ranges
from emulator.run_directory.event_hash import log_sha256
from emulator.run_directory.event_reader import read_tables
from emulator.run_directory.event_split import draft_rows, split_rows

Change = Callable[[pa.Table], pa.Table]


def event_table(folder: Path, name: str) -> pa.Table:
    """Return an event table of a run directory, with ids and labels, in the order of time."""
    return read_tables(folder / "events")[name]


def event_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of an event table without the wall clock."""
    table = event_table(folder, name)
    rows: list[dict[str, Any]] = table.drop_columns({"wall_s"} & set(table.column_names)).to_pylist()
    return rows


def part(name: str) -> str:
    """Return the path of the first part of a table inside a run directory."""
    return f"events/{name}/00000.parquet"


def write_drafts(drafts: Sequence[Path], devices: int, folder: Path) -> str:
    """Write the parts of drafts into the run directory *folder*; return the hash of the log."""
    leaves = split_rows(draft_rows(drafts), devices, folder / "events", wall=True)
    return log_sha256(leaf.sha256 for leaf in leaves)


def rewrite_log(folder: Path, name: str, change: Change) -> None:
    """Change an event table of a run of one range; the checksums of the run are removed."""
    table = change(event_table(folder, name))
    names = pq.read_table(folder / "devices.parquet")["device"]
    rows = np.zeros(table.num_rows, dtype=row_type(COLUMNS[name]))
    for column, kind in COLUMNS[name].items():
        if column not in table.column_names:
            continue
        values = table[column]
        if column == "device":
            values = pc.index_in(values, value_set=names.combine_chunks())
        elif not isinstance(kind, str):
            values = pc.index_in(values, value_set=pa.array(kind, pa.string()))
        rows[column] = values.to_numpy()
    (folder / "manifest.json").unlink(missing_ok=True)
    (folder / part(name)).unlink(missing_ok=True)
    assert len(split_ranges(len(names))) == 1
    split_rows([(name, rows)], len(names), folder / "events", wall=False)
