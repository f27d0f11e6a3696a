"""GreenHub's samples (the BatteryHub app): memory of phones, as CSV with a header or as JSON lines.

Sizes are in KiB: the app copies them from ``/proc/meminfo``. Names are those of the app (``memoryFree``) or
of the data set's tables (``memory_free``).

The app does not store what the names say. Its published source reads MemTotal and MemFree, and stores
MemFree as ``memoryUser`` and MemTotal as ``memoryFree``: the layout ``batteryhub``. It also takes the 7th
and 8th number from places that were those of Active and Inactive before Linux 3.14; on later kernels, with
a line for MemAvailable, it finds SwapCached and Active there. The layout ``named`` takes the names at
their word.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from devices.traces.importing import Importer, Known, Options, first_devices, lines_of, rows_of_changes
from devices.traces.writing import Row, Sidecar
from wire.errors import InputError

LAYOUTS: Final = ("batteryhub", "named")
KIB: Final = 1024
MILLISECONDS: Final = 1e11
"""A time since 1970 above this is in milliseconds: as seconds it would be after the year 5000."""
OFFLINE: Final = ("disconnected", "disconnecting", "connecting", "unknown")
Sample = Mapping[str, Any]


def rows(path: Path, options: Options) -> Iterator[Row]:
    """Yield what is available, the network, and whether the screen is on, by device in order.

    Raises:
        InputError: the file holds no such samples; says which row is damaged.
    """
    if options.layout not in LAYOUTS:
        raise InputError(f"--layout(={options.layout!r}) must be one of {', '.join(LAYOUTS)}")
    samples = _csv(path) if path.suffix == ".csv" else _json_lines(path)
    read = (_read(f"{path}: row {row}", sample, options.layout) for row, sample in samples)
    for device, moments in first_devices(read, options).items():
        moments.sort(key=itemgetter(0))
        start = moments[0][0]
        yield from rows_of_changes(device, ((t - start, known) for t, known in moments))


def _csv(path: Path) -> Iterator[tuple[int, Sample]]:
    lines: Iterable[str] = (line for _, line in lines_of(path))
    lines = iter(lines)
    header = next(lines, "")
    separator = ";" if ";" in header else ","
    names = [_snake(name) for name in next(csv.reader([header], delimiter=separator), [])]
    for row, fields in enumerate(csv.reader(lines, delimiter=separator), start=1):
        if len(fields) != len(names):
            raise InputError(f"{path}: row {row}: must have {len(names)} fields, not {len(fields)}")
        yield row, dict(zip(names, fields, strict=True))


def _json_lines(path: Path) -> Iterator[tuple[int, Sample]]:
    for row, line in lines_of(path):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: row {row}: is no JSON: {error}") from None
        if not isinstance(sample, dict):
            raise InputError(f"{path}: row {row}: must be a JSON object")
        yield row, {_snake(name): value for name, value in sample.items()}


def _read(where: str, sample: Sample, layout: str) -> tuple[str, tuple[float, Known]]:
    """Return (device, (seconds since 1970, what is known))."""
    device = next(
        (sample[name] for name in ("device_id", "uu_id") if sample.get(name) not in (None, "")), None
    )
    if device is None:
        raise InputError(f"{where}: device_id(=nothing) must name the device; uuId does, too")
    known = _memory(where, sample, layout)
    status = str(sample.get("network_status") or "").strip().lower()
    if status:
        known |= {"network": status, "online": status not in OFFLINE}
    screen = sample.get("screen_on")
    if screen not in (None, ""):
        known["foreground"] = _flag(where, screen)
    return str(device), (_time(where, sample.get("timestamp")), known)


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
    """Return a size in bytes; None where the sample has none."""
    value = sample.get(name)
    if value in (None, ""):
        return None
    try:
        size = float(value)
    except (TypeError, ValueError):
        size = -1.0
    if isinstance(value, bool) or not 0 <= size < 2**43 or size != int(size):
        raise InputError(f"{where}: {name}(={str(value)[:40]}) must be a whole number of KiB, not negative")
    return int(size) * KIB


def _time(where: str, value: Any) -> float:
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        except ValueError:
            number = -1.0
    if not 0 <= number < 1e15:
        raise InputError(f"{where}: timestamp(={text[:40]}) must be a date and time, or a time since 1970")
    return number / 1000 if number > MILLISECONDS else number


def _flag(where: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in ("1", "0", "true", "false"):
        raise InputError(f"{where}: screen_on(={word[:40]}) must be true or false, 1 or 0")
    return word in ("1", "true")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip().strip('"')).lower()


def sidecar(path: Path, options: Options) -> Sidecar:
    """Return what the sidecar says."""
    free, capped = (
        ("memoryUser", ", at most memoryFree") if options.layout == "batteryhub" else ("memoryFree", "")
    )
    return Sidecar(
        source=f"GreenHub samples (BatteryHub), from {path.name}",
        licence="as its source: see GreenHub's terms for the data",
        sampling="irregular: a sample when the battery level changed or an event came",
        transform=f"mem_available_bytes = ({free} + memoryInactive) * 1024{capped} (layout "
        f"{options.layout}); online unless networkStatus says "
        "disconnected, disconnecting, connecting or unknown; "
        "foreground is screenOn; rows that change nothing left out; each device from its first sample",
        notes="On kernels since 3.14 the app stores Active where memoryInactive should be: too much, there.",
    )


IMPORTER = Importer("GreenHub samples, CSV or JSON lines", rows, sidecar)
