"""The figures of a report over latencies and budgets, as traces and layouts for plotly."""

import math
from collections.abc import Mapping

import numpy as np

from emulator.report import findings
from emulator.report.axes import (
    BUDGET,
    FULL,
    HELD,
    Json,
    axis,
    byte_ticks,
    empty_layout,
    format_seconds,
    json_numbers,
    log_axis,
    step_line,
    step_style,
    time_ticks,
    transparent,
    vertical_mark,
)
from emulator.report.budget_quality import QualityByBudget
from emulator.report.figures import LOWER, UPPER, ReportFigure, View
from emulator.report.fleet_views import FLEET
from emulator.report.keyed_sums import FloatArray
from emulator.report.update_sums import FINEST_S, LatencyDistribution


def latency_figure(latencies: Mapping[str, LatencyDistribution]) -> ReportFigure:
    """Return the latencies of updates."""
    return ReportFigure(
        "latency",
        "From budget change to new PEE",
        findings.latency_finding(latencies[FLEET]),
        "Latencies of applied updates in simulated time. Above: the number of updates by latency (all bars "
        "have the same width on the logarithmic axis). Below: the share of updates up to each latency. "
        "Dotted lines are the 50th, 95th and 99th percentile. An eviction by the device itself takes no "
        "time and is not included.",
        [_latency_view(label, latency) for label, latency in latencies.items()],
    )


def _latency_view(label: str, latency: LatencyDistribution) -> View:
    if not latency.count:
        return View(label, [], empty_layout("no update was applied"))
    edges = json_numbers(latency.edges_s)
    fill: Json = {"fill": "tozeroy", "fillcolor": transparent(HELD, 0.3)}
    done: Json = {"x": edges, "y": json_numbers(100 * latency.cumulative), "hovertemplate": "%{y:.2f} % done"}
    slope: Json = {"yaxis": "y2", "line": {"color": HELD, "width": 2, "shape": "linear"}}
    marks = [(name, seconds) for name, seconds in latency.percentiles.items() if name != "max"]
    return View(
        label,
        [
            step_line("updates", edges, latency.counts, HELD, "updates") | fill,
            step_style("share done", HELD) | done | slope,
        ],
        {
            "showlegend": False,
            "xaxis": log_axis("time from change to PEE applied", *time_ticks(latency.edges_s))
            | {"anchor": "y2"},
            "yaxis": axis("updates", rangemode="tozero", domain=UPPER),
            "yaxis2": axis("share (%)", domain=LOWER, range=[0, 104], tickvals=[0, 50, 100]),
            "shapes": [vertical_mark(seconds) for _, seconds in marks],
            "annotations": [_mark_label(*mark, number, latency.edges_s) for number, mark in enumerate(marks)],
        },
    )


def _mark_label(name: str, seconds: float, number: int, edges_s: FloatArray) -> Json:
    """Return the label of a percentile, moved down so that labels do not overlap."""
    x, low, high = (math.log10(max(value, FINEST_S)) for value in (seconds, edges_s[0], edges_s[-1]))
    left = number == 0 or x > low + 0.75 * (high - low)
    return {
        "x": x,
        "y": 1 - 0.07 * max(number - 1, 0),
        "yref": "paper",
        "text": f"{name} {format_seconds(seconds)}",
        "showarrow": False,
        "xanchor": "right" if left else "left",
        "yanchor": "top",
        "xshift": -3 if left else 3,
    }


def quality_by_budget_figure(curves: Mapping[str, QualityByBudget]) -> ReportFigure:
    """Return quality by budget."""
    return ReportFigure(
        "elasticity",
        "Quality by budget",
        findings.elasticity_finding(curves[FLEET]),
        "NDCG@10 as a share of the NDCG@10 of the same devices with the full table, by the size of the "
        "budget. Each point is a mean over device time. Below: the share of device time. A point with "
        "little time comes from few users, and can be above 100 %.",
        [_elasticity_view(label, curve) for label, curve in curves.items()],
    )


def _elasticity_view(label: str, curve: QualityByBudget) -> View:
    if not len(curve.ratio):
        return View(label, [], empty_layout("the full table recommends nothing of use to these devices"))
    common: Json = {"x": json_numbers(curve.budget_bytes), "hovertemplate": "%{y:.1f} % of full"}
    best: Json = {"line": {"color": transparent(BUDGET, 0.45), "width": 5, "shape": "linear"}}
    held: Json = {"line": {"color": HELD, "width": 2, "shape": "linear"}, "mode": "lines+markers"}
    sizes: Json = {"marker": {"size": json_numbers(4 + 22 * np.sqrt(curve.weight)), "opacity": 1}}
    below: Json = {"yaxis": "y2", "fill": "tozeroy", "fillcolor": transparent(FULL, 0.3), "showlegend": False}
    data = [
        step_style("best for the budget", BUDGET)
        | common
        | {"y": json_numbers(100 * curve.best_ratio)}
        | best,
        step_style("held", HELD) | common | {"y": json_numbers(100 * curve.ratio)} | held | sizes,
        step_line("device time", json_numbers(curve.edges_bytes), 100 * curve.share, FULL, "% of device time")
        | below,
    ]
    full: Json = vertical_mark(0) | {"xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": 100, "y1": 100}
    return View(
        label,
        data,
        {
            "xaxis": log_axis("budget", *byte_ticks(curve.edges_bytes)) | {"anchor": "y2"},
            "yaxis": axis("NDCG@10, % of full", domain=UPPER),
            "yaxis2": axis("time (%)", domain=LOWER, nticks=4, rangemode="tozero"),
            "shapes": [full],
        },
    )
