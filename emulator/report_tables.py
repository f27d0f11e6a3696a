"""The tables of a report: HTML text. Whatever a person or a file said goes through `escape`."""

import json
from collections.abc import Mapping, Sequence
from html import escape

from emulator.report_axes import duration
from emulator.report_series import Latency
from emulator.report_states import GroupRow, worst
from wire.units import approximate_bytes

NONE = "–"

MEANINGS = {
    "scenario": ("", "name of the scenario"),
    "seed": ("", "seed of everything random in the run"),
    "clock": ("", "how time passed and messages travelled"),
    "devices": ("devices", "in the fleet"),
    "model_version": ("", "hash of the block store that the cloud served"),
    "simulated_seconds": ("s", "simulated time from the start to the stop time"),
    "wall_seconds": ("s", "time that the simulation took"),
    "device_hours_per_wall_minute": ("device h", "simulated device time per minute of real time"),
    "budget_changes": ("changes", "of budgets, first ones included"),
    "budget_reports": ("reports", "that devices sent, repeats included"),
    "updates_applied": ("updates", "that changed what a device holds"),
    "updates_confirmed": ("updates", "that had nothing to bring: the right PEE was held already"),
    "updates_superseded": ("updates", "that a newer report had made stale"),
    "updates_rejected": ("updates", "that were damaged or had a gap"),
    "updates_lost": ("updates", "of which the report or the end of the answer never arrived"),
    "update_bytes": ("bytes", "payload of updates, toward the devices"),
    "update_wire_bytes": ("bytes", "the same with MQTT and TCP/IP framing"),
    "full_update_bytes": ("bytes", "what pushing every PEE whole would have cost"),
    "delta_ratio": ("ratio", "update bytes ÷ full update bytes"),
    "report_bytes": ("bytes", "payload of budget reports, toward the cloud"),
    "wasted_bytes": ("bytes", "delivered but never used"),
    "lost_bytes": ("bytes", "sent but never delivered"),
    "over_budget_device_seconds": ("device s", "time in which a device held more than its budget"),
    "over_budget_share": ("ratio", "the same as a share of all device time"),
    "ndcg_at_10": ("0 to 1", "NDCG@10, full ranking, seen items masked; mean over device time"),
    "recall_at_20": ("0 to 1", "Recall@20, likewise"),
    "hit_rate_at_10": ("0 to 1", "hit rate at 10, likewise"),
    "quality_ratio_to_full": ("ratio", "NDCG@10 ÷ that of the same devices with the full table"),
    "quality_regret": (
        "NDCG@10",
        "what the best PEE for the budget would have had more; mean over device time",
    ),
    "update_latency_seconds.p50": ("s", "budget change to PEE applied, simulated time: half were faster"),
    "update_latency_seconds.p95": ("s", "19 of 20 were faster"),
    "update_latency_seconds.p99": ("s", "99 of 100 were faster"),
    "update_latency_seconds.max": ("s", "the slowest"),
    "event_log_sha256": ("", "hash of the logical event log; the same run has the same"),
    "reports_sent_again": ("reports", "that the transport repeated, where a broker was used"),
    "thresholds": ("", "see above"),
}
"""Unit and meaning of the keys of ``summary.json``; a key that is not here is shown without."""


def headline(summary: Mapping[str, object]) -> str:
    """Return the strip of the figures that matter most."""
    latency = _latency(summary)
    tiles = (
        (share(_number(summary, "quality_ratio_to_full"), 1), "of full quality"),
        (_decimal(_number(summary, "ndcg_at_10")), "NDCG@10"),
        (share(_number(summary, "over_budget_share")), "of time over budget"),
        (_whole(_number(summary, "updates_applied")), "updates applied"),
        (share(_number(summary, "delta_ratio"), 1), "delta ratio: sent ÷ full pushes"),
        (_bytes(_number(summary, "update_bytes")), "update bytes"),
        (_bytes(_number(summary, "update_wire_bytes")), "bytes on the wire"),
        (NONE if latency is None else duration(latency), "latency p95"),
    )
    return "".join(f"<div><b>{value}</b><span>{what}</span></div>" for value, what in tiles)


def identity(summary: Mapping[str, object]) -> str:
    """Return what was run, as a list of terms."""
    seconds = _number(summary, "simulated_seconds")
    terms = {
        "devices": _whole(_number(summary, "devices")),
        "simulated": NONE if seconds is None else duration(seconds),
        "clock": str(summary.get("clock", NONE)),
        "seed": str(summary.get("seed", NONE)),
        "model": str(summary.get("model_version", NONE)),
    }
    return "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in terms.items())


def thresholds(summary: Mapping[str, object]) -> str:
    """Return a section with the thresholds, nothing where there are none."""
    listed = summary.get("thresholds")
    rows = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    if not rows:
        return ""
    body = [
        row(
            [_text(each.get("metric")), _text(each.get("rule")), _plain(each.get("value")), _verdict(each)],
            classes="" if each.get("passed") else "failed",
        )
        for each in rows
    ]
    return (
        f"<section><h2>Thresholds</h2>{table(['metric', 'rule', 'value', 'verdict'], body, left=2)}</section>"
    )


def _verdict(threshold: Mapping[str, object]) -> str:
    return "passed" if threshold.get("passed") else "<b>broken</b>"


def latency_table(latencies: Mapping[str, Latency]) -> str:
    """Return the percentiles of every view."""
    names = ("p50", "p95", "p99", "max")
    body = [
        row([escape(name), f"{each.count:,}", *(_seconds(each.percentiles.get(key)) for key in names)])
        for name, each in latencies.items()
    ]
    return table(["", "updates", *names], body)


def group_table(rows: Sequence[GroupRow]) -> str:
    """Return the fleet's groups, a row each."""
    head = ["group", "devices", "budget changes", "updates applied", "update bytes", "of full pushes",
            "over budget", "share of time", "NDCG@10", "of full quality"]  # fmt: skip
    body = [
        row(
            [
                escape(each.name),
                f"{each.devices:,}",
                f"{each.changes:,}",
                f"{each.applied:,}",
                _bytes(each.update_bytes),
                share(each.delta_ratio, 1),
                _seconds(each.over_seconds),
                share(each.over_share),
                _decimal(each.ndcg),
                share(each.ratio, 1),
            ]
        )
        for each in rows
    ]
    return table(head, body)


def user_group_table(rows: Sequence[GroupRow]) -> str:
    """Return the groups of users, the one with the lowest quality marked."""
    lowest = worst(rows)
    body = [
        row(
            [
                escape(each.name) + (" <em>lowest</em>" if each is lowest else ""),
                f"{each.devices:,}",
                f"{each.applied:,}",
                _bytes(each.update_bytes),
                _decimal(each.ndcg),
                share(each.ratio, 1),
            ],
            classes="worst" if each is lowest else "",
        )
        for each in rows
    ]
    return table(
        ["user group", "devices", "updates applied", "update bytes", "NDCG@10", "of full quality"], body
    )


def summary_table(summary: Mapping[str, object]) -> str:
    """Return every key of the summary with its value, unit and meaning."""
    body = []
    for key, value in flatten(summary).items():
        unit, meaning = MEANINGS.get(key, ("", ""))
        body.append(row([f"<code>{escape(key)}</code>", _plain(value, unit), escape(unit), escape(meaning)]))
    return table(["key", "value", "unit", "meaning"], body, classes="summary")


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
    return (
        f'<div class="scroll"><table class="left{left} {classes}"><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def row(cells: Sequence[str], *, classes: str = "") -> str:
    """Return a row of a table from *cells* of HTML."""
    opening = f'<tr class="{classes}">' if classes else "<tr>"
    return opening + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def share(value: float | None, digits: int = 2) -> str:
    """Return *value* in percent; what is more than nothing does not look like nothing."""
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
    """Return a value of the summary in full."""
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


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _decimal(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else "0 s" if value == 0 else duration(value)
