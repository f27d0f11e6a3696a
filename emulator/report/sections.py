"""The sections of a report on faults and actions, latency parts, pressure, and metrics by dimension: HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import pyarrow as pa

from emulator.metrics.by_dimension import ALL
from emulator.report.axes import FULL, LOST, Json, format_seconds, time_unit, transparent
from emulator.report.figures import ReportFigure, View
from emulator.report.tables import NONE, row, share, table
from emulator.report.verdict import rollout_groups, rollout_text
from wire.units import approximate_bytes

SummaryDict = Mapping[str, Any]  # Any: JSON
Cells = Mapping[tuple[str, str], float | None]
"""Numbers of one value of a dimension, by metric and statistic."""

_PARTS = ("wait", "uplink", "queue", "selection", "downlink", "apply")
_PERCENTILES = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")
_LEVELS = ("normal", "moderate", "low", "critical")
_LOWEST = ("quality_ratio_to_full", "value")
_ORDERED = ("stage", "pressure", "budget_decile", "budget_range")
"""Dimensions whose values have a natural order; for others the lowest quality is shown first."""

_COLUMNS = (
    ("budget changes", ("budget_changes", "total"), "count"),
    ("reports", ("budget_reports", "total"), "count"),
    ("updates applied", ("updates_applied", "total"), "count"),
    ("update bytes", ("update_bytes", "total"), "bytes"),
    ("of full pushes", ("delta_ratio", "value"), "share"),
    ("wasted", ("wasted_share", "value"), "share"),
    ("latency p50", ("update_latency_seconds", "p50"), "seconds"),
    ("latency p95", ("update_latency_seconds", "p95"), "seconds"),
    ("over budget", ("over_budget_share", "value"), "share"),
    ("time to fit p95", ("time_to_fit_seconds", "p95"), "seconds"),
    ("online", ("online_share", "value"), "share"),
    ("NDCG@10", ("ndcg_at_10", "mean"), "decimal"),
    ("of full quality", _LOWEST, "share"),
    ("regret", ("quality_regret", "mean"), "decimal"),
)


_FAULTS = (
    "For each fault and action: the messages that it damaged, lost or delayed, and the devices that "
    "it affected. A device has recovered when it is connected again and holds the best PEE for its "
    "budget, or the PEE that it requested. Quality is the mean NDCG@10 of all devices; it has recovered "
    "when it is at 95 % of the value before. Times are counted from the end of the fault or action. An "
    "action counts the messages of its devices that were cut off in that time without a fault."
)
_ROLLOUT = (
    "A device has failed when it was connected for the whole timeout and did not hold the new version; it "
    "may still update later. Times are counted from the offer to the group."
)
_LATENCY = (
    "The same updates in parts: until the report was sent (wait), reached the cloud (uplink), was started "
    "(queue) and answered (selection), and until the answer was on the device (downlink) and in use "
    "(apply). The means add up to the mean of the latency; percentiles do not."
)
_PRESSURE = (
    "Device time at each level of memory pressure, and the number of changes from one level to another. "
    "The class of a device sets the free share of memory at which each level begins."
)
_SPLITS = (
    "The same numbers for parts of the fleet and of the time; the part with the lowest quality is "
    "marked. All metrics by every dimension are in <code>metrics.parquet</code>."
)


def faults_section(summary: SummaryDict) -> str:
    """Return the section on faults and actions; empty without any."""
    listed = [entry for key in ("faults", "actions") for entry in summary.get(key) or ()]
    if not listed:
        return ""
    head = ["what", "from", "until", "messages", "devices", "recovered", "all recovered after",
            "quality before", "lowest", "back after"]  # fmt: skip
    return (
        '<section class="long"><h2 id="faults">Faults and actions</h2>'
        f'<p class="caption">{_FAULTS}</p>{table(head, [*map(_fault_row, listed)])}</section>'
    )


def _fault_row(entry: Mapping[str, Any]) -> str:  # Any: JSON
    kinds = ("lost", "corrupted", "duplicated", "reordered", "cut_off", "refused")
    counts = {kind.replace("_", " "): entry[f"messages_{kind}"] for kind in kinds}
    messages = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    again, missing = entry["whole_again_seconds"], entry["devices_not_whole"]
    recovered = f"<b>never: {missing:,} devices</b>" if again is None else _formatted(again, "seconds")
    return row(
        [
            f"{escape(entry['type'])} <code>{escape(entry['at'])}</code>",
            _formatted(entry["start_seconds"], "seconds"),
            _formatted(entry["end_seconds"], "seconds"),
            f"{messages}: {_formatted(entry['harmed_bytes'], 'bytes')}" if messages else NONE,
            f"{entry['devices_affected']:,}",
            f"{entry['devices_recovered']:,}",
            recovered,
            _formatted(entry["quality_before"], "decimal"),
            _formatted(entry["quality_lowest"], "decimal"),
            _formatted(entry["quality_recovery_seconds"], "seconds"),
        ],
        classes="failed" if again is None else "",
    )


def rollout_section(summary: SummaryDict) -> str:
    """Return the section on a rollout: its outcome, and a row per group; empty without a rollout."""
    groups = rollout_groups(summary)
    if not groups:
        return ""
    head = ["group", "offered at", "offered to", "updated", "of the group", "failed", "withdrawn",
            "time to update p50", "p95", "max"]  # fmt: skip
    return (
        f'<section><h2 id="rollout">Rollout</h2><p class="caption">{escape(rollout_text(summary))} '
        f"{_ROLLOUT}</p>{table(head, [*map(_rollout_group, groups)])}</section>"
    )


def _rollout_group(group: Mapping[str, Any]) -> str:  # Any: JSON
    times = group["update_seconds"]
    return row(
        [
            f"{group['group']}",
            _formatted(group["offered_at_seconds"], "seconds"),
            *(f"{group[step]:,}" for step in ("offered", "updated")),
            _formatted(group["updated_share"], "share"),
            *(f"{group[step]:,}" for step in ("failed", "withdrawn")),
            *(_formatted(times.get(name), "seconds") for name in ("p50", "p95", "p100")),
        ],
        classes="failed" if group["failed"] or group["withdrawn"] else "",
    )


def latency_parts_table(summary: SummaryDict) -> str:
    """Return the table of the parts of the latency; empty for a run without latencies."""
    names = [name for name in _PARTS if isinstance(summary.get(f"latency_{name}_seconds"), dict)]
    if not names:
        return ""
    body = []
    for name in names:
        stats = summary[f"latency_{name}_seconds"]
        cells = [_formatted(stats.get(key), "seconds") for key in _PERCENTILES]
        body.append(row([name, _formatted(stats.get("n"), "count"), *cells]))
    return (
        f'<h3>Where the time went</h3><p class="caption">{_LATENCY}</p>'
        f"{table(['part', 'updates', *_PERCENTILES], body)}"
    )


def pressure_section(summary: SummaryDict) -> str:
    """Return the section on pressure: the time at each level, and the changes between levels."""
    times = summary.get("pressure_seconds_by_level")
    if not isinstance(times, dict):
        return ""
    total = sum(seconds or 0.0 for seconds in times.values()) or 1.0
    matrix = summary.get("pressure_transitions_by_level") or {}
    body = [
        row(
            [
                level,
                _formatted(times.get(level), "seconds"),
                share((times.get(level) or 0.0) / total),
                *(
                    f"{matrix.get(level, {}).get(other, 0):,}" if other != level else NONE
                    for other in _LEVELS
                ),
            ]
        )
        for level in _LEVELS
    ]
    head = ["level", "device time", "share", *(f"to {level}" for level in _LEVELS)]
    return (
        f'<section><h2 id="pressure">Pressure</h2><p class="caption">{_PRESSURE}</p>'
        f"{table(head, body)}</section>"
    )


def dimensions_section(measured: pa.Table | None) -> str:
    """Return the section of metrics by dimension, from the table of all metrics; empty without it."""
    if measured is None:
        return ""
    cells: dict[str, dict[str, dict[tuple[str, str], float | None]]] = {}
    shown = {pair for _, pair, _ in _COLUMNS}
    columns = (measured[name].to_pylist() for name in ("metric", "dimension", "value", "statistic", "number"))
    for metric, dimension, value, statistic, number in zip(*columns, strict=True):
        if (metric, statistic) in shown:
            cells.setdefault(dimension, {}).setdefault(value, {})[metric, statistic] = number
    fleet = cells.pop(ALL, {}).get("", {})
    # Dimensions that only some metrics have are left out.
    general = [name for name, values in cells.items() if all(_LOWEST in own for own in values.values())]
    options = "".join(
        f'<option value="{number}">{escape(name)}</option>' for number, name in enumerate(general)
    )
    tables = "".join(
        f'<div class="split"><h3>{escape(name)}</h3>{_dimension_table(name, cells[name], fleet)}</div>'
        for name in general
    )
    return (
        f'<section class="long"><h2 id="splits">By dimension</h2><p class="caption">{_SPLITS}</p>'
        f'<label class="choose">by <select id="split-by">{options}</select></label>{tables}</section>'
    )


def _has_values(cells: Cells) -> bool:
    return any(number for number in cells.values())


def _dimension_table(name: str, values: Mapping[str, Cells], fleet: Cells) -> str:
    used = {value: cells for value, cells in values.items() if _has_values(cells)}
    ratios = {value: cells[_LOWEST] for value, cells in used.items() if cells[_LOWEST] is not None}
    lowest = min(ratios, key=lambda value: ratios[value] or 0.0) if len(set(ratios.values())) > 1 else None
    order = [*used]
    if name not in _ORDERED and lowest is not None:
        order.sort(key=lambda value: value != lowest)
    body = [_dimension_row(value, used[value], worst=value == lowest) for value in order]
    return table(
        [name, *(title for title, _, _ in _COLUMNS)], [*body, _dimension_row(ALL, fleet, worst=False)]
    )


def _dimension_row(value: str, cells: Cells, *, worst: bool) -> str:
    mark = " <em>lowest</em>" if worst else ""
    shown = [_formatted(cells.get(pair), form) for _, pair, form in _COLUMNS]
    return row([escape(value) + mark, *shown], classes="worst" if worst else "")


def _formatted(value: float | None, form: str) -> str:
    if value is None:
        return NONE
    match form:
        case "count":
            return f"{value:,.0f}"
        case "bytes":
            return approximate_bytes(value)
        case "share":
            return share(value, 1)
        case "seconds":
            return "0 s" if value == 0 else format_seconds(value)
    return f"{value:.4f}"


def mark_events(figure: ReportFigure, summary: SummaryDict) -> ReportFigure:
    """Return a *figure* over simulated time with shaded faults and marks for stages and actions."""
    simulated = float(summary["simulated_seconds"])
    shapes, notes = _marks(summary, simulated)
    if not shapes:
        return figure
    return replace(figure, views=[_with_marks(view, shapes, notes) for view in figure.views])


def _with_marks(view: View, shapes: Sequence[Json], notes: Sequence[Json]) -> View:
    layout = {**view.layout}
    for key, more in (("shapes", shapes), ("annotations", notes)):
        present = layout.get(key, [])
        assert isinstance(present, list)
        layout[key] = [*present, *more]
    return replace(view, layout=layout)


def _marks(summary: SummaryDict, simulated: float) -> tuple[list[Json], list[Json]]:
    size = time_unit(simulated).size
    shapes: list[Json] = []
    for start, end in _merged(summary.get("faults") or ()):
        if start < simulated:
            shapes.append(_band(start / size, min(end, simulated) / size))
    starts = [action["start_seconds"] for action in summary.get("actions") or ()]
    shapes += [_upright(start / size, "dot") for start in starts if start < simulated]
    notes: list[Json] = []
    for stage in summary.get("stages") or ():
        if stage["start_seconds"] < simulated:
            at = stage["start_seconds"] / size
            shapes.append(_upright(at, "solid"))
            notes.append(_name(escape(stage["name"]), at))
    return shapes, notes


def _merged(spans: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:  # Any: JSON
    """Return the union of *spans*, so that overlapping faults are shaded once."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted((span["start_seconds"], span["end_seconds"]) for span in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _band(start: float, end: float) -> Json:
    over: Json = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0}}
    return {"type": "rect", "x0": start, "x1": end, "fillcolor": transparent(LOST, 0.08), **over}


def _upright(at: float, dash: str) -> Json:
    over: Json = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "line": {"color": transparent(FULL, 0.6), "width": 1, "dash": dash},
        **over,
    }


def _name(text: str, at: float) -> Json:
    return {
        "text": text,
        "x": at,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "showarrow": False,
        "font": {"size": 11},
    }
