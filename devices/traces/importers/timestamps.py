"""Times as other projects write them: numbers with a unit, ISO 8601, and the output of ``date``."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from devices.traces.cells import read_number
from wire.errors import InputError

UNITS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
TIME_UNITS: Final = (*UNITS, "iso", "epoch")
MOST_NS: Final = 2**63
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])([0-9]{2}):?([0-9]{2})")
_DATE = re.compile(
    r"[A-Za-z]{3},? +([A-Za-z]{3}) +([0-9]{1,2}) +([0-9:]{8}) +"
    r"(?:(UTC|GMT|[A-Z]{2,5}|[+-][0-9]{2,4}) +)?([0-9]{4})"
)


def read_zone(text: str) -> tzinfo:
    """Return the time zone *text*, a name such as Europe/Berlin or an offset such as +02:00.

    Raises:
        InputError: it is not a time zone.
    """
    offset = _OFFSET.fullmatch(text)
    if offset is not None:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(span if offset[1] == "+" else -span) if span < timedelta(days=1) else _no_zone(text)
    if text in ("UTC", "GMT", "Z"):
        return UTC
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _no_zone(text)


def read_moment_ns(value: Any, unit: str, zone: tzinfo = UTC, after_ns: int | None = None) -> int:
    """Return *value* in nanoseconds: since any moment for numbers, since 1970 for dates.

    Args:
        value: a number, a text or a ``datetime``.
        unit: one of `TIME_UNITS`; `epoch` is a number since 1970, its unit found from its size.
        zone: the time zone of dates without one.
        after_ns: the time before it; decides between the two times of an hour that occurs twice.

    Raises:
        ValueError: it is not a time of this unit.
    """
    if unit == "iso" or isinstance(value, datetime):
        return _date_ns(value if isinstance(value, datetime) else _date(str(value)), zone, after_ns)
    number = Decimal(read_number(value))
    if unit == "epoch":
        # Up to the year 5000 in seconds; a larger number is in a finer unit.
        unit = next((name for name, most in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if number < most), "ns")
    nanoseconds = number * UNITS[unit]
    if not 0 <= nanoseconds < MOST_NS:
        raise ValueError
    return round(nanoseconds)


def _date(text: str) -> datetime:
    """Return the date in *text*, in ISO 8601 or as ``date`` prints it.

    Raises:
        ValueError: it is not a date.
    """
    text = " ".join(text.split())[:64]
    words = re.sub(r" (UTC|GMT|Z)$", "+00:00", text)
    words = re.sub(r" ([+-][0-9]{2}:?[0-9]{2})$", r"\1", words)
    words = re.sub(r"^([0-9]{8})[-_T]([0-9]{6})$", r"\1T\2", words)
    words = re.sub(r"^([0-9]{4})/([0-9]{2})/([0-9]{2})", r"\1-\2-\3", words)
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}T", words):
        return datetime.fromisoformat(words)
    printed = _DATE.fullmatch(text)
    if printed is not None:
        zone = printed[4] if printed[4] in ("UTC", "GMT") else ""
        moment = datetime.strptime(
            f"{printed[1]} {printed[2]} {printed[3]} {printed[5]}", "%b %d %H:%M:%S %Y"
        )
        return moment.replace(tzinfo=UTC) if zone else moment
    half = re.fullmatch(
        r"[A-Z][a-z]{2},? ([0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} [AP]M)(?: (\w+))?", text
    )
    if half is not None:
        moment = datetime.strptime(half[1], "%d %b %Y %I:%M:%S %p")
        return moment.replace(tzinfo=UTC) if half[2] in ("UTC", "GMT") else moment
    try:
        return parsedate_to_datetime(text)
    except (TypeError, IndexError, OverflowError):
        raise ValueError from None


def _date_ns(moment: datetime, zone: tzinfo, after_ns: int | None) -> int:
    if moment.tzinfo is not None:
        return _since_1970(moment)
    first = _since_1970(moment.replace(tzinfo=zone))
    second = _since_1970(moment.replace(tzinfo=zone, fold=1))
    return second if after_ns is not None and first < after_ns <= second else first


def _since_1970(moment: datetime) -> int:
    try:
        span = moment - _EPOCH
    except OverflowError:
        raise ValueError from None
    return (span.days * 86_400 + span.seconds) * 10**9 + span.microseconds * 1000


def _no_zone(text: str) -> tzinfo:
    raise InputError(f"--time-zone(={text!r}) must be a time zone, such as Europe/Berlin or +02:00")
