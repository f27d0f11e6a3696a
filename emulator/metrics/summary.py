"""The summary of a run: one flat object, computed from the event tables and nothing else.

A mean over time weights each state by its duration, from the start of its device to the stop time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from emulator.metrics.by_dimension import find_worst
from emulator.metrics.compute import RunMetrics
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.row_index import Columns
from emulator.metrics.sums import Stats
from emulator.metrics.thresholds import judge_rule
from emulator.metrics.timeline import Span
from emulator.run_directory.run_tables import Tables
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


_STATES = (
    "over_budget_device_seconds", "over_budget_share", "ndcg_at_10", "recall_at_20", "hit_rate_at_10",
    "quality_ratio_to_full", "quality_regret",
)  # fmt: skip
"""The metrics that stand next."""


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


def encode_tables(devices: DeviceTable, tables: Tables) -> dict[str, Columns]:
    """Return the columns of the event tables with numbers for devices and labels."""
    return {name: devices.encode(name, table) for name, table in tables.items()}


def summarize(
    identity: RunInfo, metrics: RunMetrics, event_log_sha256: str, wall_seconds: float
) -> dict[str, object]:
    """Return the summary of a run.

    Args:
        identity: the run.
        metrics: the metrics of the run.
        event_log_sha256: hash of the event log.
        wall_seconds: duration of the simulation itself.

    Returns:
        The summary without verdicts, since a threshold may be about any key in it.
    """
    simulated = identity.stop_ns / NS_PER_S
    if not metrics.stats("device_seconds")["total"]:
        raise ValueError("no device ran for any time")
    timeline, sample = metrics.timeline, metrics.sums.sample
    hours = metrics.sums.devices * simulated / 3600
    first: dict[str, object] = {
        "scenario": identity.scenario,
        "seed": identity.seed,
        "clock": identity.clock,
        "devices": metrics.sums.devices if sample is None else sample.fleet_devices,
        "model_version": identity.model_version,
        "simulated_seconds": simulated,
        "wall_seconds": round(wall_seconds, 3),
        "device_hours_per_wall_minute": round(hours / max(wall_seconds / 60, 1e-9), 1),
        **{name: _figure(name, metrics) for name in _TRAFFIC},
        **{name: _figure(name, metrics) for name in _STATES},
    }
    impact = metrics.sums.impact
    assert impact is not None
    faults, actions = impact.summaries(timeline)
    return {
        **first,
        "update_latency_seconds": _figure("update_latency_seconds", metrics),
        **{
            name: _figure(name, metrics)
            for name in (*METRICS, *metrics.timeline.more_metrics)
            if name not in (*first, "update_latency_seconds")
        },
        **breakdowns(metrics),
        "worst": find_worst(metrics),
        "stages": [_stage(stage) for stage in timeline.stages],
        "faults": faults,
        "actions": actions,
        "warmup_seconds": timeline.warmup_ns / NS_PER_S,
        "aborted_at_seconds": simulated if identity.aborted else None,
        "event_log_sha256": event_log_sha256,
        "thresholds": [],
    }


def sample_keys(metrics: RunMetrics, share: float) -> dict[str, object]:
    """Return the keys of a run of a sample of the fleet: its size, and intervals of figures of the fleet.

    Args:
        metrics: the metrics of the run.
        share: of each group that was simulated.
    """
    sample = metrics.sums.sample
    assert sample is not None
    intervals = {
        name: None if each.low is None else {"low": each.low, "high": each.high}
        for name, each in sample.estimates().items()
    }
    return {"sampled_devices": metrics.sums.devices, "sample_share": share, "intervals": intervals}


def _figure(name: str, metrics: RunMetrics) -> object:
    """Return the summary's value of a metric: a number, or the statistics of a trend."""
    stats = metrics.stats(name)
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
    return [asdict(judge_rule(rule, metrics, summary)) for rule in rules]
