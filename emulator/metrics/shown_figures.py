"""The figures of a summary that people are shown: five that matter first, and the others in groups.

The terminal, the report and the web pages show the same figures with the same words. Files keep every key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scenarios.catalogue.metrics import Unit
from scenarios.catalogue.summary_keys import key_of, value_at
from wire.units import NS_PER_S, TIME_UNITS, approximate_bytes

_LONGEST_SECONDS: Final = 120
"""A longer span is shown in minutes, hours or days."""
_SCORES: Final = ("ndcg_at_10", "recall_at_20", "hit_rate_at_10", "quality_regret")
"""Ends of the keys of scores, which are shares that nobody writes in percent."""


@dataclass(frozen=True)
class ShownFigure:
    """A figure for people."""

    key: str
    """The key in ``summary.json``, dotted where it is inside another."""
    label: str
    text: str
    """The value with its unit, such as ``24 MiB``."""
    interval: str = ""
    """Of a sample of the fleet, the ends of the interval: ``23 MiB to 25 MiB``; else empty."""


@dataclass(frozen=True)
class FigureGroup:
    """Figures under one heading."""

    title: str
    figures: tuple[ShownFigure, ...]


MAIN: Final[Mapping[str, str]] = {
    "quality_ratio_to_full": "quality, as a share of the full table's",
    "delta_ratio": "update traffic, as a share of full pushes",
    "over_budget_share": "time above the budget",
    "update_bytes": "update traffic",
    "update_latency_seconds.p95": "time until an update is in use (p95)",
}
"""The labels of the five figures that matter, in order."""
GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Run": {
        "devices": "devices",
        "sampled_devices": "of them simulated",
        "simulated_seconds": "simulated time",
        "wall_seconds": "time that it took",
        "device_hours_per_wall_minute": "device hours per minute of real time",
        "realtime_speed": "simulated seconds in a second",
        "shards": "processes of the fleet",
        "steered_by_hand": "deeds by hand",
    },
    "Quality": {
        "ndcg_at_10": "NDCG@10",
        "recall_at_20": "Recall@20",
        "hit_rate_at_10": "hit rate at 10",
        "full_ndcg_at_10": "NDCG@10 of the full table",
        "quality_regret": "NDCG@10 below the best for the budget",
        "below_best_share": "time with less than the best",
    },
    "Visits": {
        "visits": "visits",
        "prequential_ndcg_at_10": "NDCG@10 at a visit",
        "prequential_ndcg_at_10_of_cloud": "NDCG@10 at a visit, of the cloud's",
        "recommender_bytes_per_visit": "bytes per visit, without updates",
    },
    "Updates": {
        "budget_changes": "changes of a budget",
        "budget_reports": "budget reports",
        "reports_sent_again": "reports sent again by the broker's rules",
        "updates_applied": "updates taken into use",
        "updates_confirmed": "answers with nothing to change",
        "updates_superseded": "answers out of date",
        "updates_rejected": "answers damaged or with a gap",
        "updates_lost": "reports or answers lost",
        "update_latency_seconds.p50": "time until an update is in use (p50)",
        "update_latency_seconds.p99": "time until an update is in use (p99)",
        "update_latency_seconds.max": "time until an update is in use (max)",
    },
    "Traffic": {
        "update_wire_bytes": "updates on the wire",
        "full_update_bytes": "full pushes would have cost",
        "report_bytes": "budget reports",
        "wasted_bytes": "delivered, never used",
        "lost_bytes": "sent, never delivered",
        "bytes_per_device_hour": "updates per device and hour",
        "downlink_peak_1min": "down in the busiest minute",
        "uplink_peak_1min": "up in the busiest minute",
    },
    "Memory": {
        "budget_bytes": "budget of a device (mean)",
        "resident_bytes": "held by a device (mean)",
        "over_budget_device_seconds": "device time above the budget",
        "over_budget_bytes_max": "most bytes above a budget",
    },
    "Connections": {
        "online_share": "time connected",
        "disconnections": "connections broken",
        "messages_harmed": "messages lost, damaged or delayed",
        "broker_messages_dropped": "messages that the broker dropped",
    },
    "Real time": {
        "schedule_lag_seconds.p50": "lag of events (p50)",
        "schedule_lag_seconds.p95": "lag of events (p95)",
        "schedule_lag_seconds.max": "lag of events (max)",
        "round_trip_seconds.p50": "report to whole answer (p50)",
        "round_trip_seconds.p95": "report to whole answer (p95)",
        "round_trip_seconds.max": "report to whole answer (max)",
        "round_trips_per_second": "reports answered per second",
        "connections_made": "connections made",
        "connections_per_second": "connections made per second, at first",
        "connections_broken": "connections that broke",
        "connections_failed": "connections that failed",
        "shard_restarts": "restarts of processes of the fleet",
        "cloud_restarts": "restarts of clouds",
        "broker_restarts": "restarts of the broker",
    },
    "Costs": {
        "costs.total": "of the run",
        "costs.per_device_month": "per device and month",
    },
}
"""The labels of all other figures that are shown, by group. A figure that a run lacks is left out."""


def main_figures(summary: Mapping[str, object]) -> tuple[ShownFigure, ...]:
    """Return the five figures that matter, in order; without those that *summary* lacks."""
    return _figures(summary, MAIN)


def figure_groups(summary: Mapping[str, object]) -> tuple[FigureGroup, ...]:
    """Return the other figures that people are shown, in groups, without those that *summary* lacks."""
    groups = (FigureGroup(title, _figures(summary, labels)) for title, labels in GROUPS.items())
    return tuple(group for group in groups if group.figures)


def _figures(summary: Mapping[str, object], labels: Mapping[str, str]) -> tuple[ShownFigure, ...]:
    figures = (shown_figure(summary, key, label) for key, label in labels.items())
    return tuple(figure for figure in figures if figure is not None)


def shown_figure(summary: Mapping[str, object], key: str, label: str) -> ShownFigure | None:
    """Return the figure of *key* with its *label*; None if *summary* lacks it.

    Args:
        summary: of a run.
        key: dotted where it is inside another.
        label: what it is, in words.
    """
    value = value_at(key, summary)
    if value is None:
        return None
    text = value_text(key, value)
    if key.startswith("costs."):
        text = f"{text} {value_at('costs.currency', summary) or ''}".rstrip()
    ends = [value_at(f"intervals.{key}.{end}", summary) for end in ("low", "high")]
    interval = "" if None in ends else " to ".join(value_text(key, end) for end in ends)
    return ShownFigure(key, label, text, interval)


def value_text(key: str, value: object) -> str:
    """Return *value* as text in the unit of *key*.

    Args:
        key: of ``summary.json``.
        value: a number or a text; None: ``-``.
    """
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    found = key_of(key)
    match None if found is None else found.unit:
        case Unit.SECONDS:
            return seconds_text(value)
        case Unit.BYTES:
            return approximate_bytes(value)
        case Unit.BYTES_PER_SECOND:
            return f"{approximate_bytes(value)}/s"
        case Unit.PER_SECOND:
            return f"{_number_text(value)}/s"
        case Unit.SHARE if not key.endswith(_SCORES):
            return percent_text(value)
    return _number_text(value)


def percent_text(share: float) -> str:
    """Return *share* in percent, such as ``99.3 %``; as 0 % or 100 % only if it is exactly that."""
    percent = 100 * share
    for digits in range(1, 7):
        text = f"{percent:.{digits}f}"
        if percent in (0, 100) or float(text) not in (0, 100):
            return f"{text.rstrip('0').rstrip('.') if percent in (0, 100) else text} %"
    return f"{percent:.2g} %"


def seconds_text(seconds: float) -> str:
    """Return *seconds* rounded for people, in a unit that needs few digits: ``120 ms``, ``1.5 h``."""
    if not seconds:
        return "0 s"
    sizes = {name: size / NS_PER_S for name, size in TIME_UNITS.items()}
    if abs(seconds) >= _LONGEST_SECONDS:
        name = next(
            name for name in ("d", "h", "min") if abs(seconds) >= sizes[name] * (2 if name == "d" else 1)
        )
    else:
        name = next((name for name in ("s", "ms", "us") if abs(seconds) >= sizes[name]), "ns")
    value = seconds / sizes[name]
    return f"{value:,.0f} {name}" if abs(value) >= 1000 else f"{value:.3g} {name}"


def _number_text(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if value and abs(value) < 1e-4:
        return f"{value:.2g}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.4g}"
