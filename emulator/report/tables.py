"""The tables of a report, as HTML. All texts from users and files pass through `escape`."""

import json
from collections.abc import Mapping, Sequence
from html import escape

from emulator.metrics.realtime_measurements import read_doubts
from emulator.report.axes import format_seconds
from emulator.report.key_descriptions import describe_key
from emulator.report.update_sums import LatencyDistribution
from scenarios.language.thresholds import shown_value
from wire.units import approximate_bytes

NONE = "–"


def headline_tiles(summary: Mapping[str, object]) -> str:
    """Return the tiles with the most important numbers."""
    tiles = list_headlines(summary)
    return "".join(f"<div><b>{value}</b><span>{text}</span></div>" for value, text in tiles)


def list_headlines(summary: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Return the most important numbers, each with what it is."""
    latency = _latency(summary)
    return (
        (share(_number(summary, "quality_ratio_to_full"), 1), "of full quality"),
        (_decimal(_number(summary, "ndcg_at_10")), "NDCG@10"),
        (share(_number(summary, "over_budget_share")), "of time over budget"),
        (_integer(_number(summary, "updates_applied")), "updates applied"),
        (share(_number(summary, "delta_ratio"), 1), "delta ratio: sent ÷ full pushes"),
        (_bytes(_number(summary, "update_bytes")), "update bytes"),
        (_bytes(_number(summary, "update_wire_bytes")), "bytes on the wire"),
        (NONE if latency is None else format_seconds(latency), "latency p95"),
    )


def run_terms(summary: Mapping[str, object]) -> str:
    """Return the identity of the run as a list of terms."""
    seconds = _number(summary, "simulated_seconds")
    terms = {
        "devices": _integer(_number(summary, "devices")),
        "simulated": NONE if seconds is None else format_seconds(seconds),
        "clock": str(summary.get("clock", NONE)),
        "seed": str(summary.get("seed", NONE)),
        "model": str(summary.get("model_version", NONE)),
    }
    return "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in terms.items())


def thresholds_section(summary: Mapping[str, object]) -> str:
    """Return the section with the thresholds; empty without thresholds."""
    listed = summary.get("thresholds")
    rules = [rule for rule in listed if isinstance(rule, dict)] if isinstance(listed, list) else []
    if not rules:
        return ""
    body = [
        row(
            [_text(rule.get("metric")), _text(rule.get("rule")), _rule_value(rule), _verdict(rule)],
            classes="passed" if rule.get("passed") else "failed",
        )
        for rule in rules
    ]
    return (
        f"<section><h2>Thresholds</h2>"
        f"{table(['metric', 'rule', 'value', 'verdict'], body, left=2, classes='stacked')}</section>"
    )


def warnings_section(summary: Mapping[str, object]) -> str:
    """Return warnings: results that depend on the machine's speed, and messages that the broker dropped."""
    lines = [f'<p class="failed">{escape(doubt)}</p>' for doubt in read_doubts(summary)]
    slow = f"<section><p><b>Read with care</b></p>{''.join(lines)}</section>" if lines else ""
    return slow + _dropped(_number(summary, "broker_messages_dropped"))


def _dropped(dropped: float | None) -> str:
    if not dropped:
        return ""
    return (
        f'<section><p class="failed"><b>The broker dropped {_integer(dropped)} messages</b>: '
        "a queue was full. Devices reported again, and dropped messages count as lost: the results depend "
        "on the broker's limits, too."
        "</p></section>"
    )


def _rule_value(threshold: Mapping[str, object]) -> str:
    """Return the value of a verdict, in the unit of its rule."""
    value = _number(threshold, "value")
    return escape(shown_value(str(threshold.get("metric")), str(threshold.get("rule")), value))


def _verdict(threshold: Mapping[str, object]) -> str:
    return f"<b>{'passed' if threshold.get('passed') else 'broken'}</b>"


def latency_table(latencies: Mapping[str, LatencyDistribution]) -> str:
    """Return the table of percentiles of all views."""
    names = ("p50", "p95", "p99", "max")
    body = [
        row([escape(name), f"{view.count:,}", *(_seconds(view.percentiles.get(key)) for key in names)])
        for name, view in latencies.items()
    ]
    return table(["of", "updates", *names], body)


def summary_table(summary: Mapping[str, object]) -> str:
    """Return the table of all keys of the summary with value, unit and meaning."""
    body = []
    for key, value in flatten(summary).items():
        unit, meaning = describe_key(key)
        shown = f"{len(value)}" if isinstance(value, list) and value else _plain(value, unit)
        body.append(row([f"<code>{escape(key)}</code>", shown, escape(unit), escape(meaning)]))
    return table(["key", "value", "unit", "meaning"], body, classes="summary stacked")


def flatten(summary: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the values of *summary* by dotted key."""
    flat: dict[str, object] = {}
    for key, value in summary.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def table(head: Sequence[str], body: Sequence[str], *, left: int = 1, classes: str = "") -> str:
    """Return a table; *head* is plain text, *body* are rows of HTML, the first *left* columns are text."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (  # tabindex, so that the table can be scrolled by keyboard
        f'<div class="scroll" tabindex="0"><table class="left{left} {classes}">'
        f"<thead><tr>{names}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def row(cells: Sequence[str], *, classes: str = "") -> str:
    """Return a row of a table from *cells* of HTML."""
    opening = f'<tr class="{classes}">' if classes else "<tr>"
    return opening + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def share(value: float | None, digits: int = 2) -> str:
    """Return *value* in percent; a small value above 0 is shown as ``<`` the last digit."""
    if value is None:
        return NONE
    if value == 0:
        return "0 %"
    least = 10.0**-digits
    percent = 100 * value
    return f"&lt; {least:g} %" if 0 < percent < least else f"{percent:.{digits}f} %"


def _number(summary: Mapping[str, object], key: str) -> float | None:
    value = summary.get(key)
    return value if isinstance(value, int | float) else None


def _latency(summary: Mapping[str, object]) -> float | None:
    percentiles = summary.get("update_latency_seconds")
    return _number(percentiles, "p95") if isinstance(percentiles, dict) else None


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
    return escape(value if isinstance(value, str) else json.dumps(value))


def _bytes(value: float | None) -> str:
    return NONE if value is None else approximate_bytes(value)


def _integer(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _decimal(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else "0 s" if value == 0 else format_seconds(value)
