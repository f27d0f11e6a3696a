"""The figures of a report as figures of plotly, for notebooks and files."""

import re
from collections.abc import Mapping
from typing import Any, Final

import plotly.graph_objects as go

from emulator.report.axes import Json
from emulator.report.figures import ReportFigure, View

_TEXT, _GRID, _LINE = "#48535d", "#e9edf0", "#b9c2ca"
_AXIS: Final = re.compile(r"[xy]axis\d*")
_LEGEND: Final[Json] = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"}


def to_plotly(figure: ReportFigure, view: View) -> go.Figure:
    """Return a view of a report's *figure*, in the colours of the report on a white page."""
    drawn = base_figure(figure.finding, figure.height + 40)
    drawn.add_traces([dict(trace) for trace in view.data])
    drawn.update_layout(with_axis_style(view.layout))
    return drawn


def base_figure(title: str, height: int) -> go.Figure:
    """Return an empty figure with the style of a report's figures."""
    return go.Figure(
        layout={
            "title": {"text": title, "font": {"size": 15}, "x": 0, "xref": "paper"},
            "height": height,
            "template": "none",
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "font": {"size": 12.5, "color": _TEXT},
            "margin": {"l": 64, "r": 16, "t": 78, "b": 48},
            "hovermode": "x unified",
            "legend": _LEGEND,
        }
    )


def with_axis_style(layout: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Return *layout* with the lines and colours of a report's axes."""
    style: Json = {
        "gridcolor": _GRID, "linecolor": _LINE, "tickcolor": _LINE, "zeroline": False, "showline": True,
    }  # fmt: skip
    return {key: style | value if _AXIS.fullmatch(key) else value for key, value in layout.items()}
