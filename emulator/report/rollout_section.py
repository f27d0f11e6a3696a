"""The section of a report on model versions: who holds which, how each group fared, what it cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from emulator.report.axes import (
    BUDGET,
    FULL,
    HELD,
    LOST,
    REJECTED,
    SENT,
    SUPERSEDED,
    WASTED,
    WIRE,
    Json,
    axis,
    byte_unit,
    json_numbers,
    maximum,
    sampled_line,
    step_line,
    time_axis,
    time_unit,
    transparent,
)
from emulator.report.figures import LOWER, UPPER, ReportFigure, View
from emulator.report.keyed_sums import IntArray
from emulator.report.page_parts import ReportRow, ReportSection, ReportTable
from emulator.report.tables import formatted
from emulator.report.update_sums import UpdateSums
from emulator.report.verdict import rollout_groups, rollout_text, whole_percent
from emulator.report.version_sums import VersionSums
from wire.units import NS_PER_S, approximate_bytes

_COLORS = (FULL, HELD, BUDGET, SENT, SUPERSEDED, REJECTED, WIRE, WASTED, LOST)
_CAPTION = (
    "A device has failed when it was connected for the whole timeout and did not hold the new version; it "
    "may still update later. Times are counted from the offer to the group."
)


def is_rollout(versions: VersionSums) -> bool:
    """Return True if a run had more than one model version."""
    return bool(versions.updated) or len([each for each in versions.held if each >= 0]) > 1


def rollout_figure(versions: VersionSums, updates: UpdateSums, stop_s: float) -> ReportFigure:
    """Return the devices by the version that they hold, and by group of the rollout, beside its bytes."""
    counts = {_version(number): held for number, held in versions.held.items() if held.any()}
    groups = {f"group {number}": done for number, done in versions.updated.items()}
    shown = {"devices by version": counts} | ({"devices updated, by group": groups} if groups else {})
    model, sent = int(versions.model_bytes.sum()), int(updates.traffic_series().sent_bytes.sum())
    cost = f"New versions took {approximate_bytes(model)} of updates"
    return ReportFigure(
        "rollout",
        "Model versions",
        f"{cost}, {whole_percent(model / sent)} of all." if sent else f"{cost}.",
        "Above: how many devices hold each model version, stacked; or how many devices of each group of the "
        "rollout hold the new one. Look for steps that stop short: devices that are away, or that the update "
        "does not reach. Below: payload of updates in each interval, those of a new version and all.",
        [
            _versions_view(label, curves, versions, updates, stop_s, stacked=at == 0)
            for at, (label, curves) in enumerate(shown.items())
        ],
        height=460,
    )


def _version(number: int) -> str:
    return "no table yet" if number < 0 else f"version {number + 1}"


def _versions_view(
    label: str,
    curves: Mapping[str, IntArray],
    versions: VersionSums,
    updates: UpdateSums,
    stop_s: float,
    *,
    stacked: bool,
) -> View:
    data: list[Json] = []
    for number, (name, values) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        line = sampled_line(name, values.astype(np.float64), color, stop_s, "devices")
        area: Json = {"stackgroup": "versions", "fillcolor": transparent(color, 0.45)}
        data.append(line | (area if stacked else {}))
    traffic = updates.traffic_series()
    caused = versions.model_bytes[: len(traffic.sent_bytes)]
    unit = byte_unit(maximum(traffic.sent_bytes))
    edges = json_numbers(traffic.edges_ns / NS_PER_S / time_unit(stop_s).size)
    below: Json = {"yaxis": "y2"}
    fill: Json = {"fill": "tozeroy", "fillcolor": transparent(HELD)}
    data += [
        step_line("all updates", edges, traffic.sent_bytes / unit.size, FULL, unit.name) | below,
        step_line("because of a new version", edges, caused / unit.size, HELD, unit.name) | below | fill,
    ]
    return View(
        label,
        data,
        {
            "xaxis": time_axis(stop_s, float(traffic.edges_ns[-1]) / NS_PER_S) | {"anchor": "y2"},
            "yaxis": axis("devices", rangemode="tozero", domain=UPPER),
            "yaxis2": axis(unit.name, rangemode="tozero", domain=LOWER, nticks=4),
        },
    )


def rollout_section(
    summary: Mapping[str, object], figure: ReportFigure | None = None
) -> ReportSection | None:
    """Return the section: the outcome, the *figure*, and a row per group; None without a new version."""
    groups = rollout_groups(summary)
    if not groups and figure is None:
        return None
    head = ["group", "offered at", "offered to", "updated", "of the group", "failed", "withdrawn",
            "time to update p50", "p95", "max"]  # fmt: skip
    table = ReportTable("Rollout by group", head, [*map(_group_row, groups)])
    finding = rollout_text(summary) or (figure.finding if figure else "")
    parts = ([figure] if figure else []) + ([table] if groups else [])
    return ReportSection("rollout", "Rollout", finding, _CAPTION if groups else "", parts)


def _group_row(group: Mapping[str, Any]) -> ReportRow:  # Any: JSON
    times = group["update_seconds"]
    return ReportRow(
        [
            f"group {group['group']}",
            formatted(group["offered_at_seconds"], "seconds"),
            *(f"{group[step]:,}" for step in ("offered", "updated")),
            formatted(group["updated_share"], "share"),
            *(f"{group[step]:,}" for step in ("failed", "withdrawn")),
            *(formatted(times.get(name), "seconds") for name in ("p50", "p95", "p100")),
        ],
        "failed" if group["failed"] or group["withdrawn"] else "",
    )
