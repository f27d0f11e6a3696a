"""The table of ``trace inspect``: one line per series, in 80 columns; no number is cut."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from wire.text import printable
from wire.units import approximate_bytes

if TYPE_CHECKING:
    from devices.traces.inspect import TraceStatistics, TraceSummary

WIDTH: Final = 80
HEADER: Final = ("series", "rows", "span", "least", "median", "most", "online", "changes/h")
LONGEST_NAME: Final = 24
"""A longer name is on its own line."""


def table(summary: "TraceSummary", most: int) -> Iterator[str]:
    """Yield the lines of a table: one for each of the first *most* series, and one for all together."""
    shown = [(printable(name) or "(one)", figures) for name, figures in list(summary.series.items())[:most]]
    lines = [(name, _cells(figures), figures.pressure_shares) for name, figures in shown]
    overall = ("all", _cells(summary.overall), summary.overall.pressure_shares)
    rows = [HEADER[1:], *(cells for _, cells, _ in [*lines, overall])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = min(max(WIDTH - sum(widths) - 2 * len(widths), len(HEADER[0])), LONGEST_NAME)
    first = max(len(name) for name in ["series", *(name for name, _, _ in lines)] if len(name) <= room)
    yield from _line("series", HEADER[1:], first, widths)
    for name, cells, pressure in lines:
        yield from _line(name, cells, first, widths)
        yield from _pressure(pressure)
    if len(summary.series) > most:
        yield f"... {len(summary.series) - most} more"
    yield from _line("all", overall[1], first, widths)
    yield from _pressure(overall[2])


def _line(name: str, cells: tuple[str, ...], first: int, widths: list[int]) -> Iterator[str]:
    if len(name) > first:
        yield name
        name = ""
    numbers = (f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    yield f"{name:<{first}}{''.join(numbers)}"


def _pressure(shares: Mapping[str, float]) -> Iterator[str]:
    if shares:
        yield "  pressure: " + ", ".join(f"{level} {share:.1%}" for level, share in shares.items())


def _cells(figures: "TraceStatistics") -> tuple[str, ...]:
    sizes = [approximate_bytes(size) for size in figures.available or ()] or ["-"] * 3
    return (
        str(figures.rows),
        _span(figures.span_s),
        *sizes,
        "-" if figures.online_share is None else f"{figures.online_share:.1%}",
        "-" if figures.changes_per_hour is None else f"{figures.changes_per_hour:.4g}",
    )


def _span(seconds: float) -> str:
    """Return a span in a unit that needs few digits."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return (
                f"{seconds / size:.1f} {unit}" if seconds < 10_000 * size else f"{seconds / size:,.0f} {unit}"
            )
    return f"{seconds:.4g} s"
