"""Alibaba's cluster trace of 2018, ``machine_usage.csv``: the memory use of servers in percent.

No header: machine_id, time_stamp (s), cpu_util_percent, mem_util_percent, mem_gps, mkpi, net_in, net_out,
disk_io_percent. A proxy: the shares of servers become bytes of a stated total.
"""

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Final

from devices.traces.cells import read_number
from devices.traces.importers.importer import (
    Importer,
    ImportOptions,
    group_by_device,
    keep_complete,
    read_name,
    rows_of_changes,
    source_name,
)
from devices.traces.importers.sources import csv_rows, read_lines
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable
from wire.units import NS_PER_S, format_bytes

FIELDS: Final = 9
ABNORMAL: Final = (-1.0, 101.0)
"""The values of a failed reading, as the schema of the trace says for another percentage."""


def rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Yield the free memory out of the stated total, by machine in the order of the file.

    Raises:
        InputError: no total is given, or a row is damaged.
    """
    total = options.total_bytes
    if not total:
        raise InputError("--total must say how much memory a device has: the source has percentages only")
    readings = group_by_device(_readings(path, options), options)
    if not readings:
        raise InputError(f"{printable(path)}: holds no reading")
    left_out = sum(reading is None for taken in readings.values() for reading in taken)
    if left_out:
        options.notes.append(f"{left_out} readings of -1, of 101 or empty: left out")
    yield from keep_complete(
        ((machine, list(_rows(machine, taken, total))) for machine, taken in readings.items()),
        ("mem_available_bytes",), "machine", options,
    )  # fmt: skip


def _rows(machine: str, readings: list[tuple[int, float] | None], total: int) -> Iterator[Row]:
    taken = sorted((reading for reading in readings if reading is not None), key=itemgetter(0))
    start = taken[0][0] if taken else 0
    moments = (
        (
            (t - start) / NS_PER_S,
            {"mem_available_bytes": round(total * (100 - used) / 100), "mem_total_bytes": total},
        )
        for t, used in taken
    )
    return rows_of_changes(machine, moments)


def _readings(path: Path, options: ImportOptions) -> Iterator[tuple[str, tuple[int, float] | None]]:
    """Yield (machine, (nanoseconds, percent of memory in use)); None for a failed reading."""
    shown = printable(path)
    for row, fields in csv_rows(path, (line for _, line in read_lines(path, options.encoding))):
        if row == 1 and fields[0].strip() == "machine_id":
            continue  # some copies have a header
        if len(fields) != FIELDS:
            raise InputError(f"{shown}: row {row}: must have {FIELDS} fields, not {len(fields)}")
        machine = read_name(f"{shown}: row {row}", fields[0], "machine_id")
        used = _number(shown, row, "mem_util_percent", fields[3].strip() or "-1")
        if used not in ABNORMAL and not 0 <= used <= 100:
            raise InputError(
                f"{shown}: row {row}: mem_util_percent(={printable(fields[3], 40)}) must be from 0 to 100"
            )
        t_ns = round(_number(shown, row, "time_stamp", fields[1]) * NS_PER_S)
        yield machine, None if used in ABNORMAL else (t_ns, used)


def _number(shown: str, row: int, name: str, text: str) -> float:
    try:
        number = float(read_number(text))
    except (ValueError, ArithmeticError):
        number = float("nan")
    if not abs(number) < 2**33:
        raise InputError(f"{shown}: row {row}: {name}(={printable(text, 40)}) must be a number")
    return number


def sidecar(path: Path, options: ImportOptions) -> Sidecar:
    """Return the sidecar."""
    total = format_bytes(options.total_bytes or 0)
    return Sidecar(
        source=f"Alibaba cluster-trace-v2018 machine_usage, from {source_name(path)}",
        licence="as its source: see Alibaba's terms for the cluster trace",
        sampling="as the source, rows that change nothing left out",
        transform=f"mem_available_bytes = (100 - mem_util_percent) % of a stated total of {total}; "
        "readings of -1 and 101, and empty ones, left out; each machine from its first reading",
        proxy_for="free memory of a device: these are servers",
    )


IMPORTER = Importer("Alibaba cluster-trace-v2018 machine_usage.csv (servers: a proxy)", rows, sidecar)
