"""Compares the disk and the memory that runs will take with what is free, before they start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from emulator.space.fleet_size import FleetSize
from emulator.space.free_space import free_disk_bytes, free_memory_bytes
from emulator.space.space_estimate import Space
from wire.errors import InputError
from wire.units import approximate_bytes

_NEAR: Final = 0.7
"""Part of what is free from which on there is a warning."""
_TOO_MUCH: Final = 2.0
"""Multiple of what is free from which on a run is refused: estimates are right within this factor."""
_FORCE: Final = "--force starts it all the same"


def check_space(what: str, needed: Space, folder: Path, *, force: bool, remedy: str = "") -> Iterator[str]:
    """Yield a warning for the disk and for the memory that may not suffice.

    Args:
        what: names what needs it, such as ``30 devices with about 900 changes``.
        needed: by it.
        folder: to which it writes.
        force: True to warn in place of refusing.
        remedy: a hint for the case that memory does not suffice.

    Raises:
        InputError: the disk or the memory will not suffice by far.
    """
    for name, bytes_, free, hint in (
        (f"of disk in {folder}", needed.disk, free_disk_bytes(folder), ""),
        ("of memory", needed.memory, free_memory_bytes(), remedy),
    ):
        if free is None or bytes_ <= _NEAR * free:
            continue
        takes, left = approximate_bytes(bytes_), approximate_bytes(free)
        line = f"{what} will take about {takes} {name}, and {left} are free" + (f"; {hint}" if hint else "")
        if bytes_ > _TOO_MUCH * free and not force:
            raise InputError(f"{line}; {_FORCE}")
        yield line


def describe_size(size: FleetSize) -> str:
    """Return the devices and changes of a fleet as text."""
    return f"{size.devices:,} devices with about {size.changes:,} changes"
