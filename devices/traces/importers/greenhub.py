"""GreenHub's samples (the BatteryHub app): memory of phones, as CSV with a header, as JSON or as Parquet.

Sizes are in KiB: the app copies them from ``/proc/meminfo``. Names are those of the app (``memoryFree``) or
of the data set's tables (``memory_free``).

The app does not store what the names say. Its published source reads MemTotal and MemFree, and stores
MemFree as ``memoryUser`` and MemTotal as ``memoryFree``: the layout ``batteryhub``. It also takes the 7th
and 8th number from places that were those of Active and Inactive before Linux 3.14; on later kernels, with
a line for MemAvailable, it finds SwapCached and Active there. The layout ``named`` takes the names at
their word.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from devices.traces.cells import read_number
from devices.traces.importers.importer import (
    MOST_NAME,
    Importer,
    ImportOptions,
    Known,
    group_by_device,
    keep_complete,
    read_name,
    rows_of_changes,
    source_name,
)
from devices.traces.importers.sources import read_records
from devices.traces.importers.timestamps import read_moment_ns, read_zone
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable
from wire.units import NS_PER_S

LAYOUTS: Final = ("batteryhub", "named")
KIB: Final = 1024
OFFLINE: Final = ("disconnected", "disconnecting", "connecting", "unknown")
Sample = Mapping[str, Any]


def rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Yield the available memory, the network and the state of the screen, by device in order.

    Raises:
        InputError: the file has no such samples; names the damaged row.
    """
    if options.layout not in LAYOUTS:
        raise InputError(f"--layout(={options.layout!r}) must be one of {', '.join(LAYOUTS)}")
    zone = read_zone(options.zone)
    read = (
        _read(
            f"{printable(path)}: row {row}",
            {_snake(name): value for name, value in sample.items()},
            options,
            zone,
        )
        for row, sample in read_records(path, options.encoding)
    )
    devices = group_by_device(read, options)
    if not devices:
        raise InputError(f"{printable(path)}: holds no sample")
    yield from keep_complete(
        ((device, list(_rows(device, moments))) for device, moments in devices.items()),
        ("mem_available_bytes", "online"), "device", options,
    )  # fmt: skip


def _rows(device: str, moments: list[tuple[int, Known]]) -> Iterator[Row]:
    moments.sort(key=itemgetter(0))
    start = moments[0][0]
    return rows_of_changes(device, (((t - start) / NS_PER_S, known) for t, known in moments))


def _read(where: str, sample: Sample, options: ImportOptions, zone: tzinfo) -> tuple[str, tuple[int, Known]]:
    """Return (device, (nanoseconds since 1970, known columns))."""
    device = next(
        (sample[name] for name in ("device_id", "uu_id") if sample.get(name) not in (None, "")), None
    )
    if device is None:
        raise InputError(f"{where}: device_id(=nothing) must name the device; uuId does, too")
    name = read_name(where, device)
    known = _memory(where, sample, options.layout)
    status = str(sample.get("network_status") or "").strip().lower()
    if status:
        if len(status) > MOST_NAME or not _is_text(status):
            raise InputError(f"{where}: network_status(={printable(status, 40)}) must be a word")
        known |= {"network": status, "online": status not in OFFLINE}
    screen = sample.get("screen_on")
    if screen not in (None, ""):
        known["foreground"] = _flag(where, screen)
    return name, (_time(where, sample.get("timestamp"), zone), known)


def _memory(where: str, sample: Sample, layout: str) -> Known:
    total = None
    free, inactive = _kib(where, sample, "memory_free"), _kib(where, sample, "memory_inactive")
    if layout == "batteryhub":
        total, free = free, _kib(where, sample, "memory_user")
        if total is not None and free is not None and free > total:
            raise InputError(
                f"{where}: memory_user(={free // KIB}) must not exceed memory_free(={total // KIB}), "
                "which the app uses for all memory; see --layout named"
            )
    known: Known = {}
    if free is not None and inactive is not None:
        known["mem_available_bytes"] = free + inactive if total is None else min(free + inactive, total)
    if total is not None:
        known["mem_total_bytes"] = total
    return known


def _kib(where: str, sample: Sample, name: str) -> int | None:
    """Return a size in bytes; None if the sample has none."""
    value = sample.get(name)
    if value in (None, ""):
        return None
    try:
        size = read_number(value)
        kib = int(size) if 0 <= size < 2**43 and size == int(size) else None
    except (ValueError, ArithmeticError):
        kib = None
    if kib is None:
        shown = printable(value, 40)
        raise InputError(f"{where}: {name}(={shown}) must be a whole number of KiB, not negative")
    return kib * KIB


def _time(where: str, value: Any, zone: tzinfo) -> int:
    for unit in ("epoch", "iso"):
        try:
            return read_moment_ns(value, unit, zone)
        except (ValueError, ArithmeticError):
            continue
    shown = printable(str(value).strip(), 40)
    raise InputError(f"{where}: timestamp(={shown}) must be a date and time, or a time since 1970")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flag(where: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in ("1", "0", "true", "false"):
        raise InputError(f"{where}: screen_on(={printable(word, 40)}) must be true or false, 1 or 0")
    return word in ("1", "true")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip().strip('"')).lower()


def sidecar(path: Path, options: ImportOptions) -> Sidecar:
    """Return the sidecar."""
    free, capped = (
        ("memoryUser", ", at most memoryFree") if options.layout == "batteryhub" else ("memoryFree", "")
    )
    return Sidecar(
        source=f"GreenHub samples (BatteryHub), from {source_name(path)}",
        licence="as its source: see GreenHub's terms for the data",
        sampling="irregular: a sample when the battery level changed or an event came",
        transform=f"mem_available_bytes = ({free} + memoryInactive) * 1024{capped} (layout "
        f"{options.layout}); online unless networkStatus says "
        "disconnected, disconnecting, connecting or unknown; "
        f"dates without a time zone taken as {options.zone}; "
        "foreground is screenOn; rows that change nothing left out; each device from its first sample",
        notes="On kernels since 3.14 the app stores Active in place of memoryInactive, which gives too much.",
    )


IMPORTER = Importer("GreenHub samples, CSV, JSON or Parquet", rows, sidecar)
