"""Logs of memory: repeated outputs of ``/proc/meminfo`` or ``dumpsys meminfo``.

A look is one output. Its time is on a line before or after it, or at the start of each of its lines.
There is one rule for all forms: a line is a time, or has sizes of memory, or is ignored.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Final

from devices.memory.pressure import LEVELS
from devices.traces.importers.importer import Importer, ImportOptions, Known, rows_of_changes, source_name
from devices.traces.importers.sources import read_lines
from devices.traces.importers.timestamps import read_moment_ns, read_zone
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable
from wire.units import NS_PER_S

FIELDS: Final = ("MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached")
SIZES: Final = {"K": 2**10, "KB": 2**10, "KIB": 2**10, "M": 2**20, "MB": 2**20, "MIB": 2**20, "B": 1}
"""The units kB and K of the kernel and of Android are KiB."""

_FIELD = re.compile(
    r"(?<![A-Za-z_(])(MemTotal|MemFree|MemAvailable|Buffers|Cached):\s*([0-9]+)\s*([A-Za-z]+)?"
)
_LINE = re.compile(r"\s*(?:[A-Za-z]\w*(?:\(\w+\))?:\s+[0-9]+(?:\s+kB)?)?\s*")
"""A line of meminfo, or a blank one."""
_DUMP = re.compile(
    r"(?<![A-Za-z])(Total|Free) RAM:\s*([0-9][0-9,.' \u00a0\u202f]{0,20}?)\s*([KMG]i?B?)\b", re.IGNORECASE
)
_STATUS = re.compile(r"\(status (\w+)\)")
_COMPACT = re.compile(r"^ram,([0-9]{1,15}),([0-9]{1,15})(?:,|$)")
_REALTIME = re.compile(r"Uptime:\s*[0-9]+\s+Realtime:\s*([0-9]{1,18})")
_COMPACT_TIME = re.compile(r"^time,[0-9]{1,18},([0-9]{1,18})$")
_LABEL = re.compile(
    r"^(?:time ?stamp|timestamp|date|time|ts|epoch|t)\s*[:=]?\s+|^(?:timestamp|date|time|ts|epoch|t)[:=]\s*",
    re.I,
)
_NUMBER = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,9})?")
_DAY_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?")
_LOGCAT = re.compile(r"([0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3,6})(?: .*)?")
"""The lines of Android's log name no year."""
LEAP_YEAR: Final = 2000
MOST_DIGITS: Final = 15
DAY_NS: Final = 86_400 * NS_PER_S
_UPTIME = re.compile(r"([0-9]{1,12}\.[0-9]{2}) [0-9]{1,15}\.[0-9]{2}")
_CLOCK = re.compile(
    r"[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?)?"
    r"|[A-Z][a-z]{2},? +[A-Z0-9][A-Za-z0-9]{0,2} +[A-Z0-9][A-Za-z0-9]{0,2} +[0-9:]{8}"
    r"(?: +[A-Z]{2,5}| +[+-][0-9]{2,4})? +[0-9]{4}"
    r"|[A-Z][a-z]{2},? [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8}(?: [AP]M)?(?: [+A-Z-][0-9A-Z]{2,4})?"
    r"|[0-9]{8}[-_T][0-9]{6}"
)


class _NoUnitError(ValueError):
    """A size has no unit.

    Args:
        refusal: the error for a complete line.
    """

    def __init__(self, refusal: InputError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass
class _Look:
    """One output."""

    line: int
    above: str
    """The text before the sizes, which may be a time."""
    sizes: dict[str, int] = field(default_factory=dict)
    level: str | None = None
    running_ns: int | None = None
    """The time since the phone was started, as printed by ``dumpsys``."""


def rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Yield the memory of one device over time.

    Raises:
        InputError: the log has no look, or one without a time; names the line.
    """
    looks = _add_times(path, options)
    _leave_out_cut_off(looks, options)
    estimated = sum("MemAvailable" not in look.sizes for _, look in looks)
    if estimated:
        options.notes.append(
            f"{estimated} of {len(looks)} looks have no MemAvailable: MemFree + Buffers + Cached instead"
        )
    for (before, _), (after, look) in pairwise(looks):
        if after < before:
            raise InputError(f"{printable(path)}: line {look.line}: the time of the look falls")
    start = looks[0][0]
    moments = [((t - start) / NS_PER_S, _known(path, look)) for t, look in looks]
    yield from rows_of_changes(options.name, moments)


def _leave_out_cut_off(looks: list[tuple[int, _Look]], options: ImportOptions) -> None:
    """Remove the last look if it lacks a size that all others have: the log ends within it."""
    others = [set(look.sizes) for _, look in looks[:-1]]
    if others and set.intersection(*others) & {"MemAvailable", "MemFree"} - set(looks[-1][1].sizes):
        options.notes.append(f"line {looks.pop()[1].line}: the last look is cut off: left out")


def _known(path: Path, look: _Look) -> Known:
    sizes = look.sizes
    if "MemAvailable" in sizes:
        available = sizes["MemAvailable"]
    elif "MemFree" in sizes:
        available = sum(sizes.get(name, 0) for name in ("MemFree", "Buffers", "Cached"))
    else:
        raise InputError(
            f"{printable(path)}: line {look.line}: the look has neither MemAvailable nor MemFree"
        )
    known: Known = {"mem_available_bytes": min(available, sizes.get("MemTotal", available))}
    if "MemTotal" in sizes:
        known["mem_total_bytes"] = sizes["MemTotal"]
    if look.level is not None:
        known["pressure"] = look.level
    return known


def _add_times(path: Path, options: ImportOptions) -> list[tuple[int, _Look]]:
    """Return the looks with their times in nanoseconds."""
    before, after, looks = _read(path, options, read_zone(options.zone))
    if not looks:
        raise InputError(
            f"{printable(path)}: holds no look at memory, neither MemAvailable of meminfo nor Free RAM of "
            "dumpsys; `peelfleet trace import columns` reads tables"
        )
    if options.every_ns is not None:
        return [(number * options.every_ns, look) for number, look in enumerate(looks)]
    for times in (before, after, [look.running_ns for look in looks]):
        if all(time is not None for time in times):
            return [(time, look) for time, look in zip(times, looks, strict=True) if time is not None]
    times = max((before, after), key=lambda column: sum(time is not None for time in column))
    look = next(look for time, look in zip(times, looks, strict=True) if time is None)
    above = "" if _LINE.fullmatch(look.above) else f" that is read in {printable(look.above, 60)!r} before it"
    raise InputError(
        f"{printable(path)}: line {look.line}: the look has no time{above}; "
        "--every says how far apart looks are"
    )


def _read(
    path: Path, options: ImportOptions, zone: tzinfo
) -> tuple[list[int | None], list[int | None], list[_Look]]:
    """Return the time before each look, the time after each, and the looks."""
    before: list[int | None] = []
    after: list[int | None] = []
    looks: list[_Look] = []
    time: int | None = None
    used = False
    """True if the last time belongs to a look already."""
    running: int | None = None
    open_look = False
    above = ""
    cut_off: InputError | None = None
    for number, line in read_lines(path, options.encoding):
        if cut_off is not None:
            raise cut_off
        try:
            sizes, prefix = _sizes(path, number, line)
        except _NoUnitError as error:  # the last line of a log may be cut off there
            cut_off = error.refusal
            continue
        stamp = _moment(prefix, zone, time)
        if stamp is not None:
            if not sizes and looks and after[-1] is None:
                after[-1] = stamp
            if stamp != time or not sizes:
                time, used = stamp, False
            open_look = open_look and bool(sizes)
        uptime = _REALTIME.search(line) or _COMPACT_TIME.match(line.strip())
        if uptime:
            running = int(uptime[1]) * 10**6
            open_look = False
        if not sizes:
            above = line if line.strip() else above
            continue
        if not open_look or any(name in looks[-1].sizes for name in sizes):
            looks.append(_Look(number, prefix if prefix.strip() else above, running_ns=running))
            before.append(None if used else time)
            after.append(None)
            used, running, open_look = True, None, True
        looks[-1].sizes |= sizes
        above = line
        level = _STATUS.search(line)
        if level and level[1].lower() in LEVELS:
            looks[-1].level = level[1].lower()
    if cut_off is not None and not looks:
        raise cut_off
    return before, after, looks


def _sizes(path: Path, number: int, line: str) -> tuple[dict[str, int], str]:
    """Return the sizes in a line by their names in meminfo, and the text before them."""
    sizes: dict[str, int] = {}
    begin = len(line)
    for match in _FIELD.finditer(line):
        if match[3] is None:
            raise _NoUnitError(
                InputError(f"{printable(path)}: line {number}: {match[1]}(={match[2][:20]}) must have a unit")
            )
        sizes[match[1]] = _size(path, number, match[1], match[2]) * _unit(path, number, match[3])
        begin = min(begin, match.start())
    for match in _DUMP.finditer(line):
        digits = re.sub("[^0-9]", "", match[2])
        name = "MemTotal" if match[1].lower() == "total" else "MemAvailable"
        sizes[name] = _size(path, number, name, digits) * _unit(path, number, match[3])
        begin = min(begin, match.start())
    compact = _COMPACT.match(line.strip())
    if compact:
        return {"MemTotal": int(compact[1]) * 2**10, "MemAvailable": int(compact[2]) * 2**10}, ""
    return sizes, line[:begin]


def _size(path: Path, number: int, name: str, digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise InputError(
            f"{printable(path)}: line {number}: {name}(={printable(digits, 20)}) must have at most "
            f"{MOST_DIGITS} digits"
        )
    return int(digits)


def _unit(path: Path, number: int, unit: str) -> int:
    size = SIZES.get(unit.upper())
    if size is None:
        raise InputError(f"{printable(path)}: line {number}: unit(={printable(unit, 20)}) must be kB")
    return size


def _moment(text: str, zone: tzinfo, before_ns: int | None) -> int | None:
    """Return the time in a line, or in the text before its sizes; None if it is not a time."""
    if len(text) > 200:
        return None
    bare = _LABEL.sub("", text.strip().strip("#=-*_[](){}<>|,;\"' \t").rstrip(":").strip()).strip()
    uptime, of_day, logcat = (pattern.fullmatch(bare) for pattern in (_UPTIME, _DAY_CLOCK, _LOGCAT))
    if of_day:
        return _of_day(of_day, before_ns)
    if uptime or logcat:
        bare = uptime[1] if uptime else f"{LEAP_YEAR}-{logcat[1]}" if logcat else bare
    unit = "s" if uptime else "epoch" if _NUMBER.fullmatch(bare) else "iso"
    if unit == "iso" and not logcat and not _CLOCK.fullmatch(bare):
        return None
    try:
        return read_moment_ns(bare, unit, zone, before_ns)
    except (ValueError, ArithmeticError):
        return None


def _of_day(clock: re.Match[str], before_ns: int | None) -> int:
    """Return the time of a clock without a date; a new day begins when it falls."""
    seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])
    within = seconds * NS_PER_S + round(float(clock[4] or 0) * NS_PER_S)
    days = (before_ns or 0) // DAY_NS
    return within + DAY_NS * (days + (before_ns is not None and within < before_ns % DAY_NS))


def sidecar(path: Path, options: ImportOptions) -> Sidecar:
    """Return the sidecar."""
    return Sidecar(
        source=f"a log of memory, {source_name(path)}",
        licence="as its source",
        sampling="a look for each block of the log, those that change nothing left out",
        transform="mem_available_bytes is MemAvailable of meminfo, or Free RAM of dumpsys; kB and "
        f"K are KiB; dates without a time zone taken as {printable(options.zone)}; from the first look",
    )


IMPORTER = Importer("a log of /proc/meminfo or dumpsys meminfo", rows, sidecar)
