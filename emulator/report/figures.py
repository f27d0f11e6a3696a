"""The figures of a report over time, as traces and layouts for plotly. A figure has one or more views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from emulator.report import findings
from emulator.report.axes import (
    BUDGET,
    FULL,
    HELD,
    LOST,
    REJECTED,
    SENT,
    SUPERSEDED,
    WASTED,
    WIRE,
    DisplayUnit,
    Json,
    axis,
    byte_unit,
    cross_marks,
    format_seconds,
    json_numbers,
    line_style,
    maximum,
    sampled_line,
    step_line,
    step_style,
    time_axis,
    time_unit,
    transparent,
)
from emulator.report.example_devices import DeviceTrajectory
from emulator.report.fleet_views import FLEET
from emulator.report.keyed_sums import FloatArray
from emulator.report.state_series import FleetSeries, PercentileBand
from emulator.report.update_sums import TrafficSeries
from wire.units import NS_PER_S, approximate_bytes

_LEAST_VISIBLE = 0.005
"""A curve that never reaches this share of the figure's height is not drawn: it would lie on the axis."""
UPPER, LOWER = (0.37, 1.0), (0.0, 0.27)
"""Heights of the two parts of a figure."""
_HIGH_UPPER, _THIN_LOWER = (0.3, 1.0), (0.0, 0.18)


@dataclass(frozen=True)
class View:
    """One way to look at a figure."""

    label: str
    data: Sequence[Json]
    layout: Json


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report."""

    kind: ClassVar[str] = "figure"
    name: str
    """Part of ids in the page."""
    topic: str
    finding: str
    """A sentence on what is seen."""
    caption: str
    """Explanation for the reader."""
    views: Sequence[View]
    choose: str = "show"
    """Label of the selector of views."""
    height: int = 430


def budget_figure(courses: Mapping[str, FleetSeries], stop_s: float) -> ReportFigure:
    """Return budget and bytes held over time."""
    return ReportFigure(
        "budget",
        "Budget and bytes held",
        findings.budget_finding(courses[FLEET]),
        "The budget of a device and the bytes that its embeddings take. Above: the median over devices and "
        "the range of the middle 80 % (budget shaded, held dotted). Below: the sums over all devices. Held "
        "bytes follow the budget in steps of whole layers, up to the size of the full table.",
        [_budget_view(label, course, stop_s) for label, course in courses.items()],
        height=500,
    )


def _budget_view(label: str, course: FleetSeries, stop_s: float) -> View:
    single = byte_unit(maximum(course.budget.high, course.resident.high))
    all_ = byte_unit(maximum(course.total_budget, course.total_resident))
    data = [
        *_band(course.budget, single, stop_s),
        *_outline(course.resident, single, stop_s),
        sampled_line("budget, median", course.budget.median / single.size, BUDGET, stop_s, single.name),
        sampled_line("held, median", course.resident.median / single.size, HELD, stop_s, single.name),
        sampled_line("budget, sum", course.total_budget / all_.size, BUDGET, stop_s, all_.name, lower=True),
        sampled_line("held, sum", course.total_resident / all_.size, HELD, stop_s, all_.name, lower=True),
    ]
    return View(
        label,
        data,
        {
            "xaxis": time_axis(stop_s) | {"anchor": "y2"},
            "yaxis": axis(f"per device ({single.name})", rangemode="tozero", domain=UPPER),
            "yaxis2": axis(f"all devices ({all_.name})", rangemode="tozero", domain=LOWER, nticks=4),
        },
    )


def _band(spread: PercentileBand, unit: DisplayUnit, stop_s: float) -> list[Json]:
    """Return the middle 80 % of budgets as a surface."""
    low = sampled_line("budget, 10 %", spread.low / unit.size, BUDGET, stop_s, unit.name)
    high = sampled_line("budget, 10 to 90 %", spread.high / unit.size, BUDGET, stop_s, unit.name)
    edge: Json = {"line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
    fill: Json = {"fill": "tonexty", "fillcolor": transparent(BUDGET)}
    return [low | edge | {"showlegend": False}, high | edge | fill]


def _outline(spread: PercentileBand, unit: DisplayUnit, stop_s: float) -> list[Json]:
    """Return the middle 80 % of bytes held as two lines: two overlapping surfaces could not be read."""
    low = sampled_line("held, 10 %", spread.low / unit.size, HELD, stop_s, unit.name)
    high = sampled_line("held, 10 to 90 %", spread.high / unit.size, HELD, stop_s, unit.name)
    thin = line_style(transparent(HELD, 0.75), 1, dash="dot") | {"hoverinfo": "skip"}
    return [low | thin | {"showlegend": False}, high | thin]


def quality_figure(courses: Mapping[str, FleetSeries], stop_s: float) -> ReportFigure:
    """Return mean quality over time."""
    return ReportFigure(
        "quality",
        "Quality over time",
        findings.quality_finding(courses[FLEET]),
        "Mean NDCG@10 over the devices: of the PEE held, of the best PEE for the budget, and of the full "
        "table. The gap between held and best comes from waiting for updates, the gap between best and "
        "full from too little memory. The axis does not start at zero, and leaves out the time before the "
        "first updates.",
        [_quality_view(label, course, stop_s) for label, course in courses.items()],
        height=380,
    )


def _quality_view(label: str, course: FleetSeries, stop_s: float) -> View:
    data = [
        sampled_line("full table", course.full, FULL, stop_s, "") | line_style(FULL, 1.5, dash="dash"),
        sampled_line("best for the budget", course.best, BUDGET, stop_s, "")
        | line_style(transparent(BUDGET, 0.45), 5),
        sampled_line("held", course.ndcg, HELD, stop_s, ""),
    ]
    return View(
        label, data, {"xaxis": time_axis(stop_s), "yaxis": axis("mean NDCG@10", **_settled_range(course))}
    )


def _settled_range(course: FleetSeries) -> Json:
    """Return the range of an axis that shows all values after the fleet's first updates."""
    first = course.settled_at
    if first is None:
        return {"rangemode": "tozero"}
    shown = np.concatenate([curve[first:] for curve in (course.ndcg, course.best, course.full)])
    low, high = float(shown.min()), float(shown.max())
    margin = max(0.08 * (high - low), 0.01 * high)
    return {"range": [max(low - margin, 0.0), high + margin]}


def device_figure(
    trajectories: Sequence[DeviceTrajectory], stop_s: float, titles: Mapping[str, Sequence[str]]
) -> ReportFigure:
    """Return the trajectories of chosen devices, with the *titles* that are recommended to their users."""
    films = " After a colon: the first recommendations for its user, by the whole table." if titles else ""
    sampled = any(trajectory.sampled for trajectory in trajectories)
    note = " A device with too many changes is drawn at sampled times." if sampled else ""
    return ReportFigure(
        "devices",
        "Single devices",
        findings.device_finding(trajectories),
        "One device at a time, with the reason why it was chosen. Above: its budget and the bytes held (a "
        "cross where it holds more than its budget). Below: the NDCG@10 of its user with the PEE held, with "
        f"the best PEE for its budget, and with the full table.{films}{note}",
        [_trajectory_view(each, stop_s, titles.get(each.device, ())) for each in trajectories],
        choose="device",
        height=500,
    )


def _trajectory_view(trajectory: DeviceTrajectory, stop_s: float, titles: Sequence[str]) -> View:
    time, unit = time_unit(stop_s), byte_unit(maximum(trajectory.budget_bytes, trajectory.resident_bytes))
    x = json_numbers(trajectory.seconds / time.size)
    over = trajectory.resident_bytes > trajectory.budget_bytes
    held = trajectory.resident_bytes / unit.size

    def course(name: str, y: FloatArray, color: str, suffix: str = "") -> Json:
        return step_style(name, color) | {
            "x": x,
            "y": json_numbers(y),
            "hovertemplate": f"%{{y:.4g}} {suffix}".rstrip(),
        }

    lower: Json = {"yaxis": "y2"}
    hidden: Json = lower | {"showlegend": False}
    data = [
        course("budget", trajectory.budget_bytes / unit.size, BUDGET, unit.name),
        course("held", held, HELD, unit.name) | {"fill": "tozeroy", "fillcolor": transparent(HELD)},
        course("full table", trajectory.full, FULL) | line_style(FULL, 1.5, dash="dash") | lower,
        course("best for the budget", trajectory.best, BUDGET)
        | line_style(transparent(BUDGET, 0.45), 5)
        | lower,
        course("held", trajectory.ndcg, HELD) | hidden,
    ]
    if over.any():
        data.append(
            cross_marks(
                "over budget", json_numbers(trajectory.seconds[over] / time.size), json_numbers(held[over])
            )
        )
    layout: Json = {
        "xaxis": time_axis(stop_s) | {"anchor": "y2"},
        "yaxis": axis(unit.name, rangemode="tozero", domain=UPPER),
        "yaxis2": axis("NDCG@10", domain=LOWER, nticks=4, rangemode="tozero"),
    }
    films = f": {', '.join(titles)}" if titles else ""
    return View(f"{trajectory.device} ({trajectory.reason}){films}", data, layout)


def traffic_figure(traffic: TrafficSeries, stop_s: float) -> ReportFigure:
    """Return the bytes of updates over time."""
    width = float(traffic.edges_ns[1] - traffic.edges_ns[0]) / NS_PER_S
    return ReportFigure(
        "traffic",
        "Update traffic",
        findings.traffic_finding(traffic),
        f"Payload of the updates that were sent, per {format_seconds(width)} and added up, beside what "
        "pushing each PEE whole would have cost. Wire bytes add MQTT and TCP/IP framing. Below: updates that "
        "were not applied. Each update is shown at the time at which its report was sent. Over the run, "
        f"{approximate_bytes(int(traffic.lost_bytes.sum()))} were lost on the way and "
        f"{approximate_bytes(int(traffic.wasted_bytes.sum()))} wasted: delivered, but never used.",
        [_traffic_view("per interval", traffic, stop_s), _traffic_view("cumulative", traffic, stop_s)],
        height=480,
    )


def _traffic_view(label: str, traffic: TrafficSeries, stop_s: float) -> View:
    cumulative = label == "cumulative"
    curves = (
        ("full pushes", traffic.full_bytes, FULL),
        ("sent", traffic.sent_bytes, SENT),
        ("on the wire", traffic.wire_bytes, WIRE),
        ("wasted", traffic.wasted_bytes, WASTED),
        ("lost on the way", traffic.lost_bytes, LOST),
    )
    shown = [(name, np.cumsum(values) if cumulative else values, color) for name, values, color in curves]
    largest = maximum(*(values for _, values, _ in shown))
    unit = byte_unit(largest)
    edges = json_numbers(traffic.edges_ns / NS_PER_S / time_unit(stop_s).size)
    data = [
        step_line(name, edges, values / unit.size, color, unit.name)
        for name, values, color in shown
        if values.max(initial=0) > _LEAST_VISIBLE * largest
    ]
    return View(
        label,
        _emphasise(data) + _failures(traffic, edges),
        {
            "xaxis": time_axis(stop_s, float(traffic.edges_ns[-1]) / NS_PER_S) | {"anchor": "y2"},
            "yaxis": axis(unit.name, rangemode="tozero", domain=_HIGH_UPPER),
            "yaxis2": axis("updates", domain=_THIN_LOWER, nticks=3, rangemode="tozero"),
            "barmode": "stack",
            "bargap": 0,
        },
    )


def _emphasise(data: Sequence[Json]) -> list[Json]:
    """Fill the curve of sent bytes and draw the wire bytes dotted, since the two are close."""
    extra: dict[object, Json] = {
        "sent": {"fill": "tozeroy", "fillcolor": transparent(SENT)},
        "on the wire": line_style(WIRE, 1.5, dash="dot"),
        "full pushes": line_style(FULL, 1.5),
    }
    return [trace | extra.get(trace["name"], {}) for trace in data]


def _failures(traffic: TrafficSeries, edges: Sequence[float | None]) -> list[Json]:
    width = (edges[1] or 0.0) - (edges[0] or 0.0)
    kinds = (
        ("superseded", traffic.superseded, SUPERSEDED),
        ("rejected", traffic.rejected, REJECTED),
        ("lost", traffic.lost, LOST),
    )
    return [
        {
            "type": "bar",
            "name": f"{name} ({int(counts.sum()):,})",
            "x": edges[:-1],
            "y": counts.tolist(),
            "width": width,
            "offset": 0,
            "yaxis": "y2",
            "marker": {"color": color, "line": {"width": 0}},
            "hovertemplate": f"%{{y}} {name}<extra></extra>",
        }
        for name, counts, color in kinds
    ]
