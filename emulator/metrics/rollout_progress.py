"""Progress of a rollout by group, and bytes sent by the cloud and by the broker: for the summary."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emulator.metrics.aggregates import nearest_rank
from wire.units import NS_PER_S


def rollout_progress(rollout: pa.Table) -> list[dict[str, object]]:
    """Return the progress of each group of a rollout, in their order; an empty list without a rollout.

    Args:
        rollout: the event table.
    """
    return [
        _group(number, rollout.filter(pc.equal(rollout["group"], number)))
        for number in sorted(set(rollout["group"].to_pylist()))
    ]


def _group(number: int, rows: pa.Table) -> dict[str, object]:
    seconds = {step: _seconds(rows, step) for step in ("offered", "updated", "failed", "withdrawn")}
    start = float(seconds["offered"].min()) if len(seconds["offered"]) else None
    durations = seconds["updated"] - (start or 0.0)
    return {
        "group": number,
        "offered_at_seconds": start,
        **{step: len(times) for step, times in seconds.items()},
        "updated_share": len(durations) / len(seconds["offered"]) if len(seconds["offered"]) else None,
        "update_seconds": {
            **{f"p{q}": nearest_rank(np.sort(durations), q, 1) for q in (50, 95, 100)},
            "max": float(durations.max()) if len(durations) else None,
        },
    }


def _seconds(rows: pa.Table, step: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    selected = rows.filter(pc.equal(rows["step"], step))
    times: np.ndarray[Any, np.dtype[np.float64]] = selected["t_ns"].to_numpy() / NS_PER_S
    return times


def count_egress(updates: pa.Table, retained_bytes: int) -> dict[str, int]:
    """Return the payload that the cloud sent, and the payload that the broker sent to devices.

    They differ with shared delivery: the cloud sends each layer once, the broker sends it to each subscriber.

    Args:
        updates: the event table.
        retained_bytes: retained messages of the cloud on the topics of layers.
    """
    total = int(pc.sum(updates["update_bytes"]).as_py() or 0)
    shared = updates.filter(pc.equal(updates["sent"], "shared"))
    fanned_out = int(pc.sum(shared["update_bytes"]).as_py() or 0)
    return {"cloud_egress_bytes": total - fanned_out + retained_bytes, "broker_egress_bytes": total}
