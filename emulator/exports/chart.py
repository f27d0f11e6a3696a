"""A chart to draw: panels with curves over bytes, or with a dot per name. Pure data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ChartSeries:
    """Points with half-widths of their intervals; a half-width is None where there is none."""

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    half_widths: Sequence[float | None]
    level: bool = False
    """True for one value to compare with: a line from side to side, wherever its x is."""


@dataclass(frozen=True)
class ChartPanel:
    """One pair of axes."""

    x_label: str
    y_label: str
    series: Sequence[ChartSeries]


@dataclass(frozen=True)
class Chart:
    """Panels side by side, with a caption that says what the intervals are over."""

    kind: Literal["bytes", "names"]
    """``bytes``: x is a number of bytes, on a logarithmic axis; ``names``: x is a name."""
    panels: Sequence[ChartPanel]
    caption: str
