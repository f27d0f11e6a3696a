"""Alibaba's cluster trace of 2018, ``machine_usage.csv``: how full the memory of servers was, in percent.

No header: machine_id, time_stamp (s), cpu_util_percent, mem_util_percent, mem_gps, mkpi, net_in, net_out,
disk_io_percent. A proxy: the numbers are of servers, and shares; they become bytes of a stated total.
"""

import csv
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Final

from devices.traces.importing import Importer, Options, first_devices, lines_of, rows_of_changes
from devices.traces.writing import Row, Sidecar
from wire.errors import InputError
from wire.units import format_bytes

FIELDS: Final = 9
ABNORMAL: Final = (-1.0, 101.0)
"""What the trace writes for a reading that failed: its schema says so of another percentage."""


def rows(path: Path, options: Options) -> Iterator[Row]:
    """Yield what is free of the stated total, by machine in the order of the file.

    Raises:
        InputError: no total is given, or a row is damaged.
    """
    total = options.total_bytes
    if not total:
        raise InputError("--total must say how much memory a device has: the source has percentages only")
    readings = first_devices(_readings(path), options)
    for machine, taken in readings.items():
        taken.sort(key=itemgetter(0))
        start = taken[0][0]
        moments = (
            (t - start, {"mem_available_bytes": round(total * (100 - used) / 100), "mem_total_bytes": total})
            for t, used in taken
        )
        yield from rows_of_changes(machine, moments)


def _readings(path: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield (machine, (seconds, percent of memory in use)), those without a reading left out."""
    for row, fields in enumerate(csv.reader(line for _, line in lines_of(path)), start=1):
        if not fields:
            continue
        if len(fields) != FIELDS:
            raise InputError(f"{path}: row {row}: must have {FIELDS} fields, not {len(fields)}")
        if not fields[0]:
            raise InputError(f"{path}: row {row}: machine_id(=nothing) must be text")
        used = _number(path, row, "mem_util_percent", fields[3] or "-1")
        if used in ABNORMAL:
            continue
        if not 0 <= used <= 100:
            raise InputError(f"{path}: row {row}: mem_util_percent(={fields[3]}) must be from 0 to 100")
        yield fields[0], (_number(path, row, "time_stamp", fields[1]), used)


def _number(path: Path, row: int, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 2**53:
        raise InputError(f"{path}: row {row}: {name}(={text[:40]}) must be a number")
    return number


def sidecar(path: Path, options: Options) -> Sidecar:
    """Return what the sidecar says."""
    total = format_bytes(options.total_bytes or 0)
    return Sidecar(
        source=f"Alibaba cluster-trace-v2018 machine_usage, from {path.name}",
        licence="as its source: see Alibaba's terms for the cluster trace",
        sampling="as the source, rows that change nothing left out",
        transform=f"mem_available_bytes = (100 - mem_util_percent) % of a stated total of {total}; "
        "readings of -1 and 101, and empty ones, left out; each machine from its first reading",
        proxy_for="free memory of a device: these are servers",
    )


IMPORTER = Importer("Alibaba cluster-trace-v2018 machine_usage.csv (servers: a proxy)", rows, sidecar)
