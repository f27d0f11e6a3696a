"""The memory of this machine from ``/proc/meminfo`` and ``/proc/pressure/memory``, as rows of a trace."""

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
"""Thresholds in percent of the last ten seconds: some task stalled for 1 %, some for 7 %, all for 7 %.
Android's low memory killer starts at 70 ms in a second."""
KIB: Final = 1024

_PSI = re.compile(r"^(some|full) avg10=([0-9]+(?:\.[0-9]+)?) ", re.MULTILINE)


class Sample(NamedTuple):
    """The memory of this machine at one time."""

    available_bytes: int
    total_bytes: int
    pressure: str | None
    """None if the kernel does not count stalls."""


def read_proc(proc: Path, root: Path = Path("/")) -> Sample:
    """Read the memory now, within the limits of the control groups of this process.

    Args:
        proc: the folder of the kernel's files.
        root: the root of the file systems that ``self/mountinfo`` in *proc* names.

    Raises:
        InputError: meminfo is missing, or lacks a line that we need.
    """
    path = proc / "meminfo"
    try:
        meminfo = read_at_most(path, MOST_BYTES, "a file of the kernel", pipes=True).decode()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{printable(path)}: must have a line 'MemAvailable: N kB'") from None
    try:
        stalls = read_at_most(proc / "pressure" / "memory", MOST_BYTES).decode("utf-8", "replace")
    except (OSError, InputError):  # absent, or the kernel was started without it
        stalls = ""
    available, total = _kib(proc, meminfo, "MemAvailable"), _kib(proc, meminfo, "MemTotal")
    for limit in memory_limits(proc, root):
        available, total = min(available, limit.free_bytes), min(total, limit.limit_bytes)
    return Sample(available, total, pressure_level(stalls))


def pressure_level(stalls: str) -> str | None:
    """Return the pressure level for the text of ``/proc/pressure/memory``; None if it has no average."""
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
    on_unchanged: Callable[[float], None] = lambda t_s: None,
) -> Iterator[Row]:
    """Yield a row for each change, and at the end a row with only the time until which the last one is valid.

    Args:
        name: the device id of the rows.
        samples: (nanoseconds of any clock, sample), rising.
        resolution: a change of free memory by fewer bytes than this gives no row.
        on_unchanged: called with the time of each sample that gives no row.
    """
    start = at = None
    last: Sample | None = None
    for at, sample in samples:
        start = at if start is None else start
        if last is not None and not _differs(last, sample, resolution):
            on_unchanged(_seconds(at - start))
            continue
        last = sample
        yield Row(
            name,
            _seconds(at - start),
            mem_available_bytes=sample.available_bytes,
            mem_total_bytes=sample.total_bytes,
            pressure=sample.pressure,
        )
    if at is not None and start is not None and at > start:
        yield Row(name, _seconds(at - start))


def _differs(last: Sample, sample: Sample, resolution: int) -> bool:
    moved = abs(last.available_bytes - sample.available_bytes)
    return moved >= max(resolution, 1) or last[1:] != sample[1:]


def _seconds(span_ns: int) -> float:
    return round(span_ns / 1e9, 3)


def _kib(proc: Path, meminfo: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+([0-9]{{1,15}}) kB$", meminfo, re.MULTILINE)
    if match is None:
        raise InputError(f"{printable(proc / 'meminfo')}: must have a line '{name}: N kB'")
    return int(match[1]) * KIB
