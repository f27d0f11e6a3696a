"""A file of what a user has met: an item a line, or an item and a time, as CSV.

The order of the lines counts; where every line has a time, the times. A first line whose time is none is a
heading. A time is a number, such as seconds, or a date as in ISO 8601.
"""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from wire.errors import InputError
from wire.input_files import read_at_most
from wire.text import printable
from wire.units import BYTE_UNITS

MAX_INTERACTIONS_BYTES = BYTE_UNITS["GiB"]


def read_interactions(path: Path) -> list[str]:
    """Return the names of the items in the file *path*, in the order in which they were met.

    Raises:
        InputError: it cannot be read, or a line is no item, or no item and time.
    """
    try:
        raw = read_at_most(path, MAX_INTERACTIONS_BYTES, "a file of interactions", pipes=True)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from None
    return parse_interactions(raw, printable(path), heading=True)


def parse_interactions(raw: bytes, name: str, *, heading: bool) -> list[str]:
    """Return the names of the items in lines of such a file, in the order in which they were met.

    Args:
        raw: whole lines, UTF-8.
        name: the name of the file, for errors.
        heading: whether the first line may be a heading.

    Raises:
        InputError: a line is no item, or no item and time.
    """
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: must be UTF-8: {error.reason} at byte {error.start}") from None
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(lines), 1) if row]
    except csv.Error as error:
        raise InputError(f"{name}: is no CSV: {error}") from None
    if not rows:
        return []
    columns = len(rows[0][1])
    if heading and columns == 2 and _time(rows[0][1][1]) is None:
        rows = rows[1:]
    for number, row in rows:
        if columns > 2 or len(row) != columns or not row[0].strip():
            raise InputError(
                f"{name}, line {number}: {printable(','.join(row), 40)!r} must be an item, or an item and a "
                "time, as in all other lines"
            )
    if columns == 1:
        return [row[0].strip() for _, row in rows]
    return [row[0].strip() for row in _by_time(rows, name)]


def _by_time(rows: Sequence[tuple[int, list[str]]], name: str) -> list[list[str]]:
    timed = []
    for number, row in rows:
        if (moment := _time(row[1])) is None:
            raise InputError(
                f"{name}, line {number}: time(={printable(row[1], 40)!r}) must be a number or an ISO 8601 "
                "date"
            )
        timed.append((moment, row))
    return [row for _, row in sorted(timed, key=lambda each: each[0])]  # stable: equal times keep their order


def _time(text: str) -> float | None:
    """Return a time as a number that rises; None if *text* is none."""
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return number if number == number else None  # not a number is no time
