"""The tables of a report on the whole run: rules, latencies, all keys; and numbers as texts."""

import json
from collections.abc import Mapping

from emulator.metrics.realtime_measurements import read_doubts
from emulator.metrics.shown_figures import ShownFigure, figure_groups
from emulator.report.axes import format_seconds
from emulator.report.key_descriptions import describe_key
from emulator.report.page_parts import ReportCell, ReportRow, ReportSection, ReportTable
from emulator.report.update_sums import LatencyDistribution
from emulator.report.verdict import list_rules
from scenarios.language.thresholds import shown_value
from wire.units import approximate_bytes

NONE = "–"


def figures_section(summary: Mapping[str, object]) -> ReportSection:
    """Return the section with the figures that people are shown, in groups."""
    groups = figure_groups(summary)
    tables = [
        ReportTable(
            group.title,
            [group.title, "value"],
            [ReportRow([each.label, _with_interval(each)]) for each in group.figures],
        )
        for group in groups
    ]
    finding = f"{sum(len(group.figures) for group in groups)} figures, in {len(groups)} groups."
    return ReportSection("figures", "Figures", finding, "", tables, folded=True, beside=True)


def _with_interval(figure: ShownFigure) -> str:
    return f"{figure.text} ({figure.interval})" if figure.interval else figure.text


def run_terms(summary: Mapping[str, object]) -> dict[str, str]:
    """Return the identity of the run, by name."""
    seconds = _number(summary, "simulated_seconds")
    return {
        "devices": _integer(_number(summary, "devices")),
        "simulated": NONE if seconds is None else format_seconds(seconds),
        "clock": str(summary.get("clock", NONE)),
        "seed": str(summary.get("seed", NONE)),
        "model": str(summary.get("model_version", NONE)),
    }


def thresholds_table(summary: Mapping[str, object]) -> ReportTable | None:
    """Return the rules with what was measured, each in the unit of its rule; None without rules."""
    rows = [
        ReportRow(
            [
                _text(rule.get("metric")),
                ReportCell(_text(rule.get("rule")), code=True),
                _rule_value(rule),
                ReportCell("passed" if rule.get("passed") else "broken", strong=True),
            ],
            "passed" if rule.get("passed") else "failed",
        )
        for rule in list_rules(summary)
    ]
    return ReportTable("Thresholds", ["metric", "rule", "value", "verdict"], rows, left=2) if rows else None


def list_warnings(summary: Mapping[str, object]) -> list[str]:
    """Return warnings: results that depend on the machine's speed, and messages that the broker dropped."""
    dropped = _number(summary, "broker_messages_dropped")
    lines = [*read_doubts(summary)]
    deeds = _number(summary, "steered_by_hand")
    if deeds:
        lines.append(f"This run was steered by hand, {_integer(deeds)} times: deeds.json has the deeds.")
    if dropped:
        lines.append(
            f"The broker dropped {_integer(dropped)} messages: a queue was full. Devices reported again, and "
            "dropped messages count as lost: the results depend on the broker's limits, too."
        )
    return lines


def _rule_value(threshold: Mapping[str, object]) -> str:
    """Return the value of a verdict, in the unit of its rule."""
    value = _number(threshold, "value")
    return shown_value(str(threshold.get("metric")), str(threshold.get("rule")), value)


def latency_table(latencies: Mapping[str, LatencyDistribution]) -> ReportTable:
    """Return the table of percentiles of all views."""
    names = ("p50", "p95", "p99", "max")
    rows = [
        ReportRow(
            [name, f"{view.count:,}", *(formatted(view.percentiles.get(key), "seconds") for key in names)]
        )
        for name, view in latencies.items()
    ]
    return ReportTable("Latency by group", ["of", "updates", *names], rows)


def summary_table(summary: Mapping[str, object]) -> ReportTable:
    """Return the table of all keys of the summary with value, unit and meaning."""
    rows = []
    for key, value in flatten(summary).items():
        unit, meaning = describe_key(key)
        shown = f"{len(value)}" if isinstance(value, list) and value else _plain(value, unit)
        rows.append(ReportRow([ReportCell(key, code=True), shown, unit, meaning]))
    return ReportTable("All keys of the summary", ["key", "value", "unit", "meaning"], rows, long=True)


def flatten(summary: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the values of *summary* by dotted key."""
    flat: dict[str, object] = {}
    for key, value in summary.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def share(value: float | None, digits: int = 2) -> str:
    """Return *value* in percent; a small value above 0 is shown as ``<`` the last digit."""
    if value is None:
        return NONE
    if value == 0:
        return "0 %"
    least = 10.0**-digits
    percent = 100 * value
    return f"< {least:g} %" if 0 < percent < least else f"{percent:.{digits}f} %"


def formatted(value: float | None, form: str) -> str:
    """Return a number as text; *form* is count, bytes, share, seconds or decimal."""
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


def _number(summary: Mapping[str, object], key: str) -> float | None:
    value = summary.get(key)
    return value if isinstance(value, int | float) else None


def _plain(value: object, unit: str = "") -> str:
    """Return a value of the summary with all digits."""
    if value is None:
        return NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _text(value)
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    size = f" ({approximate_bytes(value)})" if unit == "bytes" and value >= 1024 else ""
    return (f"{value:,}" if unit else str(value)) + size


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _integer(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"
