"""What Linux says of its memory: ``/proc/meminfo`` and ``/proc/pressure/memory``, as rows of a trace."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from devices.traces.control_groups import MOST_BYTES, memory_limits
from devices.traces.writer import Row
from wire.errors import InputError
from wire.input_files import read_at_most
from wire.text import printable

SOME_MODERATE, SOME_LOW, FULL_CRITICAL = 1.0, 7.0, 7.0
"""Shares of the last ten seconds, in percent: some task stalled for 1 % of them, for 7 % (70 ms in a
second is where Android's low memory killer begins to look), all tasks for 7 %."""
KIB: Final = 1024

_PSI = re.compile(r"^(some|full) avg10=([0-9]+(?:\.[0-9]+)?) ", re.MULTILINE)


class Sample(NamedTuple):
    """The memory of this machine at a moment."""

    available_bytes: int
    total_bytes: int
    pressure: str | None
    """None where the kernel counts no stalls."""


def read_proc(proc: Path, root: Path = Path("/")) -> Sample:
    """Return what the files below *proc* say now, within the limits of the control groups of this process.

    Args:
        proc: where the kernel's files are.
        root: of the file systems that ``self/mountinfo`` in *proc* names.

    Raises:
        InputError: there is no meminfo, or it lacks what we need.
    """
    path = proc / "meminfo"
    try:
        meminfo = read_at_most(path, MOST_BYTES, "what Linux says of its memory", pipes=True).decode()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{printable(path)}: must have a line 'MemAvailable: N kB'") from None
    try:
        stalls = read_at_most(proc / "pressure" / "memory", MOST_BYTES).decode("utf-8", "replace")
    except (OSError, InputError):  # absent, or the kernel was started without it
        stalls = ""
    available, total = _kib(proc, meminfo, "MemAvailable"), _kib(proc, meminfo, "MemTotal")
    for room in memory_limits(proc, root):
        available, total = min(available, room.free_bytes), min(total, room.limit_bytes)
    return Sample(available, total, pressure_level(stalls))


def pressure_level(stalls: str) -> str | None:
    """Return the level that ``/proc/pressure/memory`` stands for; None where it says nothing."""
    averages = {kind: float(share) for kind, share in _PSI.findall(stalls)}
    if "some" not in averages:
        return None
    if averages.get("full", 0.0) >= FULL_CRITICAL:
        return "critical"
    if averages["some"] >= SOME_LOW:
        return "low"
    return "moderate" if averages["some"] >= SOME_MODERATE else "normal"


def rows_of(
    name: str,
    samples: Iterable[tuple[int, Sample]],
    resolution: int,
    tell: Callable[[float], None] = lambda t_s: None,
) -> Iterator[Row]:
    """Yield a row for each change, and at the end one that only says how long the last values held.

    Args:
        name: the device id of the rows.
        samples: (nanoseconds since any moment, sample), rising.
        resolution: a change of free memory by fewer bytes than this makes no row.
        tell: called with the time of each sample that made no row.
    """
    start = at = None
    kept: Sample | None = None
    for at, sample in samples:
        start = at if start is None else start
        if kept is not None and not _differs(kept, sample, resolution):
            tell(_seconds(at - start))
            continue
        kept = sample
        yield Row(
            name,
            _seconds(at - start),
            mem_available_bytes=sample.available_bytes,
            mem_total_bytes=sample.total_bytes,
            pressure=sample.pressure,
        )
    if at is not None and start is not None and at > start:
        yield Row(name, _seconds(at - start))


def _differs(kept: Sample, sample: Sample, resolution: int) -> bool:
    moved = abs(kept.available_bytes - sample.available_bytes)
    return moved >= max(resolution, 1) or kept[1:] != sample[1:]


def _seconds(span_ns: int) -> float:
    return round(span_ns / 1e9, 3)


def _kib(proc: Path, meminfo: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+([0-9]{{1,15}}) kB$", meminfo, re.MULTILINE)
    if found is None:
        raise InputError(f"{printable(proc / 'meminfo')}: must have a line '{name}: N kB'")
    return int(found[1]) * KIB
