"""Metrics of connections, of messages about devices, and of messages that faults affected."""

from collections.abc import Callable
from functools import partial

import numpy as np

from emulator.metrics.aggregates import Aggregate, Counter, Trend
from emulator.metrics.frame import RowSet
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import order_by_device
from wire.units import NS_PER_S


def _connection_changes(online: bool, inputs: MetricInputs) -> Counter:
    rows, of = inputs.rows("connection", why="why")
    mask = of["online"] == online
    return Counter(rows.select(mask), np.ones(int(mask.sum()), dtype=np.int64))


def _offline_spells(inputs: MetricInputs) -> Trend:
    of, stop_ns = inputs.tables["connection"], inputs.frame.timeline.stop_ns
    order = order_by_device(of)
    device, t_ns, online = (of[name][order] for name in ("device", "t_ns", "online"))
    until = np.full(len(device), stop_ns, dtype=np.int64)
    same = device[1:] == device[:-1]
    until[:-1][same] = t_ns[1:][same]
    offline = ~online.astype(np.bool_) & (t_ns >= inputs.since_ns)
    return Trend(RowSet(device[offline], t_ns[offline]), np.maximum(until - t_ns, 0)[offline], NS_PER_S)


def _message_bytes(table: str, column: str, inputs: MetricInputs) -> Counter:
    rows, of = inputs.rows(table)
    return Counter(rows, of[column].astype(np.int64))


def _affected_messages(in_bytes: bool, inputs: MetricInputs) -> Counter:
    rows, of = inputs.rows("fault", harm="harm")
    values = of["bytes"] if in_bytes else np.ones(len(rows.device))
    return Counter(rows, values.astype(np.int64))


FORMULAS: dict[str, Callable[[MetricInputs], Aggregate]] = {
    "connects": partial(_connection_changes, True),
    "disconnections": partial(_connection_changes, False),
    "offline_spell_seconds": _offline_spells,
    "quality_bytes": partial(_message_bytes, "quality", "message_bytes"),
    "quality_wire_bytes": partial(_message_bytes, "quality", "message_wire_bytes"),
    "status_bytes": partial(_message_bytes, "connection", "message_bytes"),
    "status_wire_bytes": partial(_message_bytes, "connection", "message_wire_bytes"),
    "messages_harmed": partial(_affected_messages, False),
    "harmed_bytes": partial(_affected_messages, True),
}
