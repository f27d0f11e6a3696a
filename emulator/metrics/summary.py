"""The summary of a run: one flat object, computed from the event tables and nothing else.

A mean over time weights each state by its duration, from the start of its device to the stop time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emulator.metrics.aggregates import Stats
from emulator.metrics.by_dimension import find_worst
from emulator.metrics.compute import RunMetrics
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.fault_impact import FaultImpact
from emulator.metrics.row_index import Columns
from emulator.metrics.thresholds import judge_rule
from emulator.metrics.timeline import RunTimeline, Span
from emulator.run_directory.event_log import Tables, logical_sha256
from scenarios.catalogue.metrics import METRICS, Kind
from scenarios.catalogue.summary_keys import BREAKDOWNS, PAIRS
from scenarios.language.thresholds import Rule
from wire.units import NS_PER_S

_TRAFFIC = (
    "budget_changes", "budget_reports", "updates_applied", "updates_confirmed", "updates_superseded",
    "updates_rejected", "updates_lost", "update_bytes", "update_wire_bytes", "full_update_bytes",
    "delta_ratio", "report_bytes", "wasted_bytes", "lost_bytes",
)  # fmt: skip
"""The metrics that stand first in the summary."""


@dataclass(frozen=True)
class RunInfo:
    """The scenario, the seed and the model of a run, and its end."""

    scenario: str
    seed: int
    clock: str
    model_version: str
    stop_ns: int
    """The end of the run: its stop time, or the time at which a threshold ended it."""
    aborted: bool = False
    """True if a threshold ended it."""


def compute_metrics(
    tables: Tables, devices: pa.Table, timeline: RunTimeline, since_ns: int = 0
) -> RunMetrics:
    """Return the metrics of a run.

    Args:
        tables: the event tables, by name, in total order.
        devices: one row per device, see `emulator.metrics.device_table`.
        timeline: the stages, and when the run ended.
        since_ns: time before it is left out.
    """
    table = DeviceTable.read(devices)
    return RunMetrics(table, timeline, encode_tables(table, tables), since_ns)


def encode_tables(devices: DeviceTable, tables: Tables) -> dict[str, Columns]:
    """Return the columns of the event tables with numbers for devices and labels."""
    return {name: devices.encode(name, table) for name, table in tables.items()}


def summarize(
    identity: RunInfo, tables: Tables, metrics: RunMetrics, wall_seconds: float
) -> dict[str, object]:
    """Return the summary of a run.

    Args:
        identity: the run.
        tables: the event tables, by name, in total order.
        metrics: the metrics of the run.
        wall_seconds: duration of the simulation itself.

    Returns:
        The summary without verdicts, since a threshold may be about any key in it.
    """
    simulated = identity.stop_ns / NS_PER_S
    timeline, count = metrics.frame.timeline, len(metrics.frame.devices.names)
    hours = count * simulated / 3600
    first: dict[str, object] = {
        "scenario": identity.scenario,
        "seed": identity.seed,
        "clock": identity.clock,
        "devices": count,
        "model_version": identity.model_version,
        "simulated_seconds": simulated,
        "wall_seconds": round(wall_seconds, 3),
        "device_hours_per_wall_minute": round(hours / max(wall_seconds / 60, 1e-9), 1),
        **{name: _figure(name, metrics) for name in _TRAFFIC},
        **average_states(metrics.frame.held.with_seconds),
    }
    impact = FaultImpact(metrics.frame, metrics.tables)
    return {
        **first,
        "update_latency_seconds": _figure("update_latency_seconds", metrics),
        **{
            name: _figure(name, metrics) for name in METRICS if name not in (*first, "update_latency_seconds")
        },
        **breakdowns(metrics),
        "worst": find_worst(metrics),
        "stages": [_stage(stage) for stage in timeline.stages],
        "faults": impact.faults(),
        "actions": impact.actions(),
        "warmup_seconds": timeline.warmup_ns / NS_PER_S,
        "aborted_at_seconds": simulated if identity.aborted else None,
        "event_log_sha256": logical_sha256(tables),
        "thresholds": [],
    }


def _figure(name: str, metrics: RunMetrics) -> object:
    """Return the summary's value of a metric: a number, or the statistics of a trend."""
    stats = metrics.aggregate(name).stats
    match METRICS[name].kind:
        case Kind.TREND:
            return {key: value for key, value in stats.items() if key != "min"}
        case Kind.LEVEL:
            return stats["mean"]
        case Kind.RATIO | Kind.GAUGE:
            return stats["value"]
    return stats["total"]


def breakdowns(metrics: RunMetrics) -> dict[str, object]:
    """Return some metrics by their own dimensions; pairs of values without rows are left out."""
    totals = {
        f"{name}_by_{dimension}": _totals(metrics.split(name, dimension))
        for name, dimension in BREAKDOWNS.items()
    }
    return {
        **totals,
        **{key: metrics.pair_totals(*pair) for key, pair in PAIRS.items()},
    }


def _totals(split: Mapping[str, Stats]) -> dict[str, object]:
    return {value: stats["total"] for value, stats in split.items()}


def _stage(stage: Span) -> dict[str, object]:
    return {
        "name": stage.type,
        "start_seconds": stage.start_ns / NS_PER_S,
        "end_seconds": stage.end_ns / NS_PER_S,
    }


def judge_rules(
    rules: Sequence[Rule], metrics: RunMetrics, summary: Mapping[str, object]
) -> list[dict[str, object]]:
    """Return the verdict of each rule.

    Rules about metrics leave out the warm-up; rules about keys of *summary* that are no metrics include it.
    """
    if rules and metrics.frame.timeline.warmup_ns > metrics.since_ns:
        metrics = metrics.since(metrics.frame.timeline.warmup_ns)
    return [asdict(judge_rule(rule, metrics, summary)) for rule in rules]


def average_states(states: Columns) -> dict[str, float | None]:
    """Return means over all device time, and the time over budget.

    These are the metrics of the same names, summed over whole states instead of pieces: the last digits of
    a float differ, and older summaries have these.

    Args:
        states: columns of the quality table, and ``seconds``, see `DeviceStates.with_seconds`.
    """
    seconds, total = states["seconds"], float(states["seconds"].sum())
    if total == 0:
        raise ValueError("no device ran for any time")
    over = float(seconds[states["resident_bytes"] > states["budget_bytes"]].sum())
    ndcg = _mean(states["ndcg_at_10"], seconds)
    full = _mean(states["full_ndcg_at_10"], seconds)
    return {
        "over_budget_device_seconds": over,
        "over_budget_share": over / total,
        "ndcg_at_10": ndcg,
        "recall_at_20": _mean(states["recall_at_20"], seconds),
        "hit_rate_at_10": _mean(states["hit_rate_at_10"], seconds),
        "quality_ratio_to_full": ndcg / full if full else None,
        "quality_regret": _mean(states["best_ndcg_at_10"] - states["ndcg_at_10"], seconds),
    }


def _mean(values: NDArray[Any], weights: NDArray[Any]) -> float:
    return float(np.dot(values.astype(np.float64), weights.astype(np.float64)) / weights.sum())
