"""The contract of an importer, and the steps from the records of one device to rows of the format."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from devices.traces.cells import check_names
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable

Known = dict[str, Any]
"""Columns of the format with their values at one time; columns that are left out stay as they were."""
INCOMPLETE: Final = ("leave_out", "keep")
FORMULAS: Final = ("=", "+", "-", "@")
MOST_NAME: Final = 1000
"""The most characters of a device id."""


@dataclass(frozen=True)
class ImportOptions:
    """The options of an import; each importer uses those that concern it."""

    devices: int | None = None
    """The most devices to import, the first of the source."""
    total_bytes: int | None = None
    """The memory of a device, for a source that has shares only."""
    online: str = "network"
    """FLASH: the condition for being online, `network`, `wifi` or `eligible`."""
    layout: str = "batteryhub"
    """GreenHub: the order of the fields, `batteryhub` or `named`."""
    incomplete: str = "leave_out"
    """Devices without the signal for which the source is imported: `leave_out` or `keep`."""
    encoding: str | None = None
    """The encoding of a text; None: found from its first bytes, or UTF-8."""
    zone: str = "UTC"
    """The time zone of dates without one."""
    name: str = "recording"
    """The device id for a source that names no device."""
    time: str | None = None
    """`columns`: the column of the time."""
    time_unit: str | None = None
    """`columns`: the unit of the time."""
    device: str | None = None
    """`columns`: the column of the device id."""
    available: str | None = None
    """`columns`: the column of the available memory."""
    total: str | None = None
    """`columns`: the column of the total memory."""
    online_column: str | None = None
    """`columns`: the column of the online state."""
    unit: str | None = None
    """`columns`: the unit of memory."""
    every_ns: int | None = None
    """Logs of memory: the time from one look to the next, for a log without times."""
    notes: list[str] = field(default_factory=list)
    """Notes of the importer on what it left out or changed; it appends to them."""


@dataclass(frozen=True)
class Importer:
    """An importer of one kind of source."""

    title: str
    """The name of the source, for help texts."""
    rows: Callable[[Path, ImportOptions], Iterator[Row]]
    """Yield the rows of a source; raise `InputError` if it is damaged."""
    sidecar: Callable[[Path, ImportOptions], Sidecar]
    """Return the origin of the rows; called after `rows`."""


def source_name(path: Path) -> str:
    """Return the name of the source *path* for a sidecar."""
    return printable(path.name)


def read_name(where: str, value: object, column: str = "device_id") -> str:
    """Return the name of a device.

    Raises:
        InputError: it is empty, NaN, a list, or text that cannot be written.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    name = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    odd = not name or len(name) > MOST_NAME or name.lower().lstrip("+-") in ("nan", "inf", "infinity")
    try:
        name.encode()
    except UnicodeEncodeError:
        odd = True
    if odd:
        shown = "nothing" if value in (None, "") else printable(value, 40)
        raise InputError(f"{where}: {column}(={shown}) must name the device")
    return name


def check_devices(source: Path, names: Iterable[str]) -> None:
    """Check that no device id is a word such as NULL while all others are numbers.

    Raises:
        InputError: one is such a word.
    """
    odd = check_names(list(names))
    if odd is not None:
        raise InputError(
            f"{printable(source)}: device_id(={printable(odd)}) must name the device; all others are numbers"
        )


def keep_complete(
    devices: Iterable[tuple[str, list[Row]]], columns: tuple[str, ...], what: str, options: ImportOptions
) -> Iterator[Row]:
    """Yield the rows of devices that have a value in one of *columns*; leave the others out, with a note.

    Args:
        devices: (device id, rows).
        columns: the signals for which the source is imported; a scenario cannot use a device without them.
        what: the word for a device in the note.
        options: decide whether such devices are kept; get the note.

    Raises:
        InputError: no device has a value.
    """
    if options.incomplete not in INCOMPLETE:
        raise InputError(f"--incomplete(={options.incomplete!r}) must be one of {', '.join(INCOMPLETE)}")
    count = lacking = 0
    partly = dict.fromkeys(columns, 0)
    for _, rows in devices:
        count += 1
        has = {name: any(getattr(row, name) is not None for row in rows) for name in columns}
        lacking += not any(has.values())
        if any(has.values()) or options.incomplete == "keep":
            for name in columns:
                partly[name] += any(has.values()) and not has[name]
            yield from rows
    if lacking:
        have = "has" if lacking == 1 else "have"
        none = f"{lacking} of {count} {what}s {have} no value of {' nor of '.join(columns)}"
        if lacking == count and options.incomplete != "keep":
            raise InputError(f"{none}: nothing can be imported (--incomplete keep writes the other columns)")
        kept = options.incomplete == "keep"
        options.notes.append(
            f"{none}: {'kept, a scenario that plays it refuses them' if kept else 'left out'}"
        )
    for name, few in partly.items():
        if few and few < count - lacking:
            options.notes.append(
                f"{few} of {count - lacking} {what}s {'has' if few == 1 else 'have'} no value of {name}: a "
                "scenario that plays it needs without_data: leave_out"
            )


def formula_note(names: Iterable[str]) -> list[str]:
    """Return a note if a spreadsheet would take ids of devices for formulas in the CSV file."""
    odd = [name for name in names if name.startswith(FORMULAS)]
    if not odd:
        return []
    return [
        f"{len(odd)} device ids begin with one of {' '.join(FORMULAS)}, {printable(odd[0], 40)!r} for one: a "
        "spreadsheet takes them for formulas; ids are kept as they are"
    ]


def rows_of_changes(
    device: str, moments: Iterable[tuple[float, Known]], until: float | None = None
) -> Iterator[Row]:
    """Yield a row for each moment that changes something, and a last row with only the end time.

    Args:
        device: the device id.
        moments: (seconds from the start, known columns), not falling.
        until: the end time; that of the last moment if left out.
    """
    known: Known = {}
    pending: Known = {}
    at = written = 0.0
    for t, now in moments:
        if t > at and pending:
            yield Row(device, at, **pending)
            written, pending = at, {}
        at = t
        pending |= {name: value for name, value in now.items() if known.get(name) != value}
        known |= now
    if pending:
        yield Row(device, at, **pending)
        written = at
    over = at if until is None else until
    if over > written:
        yield Row(device, over)


def group_by_device(records: Iterable[tuple[str, Any]], options: ImportOptions) -> dict[str, list[Any]]:
    """Return the records of each device in the order of the source, for at most `options.devices` devices."""
    devices: dict[str, list[Any]] = {}
    for device, record in records:
        if device in devices:
            devices[device].append(record)
        elif options.devices is None or len(devices) < options.devices:
            devices[device] = [record]
    return devices
