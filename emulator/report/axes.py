"""Lines, axes and units of the report's figures, as JSON for plotly.

A colour means the same in all figures. The palette can be told apart by colour-blind readers, on white and on
black.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.report.keyed_sums import FloatArray
from wire.units import BYTE_UNITS, approximate_bytes

Json = dict[str, object]
"""A trace or a part of a layout of plotly."""

BUDGET, HELD, FULL = "#2a85c7", "#d97b00", "#7d8894"
SENT, WIRE, WASTED = "#1a9e74", "#56b4e9", "#a3850b"
LOST, SUPERSEDED, REJECTED = "#d5541c", "#b8649c", "#8a7bd1"

_BYTE_UNITS = {unit: BYTE_UNITS[unit] for unit in ("GiB", "MiB", "KiB")}
_TIME_UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60}
_STEPS = (1, 2, 3, 5, 6, 10, 12, 15, 20, 24, 30, 60)
_DIGITS = 6


@dataclass(frozen=True)
class DisplayUnit:
    """A unit for display and its size."""

    name: str
    size: float


def time_unit(seconds: float) -> DisplayUnit:
    """Return the largest unit of which *seconds* are at least three."""
    name = next((name for name, size in _TIME_UNITS.items() if seconds >= 3 * size), "seconds")
    return DisplayUnit(name, _TIME_UNITS.get(name, 1))


def byte_unit(size: float) -> DisplayUnit:
    """Return the largest binary unit of which *size* is at least one and a half."""
    name = next((name for name, unit in _BYTE_UNITS.items() if size >= 1.5 * unit), "B")
    return DisplayUnit(name, BYTE_UNITS[name])


def json_numbers(values: NDArray[np.generic] | Sequence[float]) -> list[float | None]:
    """Return *values* rounded for a figure, with None for NaN and infinity; a whole number has no point."""
    rounded = (
        float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
        for value in np.asarray(values).tolist()
    )
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]


def sampled_line(
    name: str, values: FloatArray, color: str, stop_s: float, unit: str, *, lower: bool = False
) -> Json:
    """Return a line through values on an even grid from 0 to *stop_s*; it starts at the first number."""
    known = np.flatnonzero(np.isfinite(values))
    first = int(known[0]) if len(known) else 0
    step = stop_s / time_unit(stop_s).size / max(len(values) - 1, 1)
    trace: Json = {
        **step_style(name, color),
        "x0": first * step,
        "dx": step,
        "y": json_numbers(values[first:]),
        "hovertemplate": f"%{{y:.4g}} {unit}".rstrip(),
    }
    return trace | ({"yaxis": "y2", "showlegend": False} if lower else {})


def cross_marks(name: str, x: Sequence[object], y: Sequence[object]) -> Json:
    """Return marks for points that should not occur."""
    marker: Json = {"symbol": "x", "size": 6, "color": LOST}
    return {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": y, "marker": marker}


def format_seconds(seconds: float) -> str:
    """Return *seconds* rounded for display, such as ``134 ms``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    unit = time_unit(seconds)
    return f"{seconds / unit.size:.3g} {unit.name}"


def transparent(color: str, opacity: float = 0.16) -> str:
    """Return *color*, ``#rrggbb``, nearly transparent."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def step_style(name: str, color: str) -> Json:
    """Return the style of a step line, without points."""
    return {"type": "scatter", "mode": "lines", "name": name, **line_style(color, 2)}


def line_style(color: str, width: float, *, dash: str = "solid") -> Json:
    """Return width, colour and dash of a step line."""
    return {"line": {"color": color, "width": width, "dash": dash, "shape": "hv"}}


def step_line(
    name: str, edges: Sequence[float | None], values: NDArray[np.generic], color: str, unit: str
) -> Json:
    """Return a line that is constant in each bin; the last value is repeated at the last edge."""
    y = json_numbers(values)
    return step_style(name, color) | {"x": edges, "y": [*y, *y[-1:]], "hovertemplate": f"%{{y:,.4g}} {unit}"}


def axis(title: str, **more: object) -> Json:
    """Return an axis with a title."""
    return {"title": {"text": title}, "automargin": True, **more}


def time_axis(stop_s: float, end_s: float | None = None) -> Json:
    """Return the axis of simulated time, in a unit that fits *stop_s*."""
    unit = time_unit(stop_s)
    end = max(end_s or 0.0, stop_s) / unit.size
    step = next((float(step) for step in _STEPS if end / step <= 9), None)
    return axis(
        f"simulated time ({unit.name})",
        range=[0, end],
        hoverformat=".2f",
        **({"dtick": step} if step else {}),
    )


def log_axis(title: str, values: Sequence[float], texts: Sequence[str]) -> Json:
    """Return a logarithmic axis with *texts* at *values*."""
    return axis(title, type="log", tickvals=list(values), ticktext=list(texts))


def time_ticks(edges_s: FloatArray) -> tuple[list[float], list[str]]:
    """Return positions and texts of ticks between the first and the last of *edges_s*."""
    low, high = float(edges_s[0]), float(edges_s[-1])
    factors = (1, 2, 5) if high / low < 300 else (1, 3) if high / low < 1e5 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = _within([factor * 10.0**decade for decade in decades for factor in factors], low, high)
    return ticks, [format_seconds(tick) for tick in ticks]


def byte_ticks(edges_bytes: FloatArray) -> tuple[list[float], list[str]]:
    """Return positions and texts of ticks between the first and the last of *edges_bytes*."""
    low, high = float(edges_bytes[0]), float(edges_bytes[-1])
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    ticks = _within([2.0**power for power in range(first, last + 1, max(1, (last - first) // 8))], low, high)
    return ticks, [approximate_bytes(tick) for tick in ticks]


def _within(ticks: Sequence[float], low: float, high: float) -> list[float]:
    """Return the *ticks* that are on the axis, or other ones if there are fewer than two."""
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) > 1 else np.geomspace(low, high, 4).tolist()


def maximum(*curves: NDArray[np.generic]) -> float:
    """Return the largest number in *curves*; 0 if there is none."""
    values = np.concatenate([np.asarray(curve, dtype=np.float64) for curve in curves])
    return float(np.nanmax(values)) if np.isfinite(values).any() else 0.0


def empty_layout(text: str) -> Json:
    """Return the layout of a figure without data."""
    note: Json = {"text": text, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
    return {"xaxis": {"visible": False}, "yaxis": {"visible": False}, "annotations": [note]}


def vertical_mark(x: float) -> Json:
    """Return a dotted vertical line at *x*."""
    dotted: Json = {"color": FULL, "width": 1.5, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": dotted}
