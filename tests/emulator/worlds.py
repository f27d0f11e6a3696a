"""Small runs as tables of rows, whose metrics can be worked out by hand."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from devices.event_log import COLUMNS, ExchangeResult, MessageFault, Pressure, UpdateKind
from devices.protocol.report_scheduler import ReportCause
from devices.timeline.connectivity import ConnectivityCause
from emulator.metrics.compute import RunMetrics
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.measure import measure
from emulator.metrics.row_index import Columns
from emulator.metrics.run_sums import RowSelection
from emulator.metrics.scales import scan
from emulator.metrics.timeline import RunTimeline
from wire.units import NS_PER_S

Row = Mapping[str, object]


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def state(t: float, device: int, budget: int, resident: int, ndcg: float = 0.0, **more: object) -> Row:
    """A row of the quality table: what device number *device* holds from second *t* on."""
    row = {"t_ns": ns(t), "device": device, "budget_bytes": budget, "resident_bytes": resident}
    usual = {
        "layer": 1, "best_layer": 1, "ndcg_at_10": ndcg, "recall_at_20": ndcg, "hit_rate_at_10": ndcg,
        "best_ndcg_at_10": ndcg, "full_ndcg_at_10": 1.0, "pressure": Pressure.NORMAL, "online": True,
    }  # fmt: skip
    return {**usual, **row, **more}


def budget(t: float, device: int, budget: int, before: int = 0, after: int | None = None) -> Row:
    """A row of the budget table: what was held before, and after eviction."""
    resident = min(before, budget) if after is None else after
    return {
        "t_ns": ns(t), "device": device, "free_bytes": 10 * budget, "budget_bytes": budget,
        "resident_before_bytes": before, "resident_bytes": resident, "pressure": Pressure.NORMAL,
    }  # fmt: skip


def update(
    device: int, moments: Iterable[float], result: ExchangeResult = ExchangeResult.APPLIED, **more: object
) -> Row:
    """A row of the update table: changed, sent, arrived, begun, left, received and ended at these seconds."""
    names = ("changed_ns", "sent_ns", "arrived_ns", "begun_ns", "left_ns", "received_ns", "t_ns")
    times = {name: ns(each) for name, each in zip(names, moments, strict=True)}
    usual = {"cause": ReportCause.CHANGE, "result": result, "sent": UpdateKind.DELTA, "device": device}
    return {**usual, **times, "applied_ns": times["t_ns"], **more}


def harm(t: float, device: int, kind: MessageFault, place: int, size: int = 10) -> Row:
    """A row of the fault table."""
    return {"t_ns": ns(t), "device": device, "harm": kind, "place": place, "bytes": size}


def toggle(t: float, device: int, online: bool, why: ConnectivityCause = ConnectivityCause.CHURN) -> Row:
    """A row of the connection table."""
    return {"t_ns": ns(t), "device": device, "online": online, "why": why}


def columns_of(name: str, rows: Iterable[Row]) -> Columns:
    """Return *rows* as the columns of the table called *name*; what a row leaves out is 0."""
    ordered = sorted(enumerate(rows), key=lambda each: (each[1]["t_ns"], each[1]["device"]))
    columns = {}
    for column, kind in COLUMNS[name].items():
        values = [place if column == "order" else row.get(column, 0) for place, row in ordered]
        columns[column] = np.array(values, dtype=kind if isinstance(kind, str) else "u1")
    columns["device"] = columns["device"].astype(np.int64)
    return columns


def tables_of(**rows: Iterable[Row]) -> dict[str, Columns]:
    """Return the columns of all event tables."""
    return {name: columns_of(name, rows.get(name, ())) for name in COLUMNS}


def devices_of(*groups: str, **more: object) -> pa.Table:
    """Return a table of devices, one for each of *groups*."""
    names = [f"{group}-{at}" for at, group in enumerate(groups)]
    return pa.table({"device": names, "group": list(groups), **more})


def metrics_of(devices: pa.Table, timeline: RunTimeline, **rows: Iterable[Row]) -> RunMetrics:
    """Return the metrics of a run of *devices* with these rows."""
    return selected_of(devices, timeline, (), **rows)


def selected_of(
    devices: pa.Table, timeline: RunTimeline, selections: Sequence[RowSelection], **rows: Iterable[Row]
) -> RunMetrics:
    """Return the metrics of a run of *devices* with these rows, *selections* included."""
    return whole_metrics(tables_of(**rows), DeviceTable.read(devices), timeline, selections)


def whole_metrics(
    tables: Mapping[str, Columns],
    devices: DeviceTable,
    timeline: RunTimeline,
    selections: Sequence[RowSelection] = (),
) -> RunMetrics:
    """Return the metrics of a run that is one range."""
    scales = scan(tables, devices, timeline).scales()
    return RunMetrics(measure(tables, devices, timeline, scales, selections), scales, timeline)
