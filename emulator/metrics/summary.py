"""The summary of a run: one flat object, computed from the event tables and nothing else.

Means over time weigh each state by how long it held, from a device's start to the stop time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emulator.metrics.aggregates import Stats
from emulator.metrics.by_dimension import find_worst
from emulator.metrics.compute import RunMetrics
from emulator.metrics.fault_impact import FaultImpact
from emulator.metrics.frame import DeviceTable
from emulator.metrics.thresholds import judge_rule
from emulator.metrics.timeline import RunTimeline, Span
from emulator.run_directory.event_log import Tables, logical_sha256
from scenarios.catalogue.metrics import METRICS, Kind
from scenarios.catalogue.summary_keys import BREAKDOWNS, PAIRS
from scenarios.language.thresholds import Rule
from wire.units import NS_PER_S

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RunIdentity:
    """What was run."""

    scenario: str
    seed: int
    clock: str
    model_version: str
    stop_ns: int
    """When the run ended: at its stop time, or when a threshold ended it."""
    aborted: bool = False
    """Whether a threshold did."""


def compute_metrics(tables: Tables, devices: pa.Table, plan: RunTimeline, since_ns: int = 0) -> RunMetrics:
    """Return the metrics of a run.

    Args:
        tables: the event tables, by name, in total order.
        devices: one row per device, see `emulator.metrics.device_table`.
        plan: the stages, and when the run ended.
        since_ns: what was before does not count.
    """
    members = DeviceTable.read(devices)
    return RunMetrics(members, plan, encode_tables(members, tables), since_ns)


def encode_tables(members: DeviceTable, tables: Tables) -> dict[str, Mapping[str, NDArray[Any]]]:
    """Return the columns of the event tables with numbers for devices and words."""
    return {name: members.numbered(name, table) for name, table in tables.items()}


def summarize(
    identity: RunIdentity,
    tables: Tables,
    measures: RunMetrics,
    wall_seconds: float,
) -> dict[str, object]:
    """Return the summary of a run.

    Args:
        identity: what was run.
        tables: the event tables, by name, in total order.
        measures: its metrics.
        wall_seconds: how long the simulation itself took.

    Returns:
        The summary without its verdicts, which may be about anything in it.
    """
    simulated = identity.stop_ns / NS_PER_S
    plan, count = measures.frame.plan, len(measures.frame.members.names)
    hours = count * simulated / 3600
    known: dict[str, object] = {
        "scenario": identity.scenario,
        "seed": identity.seed,
        "clock": identity.clock,
        "devices": count,
        "model_version": identity.model_version,
        "simulated_seconds": simulated,
        "wall_seconds": round(wall_seconds, 3),
        "device_hours_per_wall_minute": round(hours / max(wall_seconds / 60, 1e-9), 1),
        **count_events(tables),
        **sum_traffic(tables["update"]),
        **weigh_states(measures.frame.held),
    }
    accountant = FaultImpact(measures.frame, measures.tables)
    return {
        **known,
        "update_latency_seconds": _said("update_latency_seconds", measures),
        **{name: _said(name, measures) for name in METRICS if name not in (*known, "update_latency_seconds")},
        **breakdowns(measures),
        "worst": find_worst(measures),
        "stages": [_span(stage) for stage in plan.stages],
        "faults": accountant.faults(),
        "actions": accountant.actions(),
        "warmup_seconds": plan.warmup_ns / NS_PER_S,
        "aborted_at_seconds": simulated if identity.aborted else None,
        "event_log_sha256": logical_sha256(tables),
        "thresholds": [],
    }


def _said(name: str, measures: RunMetrics) -> object:
    """Return what the summary says of a metric: a number, or the statistics of a trend."""
    stats = measures.form(name).stats
    match METRICS[name].kind:
        case Kind.TREND:
            return {key: value for key, value in stats.items() if key != "min"}
        case Kind.LEVEL:
            return stats["mean"]
        case Kind.RATIO | Kind.GAUGE:
            return stats["value"]
    return stats["total"]


def breakdowns(measures: RunMetrics) -> dict[str, object]:
    """Return some metrics by dimensions of their own; of pairs only those that there are."""
    totals = {
        f"{name}_by_{dimension}": _totals(measures.split(name, dimension))
        for name, dimension in BREAKDOWNS.items()
    }
    return {
        **totals,
        **{key: measures.pairs(*pair) for key, pair in PAIRS.items()},
    }


def _totals(split: Mapping[str, Stats]) -> dict[str, object]:
    return {word: stats["total"] for word, stats in split.items()}


def _span(stage: Span) -> dict[str, object]:
    return {
        "name": stage.type,
        "start_seconds": stage.start_ns / NS_PER_S,
        "end_seconds": stage.end_ns / NS_PER_S,
    }


def judge_rules(
    rules: Sequence[Rule], measures: RunMetrics, summary: Mapping[str, object]
) -> list[dict[str, object]]:
    """Return what came of each rule: the warm-up left out, but not of what is a key of *summary* only."""
    if rules and measures.frame.plan.warmup_ns > measures.since_ns:
        measures = measures.since(measures.frame.plan.warmup_ns)
    return [asdict(judge_rule(rule, measures, summary)) for rule in rules]


def count_events(tables: Tables) -> dict[str, int]:
    """Return how many budgets changed and what came of the reports.

    Every report is applied, confirmed (nothing to bring), superseded, rejected or lost.
    """
    updates = tables["update"]
    results = {row["values"]: row["counts"] for row in pc.value_counts(updates["result"]).to_pylist()}
    return {
        "budget_changes": tables["budget"].num_rows,
        "budget_reports": updates.num_rows,
        "updates_applied": results.get("applied", 0),
        "updates_confirmed": results.get("confirmed", 0),
        "updates_superseded": results.get("superseded", 0),
        "updates_rejected": results.get("rejected", 0),
        "updates_lost": results.get("lost", 0),
    }


def sum_traffic(updates: pa.Table) -> dict[str, object]:
    """Return the bytes that travelled; what was delivered but never used is wasted."""
    names = [name for name in updates.column_names if name.endswith("bytes")]
    total = {name: int(pc.sum(updates[name]).as_py() or 0) for name in names}
    full = total["full_update_bytes"]
    return {
        "update_bytes": total["update_bytes"],
        "update_wire_bytes": total["update_wire_bytes"],
        "full_update_bytes": full,
        "delta_ratio": total["update_bytes"] / full if full else None,
        "report_bytes": total["report_bytes"],
        "wasted_bytes": total["update_bytes"] - total["used_bytes"] - total["lost_bytes"],
        "lost_bytes": total["lost_bytes"],
    }


def weigh_states(states: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """Return the time-weighted means over all device time, and the time over budget.

    Args:
        states: columns of the quality table, and ``seconds``, as `held_for` returns them.
    """
    seconds, total = states["seconds"], float(states["seconds"].sum())
    if total == 0:
        raise ValueError("no device was there for any time")
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


def held_for(quality: pa.Table, stop_ns: int) -> Mapping[str, NDArray[Any]]:
    """Return the columns of the quality table by device, and ``seconds``: how long each state held.

    A state holds until the device's next one, or until the stop time; what comes later holds no time.
    """
    ordered = quality.sort_by([("device", "ascending"), ("t_ns", "ascending"), ("order", "ascending")])
    columns = {name: ordered[name].to_numpy() for name in ordered.column_names}
    start = np.minimum(columns["t_ns"], stop_ns)
    end = np.full(len(start), stop_ns, dtype=np.int64)
    same = columns["device"][1:] == columns["device"][:-1]
    end[:-1][same] = start[1:][same]
    columns["seconds"] = (end - start) / NS_PER_S
    return columns


def _mean(values: NDArray[Any], weights: NDArray[Any]) -> float:
    return float(np.dot(values.astype(np.float64), weights.astype(np.float64)) / weights.sum())
