"""What the importers share: from what a source says of one device to rows of the format."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from devices.traces.cells import check_names
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable

Known = dict[str, Any]
"""Some columns of the format, with what a moment tells of them; what is left out stays as it was."""
INCOMPLETE: Final = ("leave_out", "keep")
FORMULAS: Final = ("=", "+", "-", "@")
MOST_NAME: Final = 1000
"""Characters of a device id."""


@dataclass(frozen=True)
class ImportOptions:
    """What the user says of an import; each importer takes what concerns it."""

    devices: int | None = None
    """At most so many devices, the first of the source."""
    total_bytes: int | None = None
    """The memory of a device, where the source has shares only."""
    online: str = "network"
    """FLASH: what counts as online, `network`, `wifi` or `eligible`."""
    layout: str = "batteryhub"
    """GreenHub: which field holds what, `batteryhub` or `named`."""
    incomplete: str = "leave_out"
    """Devices without the signal that the source is imported for: `leave_out` or `keep`."""
    encoding: str | None = None
    """Of a source that is text; None: as its first bytes say, or UTF-8."""
    zone: str = "UTC"
    """The time zone of dates that name none."""
    name: str = "recording"
    """The device of a source that names none."""
    time: str | None = None
    """Columns: which holds the time."""
    time_unit: str | None = None
    """Columns: what the time counts."""
    device: str | None = None
    """Columns: which names the device."""
    available: str | None = None
    """Columns: which holds the available memory."""
    total: str | None = None
    """Columns: which holds the total memory."""
    online_column: str | None = None
    """Columns: which says whether the device is online."""
    unit: str | None = None
    """Columns: of memory."""
    every_ns: int | None = None
    """Logs of memory: the time from one look to the next, where the log has no times."""
    notes: list[str] = field(default_factory=list)
    """What the importer left out, or took otherwise than it stands there; it adds to them."""


@dataclass(frozen=True)
class Importer:
    """One kind of source."""

    title: str
    rows: Callable[[Path, ImportOptions], Iterator[Row]]
    sidecar: Callable[[Path, ImportOptions], Sidecar]


def source_name(path: Path) -> str:
    """Return what a sidecar calls the source *path*."""
    return printable(path.name)


def read_name(where: str, value: object, column: str = "device_id") -> str:
    """Return the name of a device.

    Raises:
        InputError: it is none: nothing, NaN, a list, or text that cannot be written.
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
    """Check that no device is called by a word for nothing, such as NULL, where all others are numbers.

    Raises:
        InputError: one is.
    """
    odd = check_names(list(names))
    if odd is not None:
        raise InputError(
            f"{printable(source)}: device_id(={printable(odd)}) must name the device; all others are numbers"
        )


def keep_complete(
    devices: Iterable[tuple[str, list[Row]]], columns: tuple[str, ...], what: str, options: ImportOptions
) -> Iterator[Row]:
    """Yield the rows of devices that have a value in one of *columns*; the others are counted, and left out.

    Args:
        devices: each with its rows.
        columns: what the source is imported for; a device that lacks all of them is of no use to a scenario.
        what: a device is called in the note.
        options: say whether such devices are kept; take the note.

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
            raise InputError(
                f"{none}: there is nothing to import (--incomplete keep writes what else there is)"
            )
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
    """Return a note if ids of devices would be formulas where a spreadsheet opens the trace as CSV."""
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
    """Yield a row for each moment that changes something, and one that only says when the last is over.

    Args:
        device: whose they are.
        moments: (seconds from the start, what is then known), not falling.
        until: when it is over; with the last moment, if left out.
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


def group_by_device(found: Iterable[tuple[str, Any]], options: ImportOptions) -> dict[str, list[Any]]:
    """Return what belongs to each device, in the order of the source; of so many devices as are wanted."""
    devices: dict[str, list[Any]] = {}
    for device, each in found:
        if device in devices:
            devices[device].append(each)
        elif options.devices is None or len(devices) < options.devices:
            devices[device] = [each]
    return devices
