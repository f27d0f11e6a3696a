"""Quantities: types with a unit, and the text in which people write them.

Text is converted exactly or refused: ``"64 MiB"``, ``"250 ms"``, ``"1 h 30 min"``, ``"5 Mbps"``,
``"0.5 %"``. A number without a unit is refused, except 0, which is the same in every unit.
"""

import re
from fractions import Fraction


class Bytes(int):
    """A number of bytes."""


class Duration(int):
    """A span of time in integer nanoseconds; sums of floats would depend on their order."""


class BitsPerSecond(int):
    """A data rate."""


class Share(float):
    """A fraction from 0 to 1."""


NS_PER_S = 1_000_000_000

BYTE_UNITS = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
TIME_UNITS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": NS_PER_S,
    "min": 60 * NS_PER_S, "h": 3600 * NS_PER_S, "d": 86400 * NS_PER_S,
}  # fmt: skip
RATE_UNITS = {
    "bps": 1, "kbps": 10**3, "Mbps": 10**6, "Gbps": 10**9,
    "B/s": 8, "kB/s": 8 * 10**3, "MB/s": 8 * 10**6, "KiB/s": 8 * 2**10, "MiB/s": 8 * 2**20,
}  # fmt: skip

MAX_TEXT = 400
"""Largest number of characters of a quantity; the search in a very long text takes too long."""

_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_TERM = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z/%]+)")


def parse_bytes(value: object) -> Bytes:
    """Read ``"64 MiB"``; decimal units are kB, MB, GB, binary ones KiB, MiB, GiB.

    Raises:
        ValueError: the text has another form, or is not a whole number of bytes.
    """
    return Bytes(_parse(value, BYTE_UNITS, "bytes", "64 MiB"))


def parse_duration(value: object) -> Duration:
    """Read ``"250 ms"`` or ``"1 h 30 min"``, exact to the nanosecond.

    Raises:
        ValueError: the text has another form, or is not a whole number of nanoseconds.
    """
    return Duration(_parse(value, TIME_UNITS, "a duration", "250 ms", several=True))


def parse_rate(value: object) -> BitsPerSecond:
    """Read ``"5 Mbps"`` (bits) or ``"200 kB/s"`` (bytes).

    Raises:
        ValueError: the text has another form, or is not a whole number of bits a second.
    """
    return BitsPerSecond(_parse(value, RATE_UNITS, "a data rate", "5 Mbps"))


def parse_share(value: object) -> Share:
    """Read ``"5 %"`` or a number from 0 to 1.

    Raises:
        ValueError: it is neither, or outside 0 to 1.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    else:
        short = isinstance(value, str) and len(value) <= MAX_TEXT
        match = _TERM.fullmatch(value.strip()) if isinstance(value, str) and short else None
        if match is None or match[2] != "%":
            raise ValueError(f"cannot read {value!r} as a share: write for example '5 %' or 0.05")
        share = float(Fraction(match[1]) / 100)
    if not 0.0 <= share <= 1.0:
        hint = f"; did you mean '{value} %'?" if 1.0 < share <= 100.0 and not isinstance(value, str) else ""
        raise ValueError(f"share(={value}) must be from 0 to 1, or 0 % to 100 %{hint}")
    return Share(share)


def read_share(text: str) -> Share:
    """Read a share from a command line: ``"5 %"``, ``"0.05"`` or ``".05"``.

    Raises:
        ValueError: the text is not a share.
    """
    plain = _PLAIN_NUMBER.fullmatch(text.strip())
    return parse_share((int if plain[0].isdigit() else float)(plain[0]) if plain else text)


def format_bytes(size: int) -> str:
    """Return the shortest exact text for *size*, which `parse_bytes` reads back."""
    return _format(size, {unit: BYTE_UNITS[unit] for unit in ("TiB", "GiB", "MiB", "KiB", "B")})


def format_duration(span: int) -> str:
    """Return the shortest exact text for *span* nanoseconds, which `parse_duration` reads back."""
    return _format(span, dict(reversed(TIME_UNITS.items())))


def format_rate(rate: int) -> str:
    """Return the shortest exact text for *rate*, which `parse_rate` reads back."""
    return _format(rate, {unit: RATE_UNITS[unit] for unit in ("Gbps", "Mbps", "kbps", "bps")})


def format_share(share: float) -> str:
    """Return *share* in percent where that is exact, which `parse_share` reads back."""
    percent = f"{float(Fraction(repr(float(share))) * 100)!r}".removesuffix(".0") + " %"
    return percent if _TERM.fullmatch(percent) and parse_share(percent) == share else repr(float(share))


def approximate_bytes(size: float) -> str:
    """Return *size* rounded for people, such as ``1.4 MiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(size) >= BYTE_UNITS[unit]:
            return (
                f"{size / BYTE_UNITS[unit]:.3g} {unit}"
                if abs(size) < 1000 * BYTE_UNITS[unit]
                else (f"{size / BYTE_UNITS[unit]:,.0f} {unit}")
            )
    return f"{size:.0f} B"


def _parse(value: object, units: dict[str, int], what: str, example: str, *, several: bool = False) -> int:
    if value == 0 and not isinstance(value, bool):
        return 0
    text = value.strip() if isinstance(value, str) and len(value) <= MAX_TEXT else ""
    terms = _TERM.findall(text)
    only_terms = _TERM.sub("", text).strip() == ""
    if (
        not terms
        or not only_terms
        or (len(terms) > 1 and not several)
        or any(u not in units for _, u in terms)
    ):
        raise ValueError(
            f"cannot read {value!r} as {what}: write for example '{example}' (units: {', '.join(units)})"
        )
    total = sum(Fraction(number) * units[unit] for number, unit in terms)
    if total.denominator != 1:
        raise ValueError(f"cannot read {value!r} as {what}: it is not a whole number of the smallest unit")
    return int(total)


def _format(value: int, units: dict[str, int]) -> str:
    if value == 0:
        return f"0 {'s' if 's' in units else list(units)[-1]}"
    for unit, size in units.items():
        thousandths = Fraction(int(value) * 1000, size)
        if thousandths >= 1000 and thousandths.denominator == 1:
            whole, rest = divmod(int(thousandths), 1000)
            return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{int(value)} {list(units)[-1]}"
