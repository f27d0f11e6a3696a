"""The summary of a run: one flat object, computed from the event tables and nothing else.

Means over time weigh each state by how long it held, from a device's start to the stop time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emulator.journal import Tables, logical_sha256
from wire.units import NS_PER_S

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Identity:
    """What was run."""

    scenario: str
    seed: int
    clock: str
    model_version: str
    stop_ns: int


def summarize(
    identity: Identity, tables: Tables, devices: pa.Table, wall_seconds: float
) -> dict[str, object]:
    """Return the summary of a run.

    Args:
        identity: what was run.
        tables: the event tables, by name, in total order.
        devices: one row per device: ``device``, ``full_ndcg_at_10``.
        wall_seconds: how long the simulation itself took.
    """
    simulated = identity.stop_ns / NS_PER_S
    hours = devices.num_rows * simulated / 3600
    return {
        "scenario": identity.scenario,
        "seed": identity.seed,
        "clock": identity.clock,
        "devices": devices.num_rows,
        "model_version": identity.model_version,
        "simulated_seconds": simulated,
        "wall_seconds": round(wall_seconds, 3),
        "device_hours_per_wall_minute": round(hours / max(wall_seconds / 60, 1e-9), 1),
        **count_events(tables),
        **sum_traffic(tables["update"]),
        **weigh_states(tables["quality"], devices, identity.stop_ns),
        "update_latency_seconds": update_latency(tables["update"]),
        "event_log_sha256": logical_sha256(tables),
        "thresholds": [],
    }


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


def weigh_states(quality: pa.Table, devices: pa.Table, stop_ns: int) -> dict[str, float | None]:
    """Return the time-weighted means over all device time, and the time over budget."""
    states = held_for(quality, stop_ns)
    seconds, total = states["seconds"], float(states["seconds"].sum())
    if total == 0:
        raise ValueError("no device was there for any time")
    over = float(seconds[states["resident_bytes"] > states["budget_bytes"]].sum())
    full_of = dict(zip(devices["device"].to_pylist(), devices["full_ndcg_at_10"].to_pylist(), strict=True))
    full = np.array([full_of[name] for name in states["device"]])
    ndcg, best_full = _mean(states["ndcg_at_10"], seconds), _mean(full, seconds)
    return {
        "over_budget_device_seconds": over,
        "over_budget_share": over / total,
        "ndcg_at_10": ndcg,
        "recall_at_20": _mean(states["recall_at_20"], seconds),
        "hit_rate_at_10": _mean(states["hit_rate_at_10"], seconds),
        "quality_ratio_to_full": ndcg / best_full if best_full else None,
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


def update_latency(updates: pa.Table) -> dict[str, float | None]:
    """Return percentiles of the time from a budget change to its PEE applied, in simulated seconds.

    Over the updates that brought or took blocks; a local eviction takes no time and is not among them.
    """
    applied = updates.filter(pc.equal(updates["result"], "applied"))
    seconds = pc.subtract(applied["t_ns"], applied["changed_ns"]).to_numpy() / NS_PER_S
    if len(seconds) == 0:
        return {"p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": float(seconds.max())}


def _mean(values: NDArray[Any], weights: NDArray[Any]) -> float:
    return float(np.dot(values.astype(np.float64), weights.astype(np.float64)) / weights.sum())
