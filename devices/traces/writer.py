"""Writing traces: the rows into CSV or Parquet, and beside them a sidecar that says where they come from."""

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
    """One row of the format: what is known of a device at a moment; None is unknown, or unchanged."""

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
    """Where a trace comes from, and what was done to it: the file ``NAME.meta.json`` beside it."""

    format: str = FORMAT
    source: str
    """Who or what was recorded, in words."""
    licence: str
    """What may be done with it."""
    sampling: str
    """How often the source was looked at, and what makes a row."""
    transform: str = "none"
    """What was done to the source's numbers."""
    proxy_for: str | None = None
    """Set where the numbers are not what their column says, but stand for it."""
    notes: str = ""
    rows: int = 0
    series: int = 0
    sha256: str = ""
    """Of the trace file."""


def sidecar_path(trace: Path) -> Path:
    """Return where the sidecar of *trace* is."""
    return trace.with_name(trace.stem + SIDECAR)


def read_sidecar(trace: Path) -> Sidecar | None:
    """Return what the sidecar of *trace* says; None where there is none.

    Raises:
        InputError: it is no sidecar.
    """
    path = sidecar_path(trace)
    try:
        return decode_json(read_at_most(path, MAX_SIDECAR_BYTES, "a sidecar"), Sidecar)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: is no sidecar of a trace: {printable(error, 200)}") from None


def with_notes(sidecar: Sidecar, notes: Sequence[str]) -> Sidecar:
    """Return *sidecar* with more notes."""
    return msgspec.structs.replace(sidecar, notes="; ".join(each for each in (sidecar.notes, *notes) if each))


def write_trace(path: Path, rows: Iterable[Row], sidecar: Sidecar) -> Sidecar:
    """Write *rows* and their sidecar; both appear whole, or not at all.

    Columns in which no row has a value are left out.

    Returns:
        The sidecar as written.

    Raises:
        InputError: the path is of no kind that we write, cannot be written, or there are no rows.
    """
    check_output(path)
    taken = sorted(rows, key=lambda row: (row.device_id, row.t_s))  # stable: the later of equals stays last
    if not taken:
        raise InputError(f"{printable(path)}: there is nothing to write: the source holds no row")
    with atomic_file(path) as draft, atomic_file(sidecar_path(path)) as beside:
        _write(draft, path.suffix, taken)
        written = msgspec.structs.replace(
            sidecar,
            rows=len(taken),
            series=len({row.device_id for row in taken}),
            sha256=digest(draft),
        )
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")
    return written


def check_suffix(path: Path) -> None:
    """Check that *path* is of a kind that we write.

    Raises:
        InputError: it is not.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{printable(path)}: a trace must end in {' or '.join(SUFFIXES)}")


def check_output(path: Path) -> None:
    """Check that a trace and its sidecar can be written at *path*: nothing that is no file is replaced.

    Raises:
        InputError: they cannot.
    """
    check_suffix(path)
    for each in (path, sidecar_path(path)):
        if not os.access(resolve_output(each).parent, os.W_OK):
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
