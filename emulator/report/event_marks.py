"""Faults, stages and actions on the figures over simulated time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from emulator.report.axes import FULL, LOST, Json, time_unit, transparent
from emulator.report.figures import ReportFigure, View

SummaryDict = Mapping[str, Any]  # Any: JSON


def mark_events(figure: ReportFigure, summary: SummaryDict) -> ReportFigure:
    """Return a *figure* over simulated time with shaded faults and marks for stages and actions."""
    simulated = float(summary["simulated_seconds"])
    shapes, notes = _marks(summary, simulated)
    if not shapes:
        return figure
    return replace(figure, views=[_with_marks(view, shapes, notes) for view in figure.views])


def _with_marks(view: View, shapes: Sequence[Json], notes: Sequence[Json]) -> View:
    layout = {**view.layout}
    for key, more in (("shapes", shapes), ("annotations", notes)):
        present = layout.get(key, [])
        assert isinstance(present, list)
        layout[key] = [*present, *more]
    return replace(view, layout=layout)


def _marks(summary: SummaryDict, simulated: float) -> tuple[list[Json], list[Json]]:
    size = time_unit(simulated).size
    shapes: list[Json] = []
    for start, end in _merged(summary.get("faults") or ()):
        if start < simulated:
            shapes.append(_band(start / size, min(end, simulated) / size))
    starts = [action["start_seconds"] for action in summary.get("actions") or ()]
    shapes += [_upright(start / size, "dot") for start in starts if start < simulated]
    notes: list[Json] = []
    for stage in summary.get("stages") or ():
        if stage["start_seconds"] < simulated:
            at = stage["start_seconds"] / size
            shapes.append(_upright(at, "solid"))
            notes.append(_name(escape(stage["name"]), at))
    return shapes, notes


def _merged(spans: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:  # Any: JSON
    """Return the union of *spans*, so that overlapping faults are shaded once."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted((span["start_seconds"], span["end_seconds"]) for span in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _band(start: float, end: float) -> Json:
    over: Json = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0}}
    return {"type": "rect", "x0": start, "x1": end, "fillcolor": transparent(LOST, 0.08), **over}


def _upright(at: float, dash: str) -> Json:
    over: Json = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "line": {"color": transparent(FULL, 0.6), "width": 1, "dash": dash},
        **over,
    }


def _name(text: str, at: float) -> Json:
    return {
        "text": text,
        "x": at,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "showarrow": False,
        "font": {"size": 11},
    }
