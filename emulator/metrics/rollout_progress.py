"""What became of a rollout, and who sent the bytes: for the summary."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emulator.metrics.aggregates import nearest_rank
from wire.units import NS_PER_S


def rollout_progress(rollout: pa.Table) -> list[dict[str, object]]:
    """Return how each group of a rollout fared, in the order of their turns; nothing where there is none.

    Args:
        rollout: the event table.
    """
    return [
        _group(number, rollout.filter(pc.equal(rollout["group"], number)))
        for number in sorted(set(rollout["group"].to_pylist()))
    ]


def _group(number: int, rows: pa.Table) -> dict[str, object]:
    seconds = {step: _seconds(rows, step) for step in ("offered", "updated", "failed", "withdrawn")}
    began = float(seconds["offered"].min()) if len(seconds["offered"]) else None
    took = seconds["updated"] - (began or 0.0)
    return {
        "group": number,
        "offered_at_seconds": began,
        **{step: len(times) for step, times in seconds.items()},
        "updated_share": len(took) / len(seconds["offered"]) if len(seconds["offered"]) else None,
        "update_seconds": {
            **{f"p{q}": nearest_rank(np.sort(took), q, 1) for q in (50, 95, 100)},
            "max": float(took.max()) if len(took) else None,
        },
    }


def _seconds(rows: pa.Table, step: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    chosen = rows.filter(pc.equal(rows["step"], step))
    found: np.ndarray[Any, np.dtype[np.float64]] = chosen["t_ns"].to_numpy() / NS_PER_S
    return found


def count_egress(updates: pa.Table, retained_bytes: int) -> dict[str, int]:
    """Return the payload that left the cloud and the payload that left the broker, toward devices.

    They differ with shared delivery: the cloud leaves each layer once, the broker sends it to whoever asks.

    Args:
        updates: the event table.
        retained_bytes: what the cloud left on the topics of layers.
    """
    whole = int(pc.sum(updates["update_bytes"]).as_py() or 0)
    shared = updates.filter(pc.equal(updates["sent"], "shared"))
    fanned_out = int(pc.sum(shared["update_bytes"]).as_py() or 0)
    return {"cloud_egress_bytes": whole - fanned_out + retained_bytes, "broker_egress_bytes": whole}
