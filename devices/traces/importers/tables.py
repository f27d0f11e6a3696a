"""Tables of other projects, by the names of their columns: a time, the available memory, the online state.

Nothing is guessed: the user names the units.
"""

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from devices.traces.cells import MOST_WHOLE, read_number
from devices.traces.importers.importer import (
    Importer,
    ImportOptions,
    Known,
    group_by_device,
    keep_complete,
    read_name,
    rows_of_changes,
    source_name,
)
from devices.traces.importers.sources import Record, read_records
from devices.traces.importers.timestamps import TIME_UNITS, read_moment_ns, read_zone
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable
from wire.units import BYTE_UNITS, NS_PER_S

ONLINE: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "1", "1.0", "yes", "y", "on", "online", "connected", "up"), True),
    **dict.fromkeys(("false", "0", "0.0", "no", "n", "off", "offline", "disconnected", "down"), False),
}


def rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Yield the values of the named columns, by device in the order of the file.

    Raises:
        InputError: a column or a unit is not named or does not exist, or a row is damaged.
    """
    zone = _check(options)
    read = _read(path, options, zone)
    devices = group_by_device(read, options)
    if not devices:
        raise InputError(f"{printable(path)}: holds no row")
    signals = {"mem_available_bytes": options.available, "online": options.online_column}
    yield from keep_complete(
        ((device, list(_rows(device, moments))) for device, moments in devices.items()),
        tuple(name for name, column in signals.items() if column is not None), "device", options,
    )  # fmt: skip


def _rows(device: str, moments: list[tuple[int, Known]]) -> Iterator[Row]:
    moments.sort(key=itemgetter(0))
    start = moments[0][0]
    return rows_of_changes(device, (((t - start) / NS_PER_S, known) for t, known in moments))


def _check(options: ImportOptions) -> tzinfo:
    if options.time is None:
        raise InputError("--time must name the column of the time")
    if options.available is None and options.online_column is None:
        raise InputError(
            "--available must name the column of the available memory, or --online that of a state"
        )
    if options.time_unit not in TIME_UNITS:
        raise InputError(
            f"--time-unit(={options.time_unit or 'nothing'}) must say what {options.time!r} counts: "
            f"{', '.join(TIME_UNITS)}"
        )
    if (options.available or options.total) and options.unit not in BYTE_UNITS:
        raise InputError(
            f"--unit(={options.unit or 'nothing'}) must be the unit of memory: {', '.join(BYTE_UNITS)}"
            " (the kB of /proc/meminfo are KiB)"
        )
    return read_zone(options.zone)


def _read(path: Path, options: ImportOptions, zone: tzinfo) -> Iterator[tuple[str, tuple[int, Known]]]:
    before: dict[str, int] = {}
    for row, record in read_records(path, options.encoding):
        where = f"{printable(path)}: row {row}"
        if row == 1:
            _check_columns(path, options, record)
        device = options.name
        if options.device is not None:
            device = read_name(where, record.get(options.device), options.device)
        t_ns = _time(where, record, options, zone, before.get(device))
        before[device] = t_ns
        yield device, (t_ns, _known(where, record, options))


def _check_columns(path: Path, options: ImportOptions, record: Record) -> None:
    named = (options.time, options.device, options.available, options.total, options.online_column)
    for name in named:
        if name is not None and name not in record:
            names = printable(", ".join(map(str, record)), 200)
            raise InputError(f"{printable(path)}: column {name!r} is missing; the file has {names}")


def _time(where: str, record: Record, options: ImportOptions, zone: tzinfo, before: int | None) -> int:
    value = record.get(str(options.time))
    try:
        return read_moment_ns(value, str(options.time_unit), zone, before)
    except (ValueError, ArithmeticError):
        rule = "be a date and time" if options.time_unit == "iso" else "be a number, not negative"
        shown = "nothing" if value in (None, "") else printable(value, 40)
        raise InputError(
            f"{where}: {options.time}(={shown}) must {rule} (--time-unit {options.time_unit})"
        ) from None


def _known(where: str, record: Record, options: ImportOptions) -> Known:
    known: Known = {}
    sizes = {"mem_available_bytes": options.available, "mem_total_bytes": options.total}
    for name, column in sizes.items():
        value = None if column is None else record.get(column)
        if not _is_empty(value):
            known[name] = _size(where, str(column), value, str(options.unit))
    value = None if options.online_column is None else record.get(options.online_column)
    if not _is_empty(value):
        word = str(value).strip().lower()
        if word not in ONLINE:
            raise InputError(
                f"{where}: {options.online_column}(={printable(value, 40)}) must be true or false, 1 or 0, "
                "yes or no, on or off, online or offline, connected or disconnected"
            )
        known["online"] = ONLINE[word]
    return known


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _size(where: str, column: str, value: Any, unit: str) -> int:
    """Return a size in bytes; the number may be followed by its unit if that is the named one."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.lower().endswith(unit.lower()):
        text = text[: -len(unit)].strip()
    try:
        size = round(read_number(text) * BYTE_UNITS[unit])
    except (ValueError, ArithmeticError, TypeError):
        size = -1
    if not 0 <= size <= MOST_WHOLE:
        raise InputError(
            f"{where}: {column}(={printable(value, 40)}) must be a number of {unit}, not negative"
        )
    return size


def sidecar(path: Path, options: ImportOptions) -> Sidecar:
    """Return the sidecar."""
    taken = {
        "mem_available_bytes": options.available, "mem_total_bytes": options.total,
        "online": options.online_column,
    }  # fmt: skip
    units = "; ".join(
        f"{name} is {column!r}{'' if name == 'online' else f' in {options.unit}'}"
        for name, column in taken.items()
        if column is not None
    )
    return Sidecar(
        source=f"a table, {source_name(path)}",
        licence="as its source",
        sampling="as the source, rows that change nothing left out",
        transform=printable(
            f"t_s from {options.time!r} in {options.time_unit}, dates without a time zone taken as "
            f"{options.zone}; {units}; each device from its first row, in the order of time"
        ),
    )


IMPORTER = Importer("a table, by the names of its columns", rows, sidecar)
