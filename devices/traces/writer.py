"""Writes traces: the rows as CSV or Parquet, and a sidecar with their origin."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from devices.traces.columns import COLUMNS, SUFFIXES
from wire.errors import InputError
from wire.input_files import decode_json, read_at_most
from wire.output_files import atomic_file, resolve_output
from wire.text import printable

FORMAT = "peelfleet-trace/1"
SIDECAR = ".meta.json"
MAX_SIDECAR_BYTES = 2**20


class Row(NamedTuple):
    """One row of the format: the known values of a device at one time; None is unknown or unchanged."""

    device_id: str
    t_s: float
    budget_bytes: int | None = None
    mem_available_bytes: int | None = None
    mem_total_bytes: int | None = None
    pressure: str | None = None
    online: bool | None = None
    network: str | None = None
    down_bps: int | None = None
    up_bps: int | None = None
    foreground: bool | None = None


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The origin of a trace and the changes made to it: the file ``NAME.meta.json`` beside it."""

    format: str = FORMAT
    source: str
    """The recorded devices or people, in words."""
    licence: str
    """The licence of the trace."""
    sampling: str
    """The sampling interval of the source, and the rule by which a sample becomes a row."""
    transform: str = "none"
    """The changes made to the source's numbers."""
    proxy_for: str | None = None
    """The quantity that the numbers stand for, if it is not the one of their column."""
    notes: str = ""
    rows: int = 0
    series: int = 0
    sha256: str = ""
    """The checksum of the trace file."""


def sidecar_path(trace: Path) -> Path:
    """Return the path of the sidecar of *trace*."""
    return trace.with_name(trace.stem + SIDECAR)


def read_sidecar(trace: Path) -> Sidecar | None:
    """Return the sidecar of *trace*; None if it has none.

    Raises:
        InputError: the file is not a sidecar.
    """
    path = sidecar_path(trace)
    try:
        return decode_json(read_at_most(path, MAX_SIDECAR_BYTES, "a sidecar"), Sidecar)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: is not a sidecar of a trace: {printable(error, 200)}") from None


def with_notes(sidecar: Sidecar, notes: Sequence[str]) -> Sidecar:
    """Return *sidecar* with more notes."""
    return msgspec.structs.replace(sidecar, notes="; ".join(note for note in (sidecar.notes, *notes) if note))


def write_trace(path: Path, rows: Iterable[Row], sidecar: Sidecar) -> Sidecar:
    """Write *rows* and their sidecar, each atomically.

    Columns in which no row has a value are left out.

    Returns:
        The sidecar as written.

    Raises:
        InputError: the path has another suffix or cannot be written, or there are no rows.
    """
    check_output(path)
    ordered = sorted(
        rows, key=lambda row: (row.device_id, row.t_s)
    )  # stable: the later of equal rows stays last
    if not ordered:
        raise InputError(f"{printable(path)}: nothing to write: the source has no row")
    with atomic_file(path) as draft, atomic_file(sidecar_path(path)) as beside:
        _write(draft, path.suffix, ordered)
        written = msgspec.structs.replace(
            sidecar,
            rows=len(ordered),
            series=len({row.device_id for row in ordered}),
            sha256=digest(draft),
        )
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")
    return written


def check_suffix(path: Path) -> None:
    """Check the suffix of *path*.

    Raises:
        InputError: it is not that of a trace.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{printable(path)}: a trace must end in {' or '.join(SUFFIXES)}")


def check_output(path: Path) -> None:
    """Check that a trace and its sidecar can be written at *path*; only files are replaced.

    Raises:
        InputError: they cannot be written.
    """
    check_suffix(path)
    for file in (path, sidecar_path(path)):
        if not os.access(resolve_output(file).parent, os.W_OK):
            raise InputError(f"{printable(path)}: cannot be written: its folder takes no files")


def digest(path: Path) -> str:
    """Return the SHA-256 of the file at *path*."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, suffix: str, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    types = {"seconds": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()}
    columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    table = pa.table(
        {
            column.name: pa.array(columns[column.name], types.get(column.kind, pa.string()))
            for column in COLUMNS
            if column.name == "t_s" or any(value is not None for value in columns[column.name])
        }
    )
    with path.open("wb") as file:
        if suffix == ".parquet":
            pyarrow.parquet.write_table(table, file, compression="zstd")
        else:
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(quoting_style="needed"))
