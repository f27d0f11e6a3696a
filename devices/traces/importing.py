"""What the importers share: from what a source says of one device to rows of the format."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devices.traces.writing import Row, Sidecar
from wire.errors import InputError

MAX_SOURCE_BYTES: Final = 8 * 2**30
"""A source that is larger is refused before it is read."""
Known = dict[str, Any]
"""Some columns of the format, with what a moment tells of them; what is left out stays as it was."""


@dataclass(frozen=True)
class Options:
    """What the user says of an import; each importer takes what concerns it."""

    devices: int | None = None
    """At most so many devices, the first of the source."""
    total_bytes: int | None = None
    """The memory of a device, where the source has shares only."""
    online: str = "network"
    """FLASH: what counts as online, `network`, `wifi` or `eligible`."""
    layout: str = "batteryhub"
    """GreenHub: which field holds what, `batteryhub` or `named`."""


@dataclass(frozen=True)
class Importer:
    """One kind of source."""

    title: str
    rows: Callable[[Path, Options], Iterator[Row]]
    sidecar: Callable[[Path, Options], Sidecar]


def read_source(path: Path) -> bytes:
    """Return the bytes of the source *path*.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_SOURCE_BYTES:
            raise InputError(f"{path}: has {size} bytes; at most {MAX_SOURCE_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of the text file *path*.

    Raises:
        InputError: it cannot be read, or is no text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from ((number, line.rstrip("\r\n")) for number, line in enumerate(file, start=1))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None


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


def first_devices(found: Iterable[tuple[str, Any]], options: Options) -> dict[str, list[Any]]:
    """Return what belongs to each device, in the order of the source; of so many devices as are wanted."""
    devices: dict[str, list[Any]] = {}
    for device, each in found:
        if device in devices:
            devices[device].append(each)
        elif options.devices is None or len(devices) < options.devices:
            devices[device] = [each]
    return devices
