"""Figures with a curve for each of several runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from emulator.executors.executor import Executor
from emulator.report.axes import (
    BUDGET,
    FULL,
    HELD,
    LOST,
    REJECTED,
    SENT,
    SUPERSEDED,
    WASTED,
    Json,
    axis,
    byte_ticks,
    byte_unit,
    json_numbers,
    line_style,
    log_axis,
    maximum,
    sampled_line,
    step_style,
    time_axis,
    time_ticks,
    time_unit,
)
from emulator.report.budget_quality import QualityByBudget
from emulator.report.figures import ReportFigure, View
from emulator.report.fleet_views import FLEET
from emulator.report.keyed_sums import FloatArray
from emulator.report.load import load_figures
from emulator.report.state_series import FleetSeries
from emulator.report.update_sums import LatencyDistribution, TrafficSeries
from emulator.run_directory.run_files import RunFiles
from wire.units import NS_PER_S

MOST_CURVES: Final = 8
"""Most runs of a figure: more could not be told apart."""
_COLORS: Final = (HELD, BUDGET, SENT, SUPERSEDED, REJECTED, LOST, WASTED, FULL)


@dataclass(frozen=True)
class RunCurves:
    """The curves of the whole fleet of one run."""

    name: str
    stop_s: float
    states: FleetSeries
    traffic: TrafficSeries
    latency: LatencyDistribution
    by_budget: QualityByBudget


def load_curves(name: str, run: RunFiles, executor: Executor) -> RunCurves:
    """Return the curves of a run, which is called *name* in the page."""
    views, sums = load_figures(run, executor)
    stop_s = run.summary["simulated_seconds"]
    assert isinstance(stop_s, int | float)
    return RunCurves(
        name,
        stop_s,
        sums.states.series(views)[FLEET],
        sums.updates.traffic_series(),
        sums.updates.distributions(views)[FLEET],
        sums.by_budget.curves(views)[FLEET],
    )


def quality_curves(runs: Sequence[RunCurves], finding: str) -> ReportFigure:
    """Return mean quality over time, of each run."""
    longest_s = max(run.stop_s for run in runs)
    data = [_over_time(run, run.states.ndcg, number, longest_s) for number, run in enumerate(runs)]
    whole = _over_time(runs[0], runs[0].states.full, 0, longest_s)
    data.append(whole | {"name": "whole table, first run"} | line_style(FULL, 1.5, dash="dash"))
    low, high = _settled_range(runs)
    return _figure(
        "quality", "Quality over time", finding,
        "Mean NDCG@10 of what the devices hold. Look for a run that is below the others, and when it begins "
        "to be. The axis does not start at zero, and leaves out the time before the first updates.",
        data, time_axis(longest_s), axis("mean NDCG@10", range=[low, high]),
    )  # fmt: skip


def _settled_range(runs: Sequence[RunCurves]) -> tuple[float, float]:
    shown = []
    for run in runs:
        first = run.states.settled_at or 0
        shown += [run.states.ndcg[first:], run.states.full[first:]]
    values = np.concatenate(shown)
    low, high = (float(pick(values)) if np.isfinite(values).any() else 0.0 for pick in (np.nanmin, np.nanmax))
    margin = max(0.08 * (high - low), 0.01 * high)
    return max(low - margin, 0.0), high + margin


def held_curves(runs: Sequence[RunCurves]) -> ReportFigure:
    """Return the bytes that all devices hold, of each run."""
    longest_s = max(run.stop_s for run in runs)
    unit = byte_unit(maximum(*(run.states.total_resident for run in runs)))
    data = [
        _over_time(run, run.states.total_resident / unit.size, number, longest_s, unit.name)
        for number, run in enumerate(runs)
    ]
    return _figure(
        "held", "Bytes held", "The bytes that the embeddings of all devices took.",
        "Look for runs whose devices hold less: they have less memory, or wait for what they may hold.",
        data, time_axis(longest_s), axis(unit.name, rangemode="tozero"),
    )  # fmt: skip


def traffic_curves(runs: Sequence[RunCurves]) -> ReportFigure:
    """Return the payload of updates added up over time, of each run."""
    longest_s = max(run.stop_s for run in runs)
    size = time_unit(longest_s).size
    added = [np.cumsum(run.traffic.sent_bytes) for run in runs]
    unit = byte_unit(maximum(*added))
    data = [
        _line(run.name, number, run.traffic.edges_ns[1:] / NS_PER_S / size, sent / unit.size, unit.name)
        for number, (run, sent) in enumerate(zip(runs, added, strict=True))
    ]
    return _figure(
        "traffic", "Update traffic", "The payload of all updates, added up.",
        "Look at the slope: a steep part is a time of many updates, such as a rollout or the end of a fault.",
        data, time_axis(longest_s), axis(unit.name, rangemode="tozero"),
    )  # fmt: skip


def latency_curves(runs: Sequence[RunCurves]) -> ReportFigure:
    """Return the share of updates that were in use within a time, of each run."""
    shown = [(number, run) for number, run in enumerate(runs) if run.latency.count]
    data = [
        _line(run.name, number, run.latency.edges_s, 100 * run.latency.cumulative, "% in use")
        for number, run in shown
    ]
    edges = _extent([run.latency.edges_s for _, run in shown])
    return _figure(
        "latency", "From budget change to new PEE", "The share of updates that were in use within a time.",
        "Look for curves further right: their devices waited longer. The axis of time is logarithmic.",
        data, log_axis("time from change to PEE applied", *time_ticks(edges)),
        axis("share (%)", range=[0, 104]),
    )  # fmt: skip


def budget_curves(runs: Sequence[RunCurves]) -> ReportFigure:
    """Return quality by budget, of each run."""
    shown = [(number, run) for number, run in enumerate(runs) if len(run.by_budget.ratio)]
    data = [
        _line(run.name, number, run.by_budget.budget_bytes, 100 * run.by_budget.ratio, "% of full")
        | {"mode": "lines+markers"}
        for number, run in shown
    ]
    edges = _extent([run.by_budget.edges_bytes for _, run in shown])
    return _figure(
        "elasticity", "Quality by budget", "The share of full quality by the size of the budget.",
        "Look at equal budgets: there a curve above another makes more of the same memory.",
        data, log_axis("budget", *byte_ticks(edges)), axis("NDCG@10, % of full"),
    )  # fmt: skip


def _figure(
    name: str, topic: str, finding: str, caption: str, data: Sequence[Json], x: Json, y: Json
) -> ReportFigure:
    view = View("whole fleet", data, {"xaxis": x, "yaxis": y})
    return ReportFigure(name, topic, finding, caption, [view], height=380)


def _extent(edges: Sequence[FloatArray]) -> FloatArray:
    known = [each for each in edges if len(each)]
    if not known:
        return np.array([1.0, 10.0])
    return np.array([min(each[0] for each in known), max(each[-1] for each in known)])


def _over_time(run: RunCurves, values: FloatArray, number: int, longest_s: float, unit: str = "") -> Json:
    """Return a curve over an axis of time that is as long as the longest run."""
    trace = sampled_line(run.name, values, _COLORS[number % len(_COLORS)], run.stop_s, unit)
    scale = time_unit(run.stop_s).size / time_unit(longest_s).size
    x0, dx = trace["x0"], trace["dx"]
    assert isinstance(x0, int | float)
    assert isinstance(dx, int | float)
    return trace | {"x0": x0 * scale, "dx": dx * scale}


def _line(name: str, number: int, x: FloatArray, y: FloatArray, unit: str) -> Json:
    drawn: Mapping[str, object] = {
        "x": json_numbers(x),
        "y": json_numbers(y),
        "hovertemplate": f"%{{y:.4g}} {unit}".rstrip(),
        "line": {"color": (color := _COLORS[number % len(_COLORS)]), "width": 2, "shape": "linear"},
    }
    return {**step_style(name, color), **drawn}
