"""Metrics of exchanges: traffic, latencies, peaks. They are computed from the update table."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.event_log import ExchangeResult, UpdateKind
from emulator.metrics.aggregates import Aggregate, Counter, Ratio, Trend, WeightedSum
from emulator.metrics.connections import connected_ns
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import BoolArray, Columns
from scenarios.catalogue.metrics import KINDS_OF_BYTES
from wire.units import NS_PER_S

_KIND_OF = {
    UpdateKind.NONE: "control", UpdateKind.FIRST: "first", UpdateKind.DELTA: "delta", UpdateKind.FULL: "full",
    UpdateKind.FALLBACK_FULL: "fallback_full", UpdateKind.SHARED: "shared", UpdateKind.NOTHING: "control",
}  # fmt: skip
_KINDS = np.array([KINDS_OF_BYTES.index(_KIND_OF[sent]) for sent in UpdateKind])
SHARE_PARTS = 10**15
"""A share of an event is counted in whole parts of this size."""
_WASTED, _LOST = KINDS_OF_BYTES.index("wasted"), KINDS_OF_BYTES.index("lost")

Values = NDArray[Any]  # Any: whole numbers of any width, or truth values


def _count(values: Callable[[Columns], Values], inputs: MetricInputs) -> Counter:
    rows, of = inputs.exchanges
    return Counter(rows, values(of))


def _column(name: str) -> Callable[[Columns], Values]:
    return lambda of: of[name]


def _with_result(result: ExchangeResult) -> Callable[[Columns], Values]:
    return lambda of: of["result"] == result


def _wasted(of: Columns) -> Values:
    """Return the bytes of each exchange that were delivered but never used."""
    return of["update_bytes"] - of["used_bytes"] - of["lost_bytes"]


def _without_blocks(of: Columns) -> Values:
    """Return the bytes of answers without blocks."""
    return np.where(of["sent"] == UpdateKind.NOTHING, of["update_bytes"], 0)


_COUNTERS: dict[str, Callable[[Columns], Values]] = {
    "budget_reports": lambda of: np.ones(len(of["device"]), dtype=np.bool_),
    **{f"updates_{result.name.lower()}": _with_result(result) for result in ExchangeResult},
    "updates_sent": lambda of: of["sent"] != UpdateKind.NONE,
    "delta_fallbacks": lambda of: of["sent"] == UpdateKind.FALLBACK_FULL,
    **{
        name: _column(name)
        for name in (
            "update_wire_bytes", "full_update_bytes", "report_bytes", "report_wire_bytes", "ack_wire_bytes",
            "copied_bytes", "resent_wire_bytes", "lost_bytes",
        )
    },
    "wasted_bytes": _wasted,
    "control_bytes": lambda of: of["report_bytes"] + _without_blocks(of),
    "control_answer_bytes": _without_blocks,
}  # fmt: skip


def _bytes_by_kind(inputs: MetricInputs) -> Counter:
    """Count bytes by kind: each exchange has a row for its used, its wasted and its lost bytes."""
    rows, of = inputs.exchanges
    values = np.concatenate([of["used_bytes"], _wasted(of), of["lost_bytes"]])
    count = len(rows.device)
    kinds = np.concatenate([_KINDS[of["sent"]], np.full(count, _WASTED), np.full(count, _LOST)])
    used = np.flatnonzero(values)
    return Counter(rows.select(used % max(count, 1), kind=kinds[used]), values[used])


def _applied(of: Columns) -> BoolArray:
    return np.asarray(of["result"] == ExchangeResult.APPLIED)


def _taken_up(of: Columns) -> BoolArray:
    return np.asarray(of["begun_ns"] >= 0)


_SPANS = {
    "update_latency_seconds": ("changed_ns", "applied_ns", _applied),
    "latency_wait_seconds": ("changed_ns", "sent_ns", _applied),
    "latency_uplink_seconds": ("sent_ns", "arrived_ns", _applied),
    "latency_queue_seconds": ("arrived_ns", "begun_ns", _applied),
    "latency_selection_seconds": ("begun_ns", "left_ns", _applied),
    "latency_downlink_seconds": ("left_ns", "received_ns", _applied),
    "latency_apply_seconds": ("received_ns", "applied_ns", _applied),
    "queue_seconds": ("arrived_ns", "begun_ns", _taken_up),
    "update_staleness_seconds": ("sent_ns", "applied_ns", _applied),
}
"""Times between two columns of an exchange, and the exchanges that have both."""


def _span(start: str, end: str, counts: Callable[[Columns], BoolArray], inputs: MetricInputs) -> Trend:
    rows, mask = inputs.exchanges_where(counts)
    _, of = inputs.exchanges
    return Trend(rows, of[end][mask] - of[start][mask], NS_PER_S)


def _connected_latency(inputs: MetricInputs) -> Trend:
    rows, applied = inputs.exchanges_where(_applied)
    _, of = inputs.exchanges
    start, end = of["changed_ns"][applied], of["applied_ns"][applied]
    return Trend(rows, connected_ns(inputs.tables["connection"], rows.device, start, end), NS_PER_S)


def _shares(inputs: MetricInputs, part: Values, total: Values, mask: BoolArray) -> Trend:
    rows, _ = inputs.exchanges
    mask = mask & (total > 0)
    shares = np.rint(part[mask] / total[mask] * SHARE_PARTS).astype(np.int64)
    return Trend(rows.select(mask), shares, SHARE_PARTS)


def _delta_ratios(inputs: MetricInputs) -> Trend:
    _, of = inputs.exchanges
    return _shares(inputs, of["update_bytes"], of["full_update_bytes"], of["sent"] != UpdateKind.NONE)


def _reused_blocks(inputs: MetricInputs) -> Trend:
    _, of = inputs.exchanges
    reused = np.where(of["sent"] == UpdateKind.FIRST, 0, np.minimum(of["held_before"], of["held"]))
    return _shares(inputs, reused.astype(np.int64), of["held"], _applied(of))


def _changed_blocks(inputs: MetricInputs) -> Trend:
    rows, applied = inputs.exchanges_where(_applied)
    _, of = inputs.exchanges
    # Two model versions share no block: all old blocks are removed, and all new ones are added.
    held, before = of["held"].astype(np.int64), of["held_before"]
    changed = np.where(of["sent"] == UpdateKind.FIRST, held + before, np.abs(held - before))
    return Trend(rows, changed[applied], 1)


def _sum(values: Callable[[Columns], Values], inputs: MetricInputs) -> WeightedSum:
    rows, of = inputs.exchanges
    return WeightedSum(rows, values(of))


def _per_update_byte(values: Callable[[Columns], Values], inputs: MetricInputs) -> Ratio:
    return Ratio(_sum(values, inputs), inputs.exchange_sum("update_bytes"))


def _per_budget_change(counter: str, inputs: MetricInputs) -> Ratio:
    return Ratio(_sum(_COUNTERS[counter], inputs), inputs.budget_change_count)


def _delta_ratio_once(inputs: MetricInputs) -> Ratio:
    sent_once = _sum(lambda of: of["update_bytes"] - of["copied_bytes"], inputs)
    return Ratio(sent_once, inputs.exchange_sum("full_update_bytes"))


def _bytes_per_ndcg_point(inputs: MetricInputs) -> Ratio:
    hundredths = inputs.over_time(inputs.state("ndcg_at_10") * 100)
    points = WeightedSum(hundredths.rows, hundredths.values, 3600)
    return Ratio(inputs.exchange_sum("update_bytes"), points)


FORMULAS: dict[str, Callable[[MetricInputs], Aggregate]] = {
    **{name: partial(_count, values) for name, values in _COUNTERS.items()},
    "update_bytes": _bytes_by_kind,
    "delta_ratio": lambda inputs: Ratio(
        inputs.exchange_sum("update_bytes"), inputs.exchange_sum("full_update_bytes")
    ),
    "delta_ratio_once": _delta_ratio_once,
    "wire_overhead_ratio": partial(_per_update_byte, _column("update_wire_bytes")),
    "wasted_share": partial(_per_update_byte, _wasted),
    "update_amplification": partial(_per_budget_change, "updates_sent"),
    "report_amplification": partial(_per_budget_change, "budget_reports"),
    "bytes_per_device_hour": lambda inputs: Ratio(inputs.exchange_sum("update_bytes"), inputs.device_hours),
    "bytes_per_ndcg_point": _bytes_per_ndcg_point,
    "update_delta_ratio": _delta_ratios,
    "blocks_reused_ratio": _reused_blocks,
    "blocks_changed": _changed_blocks,
    **{name: partial(_span, *span) for name, span in _SPANS.items()},
    "connected_latency_seconds": _connected_latency,
}
