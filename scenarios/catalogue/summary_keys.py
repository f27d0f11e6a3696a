"""The keys of ``summary.json``: units and descriptions.

Keys inside others are written with dots: ``update_latency_seconds.p95``, ``faults.0.devices_affected``. The
page and the report print this, and thresholds may use the keys that are numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scenarios.catalogue.metrics import METRICS, Kind, Unit, find_metric


@dataclass(frozen=True)
class Key:
    """A key of the summary."""

    meaning: str
    unit: Unit | None = None
    """None: it is not a number."""
    of: str = ""
    """The things that are counted, for a number of things."""

    @property
    def shown_unit(self) -> str:
        """The unit for people; empty if there is none."""
        return self.of or ("" if self.unit in (None, Unit.NUMBER) else str(self.unit))


def _count(of: str, meaning: str) -> Key:
    return Key(meaning, Unit.NUMBER, of)


def _seconds(meaning: str) -> Key:
    return Key(meaning, Unit.SECONDS)


KEYS: Final[Mapping[str, Key]] = {
    "scenario": Key("name of the scenario"),
    "seed": Key("seed of everything random in the run", Unit.NUMBER),
    "clock": Key("how time passed and messages travelled"),
    "devices": _count("devices", "in the fleet"),
    "model_version": Key("hash of the block store that the cloud served"),
    "simulated_seconds": _seconds(
        "simulated time from the start to the stop time, or to where a threshold ended it"
    ),
    "wall_seconds": _seconds("time that the simulation took"),
    "device_hours_per_wall_minute": Key(
        "simulated device time per minute of real time", Unit.NUMBER, "device h"
    ),
    "worst": Key(
        "for each dimension that devices belong to, the value with the lowest share of full quality, the "
        "most time over budget and the longest latency (p95); null where fewer than two have such a figure, "
        "or all the same; of equals the first in the order of metrics.parquet"
    ),
    "stages": Key("parts of the run: the name of each, and when it begins and ends"),
    "faults": Key("an account of each fault: see above"),
    "actions": Key("an account of each action: see above"),
    "rollout": Key("how each group of a rollout fared, in the order of their turns: see below"),
    "cloud_egress_bytes": Key(
        "payload of updates that left the cloud: with shared delivery each layer once", Unit.BYTES
    ),
    "broker_egress_bytes": Key("payload of updates that left the broker toward devices", Unit.BYTES),
    "warmup_seconds": _seconds("thresholds leave out the time before this"),
    "aborted_at_seconds": _seconds("when a threshold, or a hand, ended the run early; null: none did"),
    "event_log_sha256": Key("hash of the logical event log (events.md); the same run has the same"),
    "reports_sent_again": _count("reports", "that the transport repeated, where a broker was used"),
    "thresholds": Key("verdicts in the order of the file: metric, rule, value, and whether it passed"),
}
"""Keys of every run that are no metrics, but for those of real time."""
SAMPLE_KEYS: Final[Mapping[str, Key]] = {
    "sampled_devices": _count("devices", "of the fleet that were simulated, at least one of each group"),
    "sample_share": Key("share of each group that was simulated", Unit.SHARE),
    "intervals": Key(
        "for some figures an interval, `low` to `high`: all of them hold the figures of the whole fleet with "
        "95 %; null where fewer than 30 devices of the sample have a value"
    ),
}
"""Keys of a run of a sample of the fleet only."""
ESTIMATED: Final[Mapping[str, str]] = {
    **{
        name: name
        for name in (
            "budget_changes", "budget_reports", "updates_applied", "update_bytes", "update_wire_bytes",
            "report_wire_bytes", "over_budget_device_seconds", "below_best_seconds", "ndcg_at_10",
            "recall_at_20", "hit_rate_at_10", "quality_ratio_to_full", "delta_ratio",
        )
    },
    "update_latency_mean_seconds": "update_latency_seconds",
}  # fmt: skip
"""The figures in `intervals`, and the metric of each."""
_ITEMS: Final = ("gb_down", "gb_up", "messages_down", "messages_up", "connection_minutes")
COSTS: Final[Mapping[str, Key]] = {
    "currency": Key("of all costs"),
    "total": Key("of the run, for the whole fleet", Unit.NUMBER, "currency"),
    "per_device_month": Key(
        "total ÷ devices, for 30 days at the mean rate of the run", Unit.NUMBER, "currency"
    ),
    "by_item": Key(f"the total by what is charged: {', '.join(_ITEMS)}"),
    "by_group": Key("the total by group of the fleet"),
    "billed": Key("how much of each item was charged; messages in units of `prices.message_unit`"),
}
"""Keys of `costs`, which is there only where the scenario has `prices`."""
REALTIME_KEYS: Final[Mapping[str, Key]] = {
    "realtime_speed": Key("simulated seconds in a second", Unit.NUMBER),
    "shards": _count("processes", "that carried the fleet"),
    "schedule_lag_seconds": _seconds("how late events were, one value a turn: p50, p95, p99, max, count"),
    "realtime_doubts": Key(
        "reasons, in words, why figures are this machine's, not the scenario's: see below"
    ),
    "schedule_late_turns": _count("turns", "later than `realtime.max_lag`, which end a run without `--live`"),
    "round_trip_simulated_seconds": _seconds(
        "round trips in simulated time, which is times the speed: p50, p95, p99, max, count"
    ),
    "reports_published": _count("reports", "that went to the real broker"),
    "reports_answered": _count("reports", "of those whose answer was complete in time"),
    "reports_unanswered": _count(
        "reports", "of those without one within `updates.retry_after`; the rest was overtaken"
    ),
    "connect_seconds": _seconds(
        "from a device's CONNECT until it had subscribed, with `connections: per_device`"
    ),
    "connections_per_second": Key(
        "made for the devices that were there before simulated time began", Unit.PER_SECOND
    ),
    "round_trip_seconds": _seconds("from a report's PUBLISH to its whole answer"),
    "round_trips_per_second": Key("reports answered", Unit.PER_SECOND),
    "connections_made": _count("connections", "to the broker"),
    "connections_broken": _count("connections", "those that broke by themselves"),
    "connections_failed": _count("attempts", "to connect that failed"),
    "answers_stale": _count("parts", "of answers that came twice or too late"),
    "messages_refused": _count("messages", "from the broker, damaged or unknown"),
    "messages_unsent": _count("messages", "not sent, or not confirmed, because a connection was gone"),
    "shard_restarts": _count("times", "a process of the fleet was started again"),
    "cloud_restarts": _count("times", "a cloud service was started again"),
    "broker_restarts": _count("times", "the broker was started again"),
    "broker_messages_dropped": _count("messages", "that the broker dropped, as a queue was full: see below"),
}
"""Keys that have a value under the clock `realtime` only."""
ACCOUNT: Final[Mapping[str, Key]] = {
    "type": Key("type of the fault or action"),
    "at": Key("when, as the scenario says it"),
    "start_seconds": _seconds("when it began"),
    "end_seconds": _seconds("when it ended; for an action, when it had happened to all of its devices"),
    "messages_lost": _count("messages", "reports and parts lost"),
    "messages_corrupted": _count("messages", "reports and parts damaged"),
    "messages_duplicated": _count("messages", "reports and parts that came twice"),
    "messages_reordered": _count("messages", "parts held back"),
    "messages_cut_off": _count("messages", "reports and parts under way when a connection broke"),
    "messages_refused": _count("messages", "reports that the cloud's queue had no room for"),
    "harmed_bytes": Key("payload of all of these", Unit.BYTES),
    "devices_affected": _count("devices", "that it concerned"),
    "devices_recovered": _count(
        "devices",
        "of these that recovered: connected, and held the best PEE for the budget or what they asked for",
    ),
    "devices_not_whole": _count("devices", "of these that did not recover"),
    "whole_again_seconds": _seconds("from its end until all had recovered; null: never"),
    "quality_before": Key("mean NDCG@10 right before it", Unit.SHARE),
    "quality_lowest": Key("the lowest mean until it had recovered", Unit.SHARE),
    "quality_recovery_seconds": _seconds("from its end until the mean was at 95 % again; null: never"),
}
"""Keys of an account of a fault or an action."""
ROLLOUT: Final[Mapping[str, Key]] = {
    "group": Key("number of the group", Unit.NUMBER),
    "offered_at_seconds": _seconds("when its turn began"),
    "offered": _count("devices", "that were offered the new version"),
    "updated": _count("devices", "that held it"),
    "failed": _count("devices", "that were connected for the timeout and did not"),
    "withdrawn": _count("devices", "that were sent back to the old version"),
    "updated_share": Key("updated ÷ offered", Unit.SHARE),
    "update_seconds": _seconds("from the beginning of the turn until a device held it: p50, p95, p100, max"),
}
"""Keys of a group of a rollout."""
STAGE: Final[Mapping[str, Key]] = {
    "name": Key("of the stage"),
    "start_seconds": _seconds("when it begins"),
    "end_seconds": _seconds("when it ends"),
}
"""Keys of a stage."""
STATISTICS: Final[Mapping[str, str]] = {
    "n": "how many there were",
    "mean": "their mean",
    **{f"p{percent}": f"{percent} % were no larger" for percent in ("50", "90", "95", "99", "99.9")},
    "max": "the most",
}
"""The keys of a trend in the summary."""
BREAKDOWNS: Final[Mapping[str, str]] = {
    "budget_changes": "direction",
    "update_bytes": "kind",
    "pressure_seconds": "level",
    "connects": "why",
    "disconnections": "why",
    "messages_harmed": "harm",
}
"""Metrics that the summary also splits by a dimension of their own: ``<metric>_by_<dimension>``."""
PAIRS: Final[Mapping[str, tuple[str, str, str]]] = {
    "budget_reports_by_cause": ("budget_reports", "cause", "result"),
    "pressure_transitions_by_level": ("pressure_transitions", "from", "to"),
}
"""Metrics that the summary splits by two dimensions of their own; only pairs with events are present."""
PLUGIN: Final[Mapping[str, Key]] = {
    "kind": Key("of the plug-in, such as codec"),
    "name": Key("of the plug-in in scenarios"),
    "package": Key("that it comes from"),
    "version": Key("of the package"),
    "sha256": Key("of its source files"),
}
"""Keys of a plug-in, in `plugins`, which is there only where the scenario uses some."""
_LISTS: Final = {
    "faults": ACCOUNT, "actions": ACCOUNT, "rollout": ROLLOUT, "stages": STAGE, "plugins": PLUGIN,
}  # fmt: skip
_OTHERS: Final = (
    "costs", "intervals", "thresholds", "unfinished", "replay_of", "replay_changes", "replay_log_equal",
    "steered_by_hand", "stopped_by_hand",
)  # fmt: skip
_PERCENTILES: Final = ("p50", "p95", "p99", "p100", "max", "count")
_VERDICT: Final = ("metric", "rule", "value", "passed")


def key_of(name: str) -> Key | None:
    """Return the key with the dotted name *name*; None if no summary has it."""
    first, _, rest = name.partition(".")
    if not rest:
        if name == "costs":
            return Key("what the traffic costs: see below")
        if name == "plugins":
            return Key("the plug-ins that the scenario uses")
        return KEYS.get(name) or SAMPLE_KEYS.get(name) or REALTIME_KEYS.get(name) or _of_metric(name)
    if first in _LISTS:
        return _of_list(first, rest)
    if first in PAIRS:
        return _of_pair(first, rest)
    if first == "costs":
        return _of_costs(rest)
    if first == "intervals":
        return _of_interval(rest)
    if first in REALTIME_KEYS:
        return _part_of(REALTIME_KEYS[first], rest)
    if first == "worst":
        dimension, _, metric = rest.rpartition(".")
        return Key(f"which {dimension} fares worst by {metric}") if dimension and metric in METRICS else None
    return _of_statistic(first, rest) or _of_breakdown(first, rest)


def value_at(name: str, summary: Mapping[str, object]) -> object:
    """Return the value at the dotted name *name* of a summary; None where it has none."""
    value: object = summary
    for part in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = None
    return value


def is_own_key(name: str) -> bool:
    """Tell if *name* is a key of every summary, or of some, that belongs to no metric."""
    breakdowns = {f"{metric}_by_{dimension}" for metric, dimension in BREAKDOWNS.items()}
    keys = (KEYS, SAMPLE_KEYS, REALTIME_KEYS, PAIRS, _LISTS, _OTHERS, breakdowns)
    return any(name in each for each in keys)


def number_keys() -> list[str]:
    """Return the names of keys that are one number and do not belong to a metric."""
    keys = {**KEYS, **REALTIME_KEYS}
    return [name for name, key in keys.items() if key.unit is not None]


def _of_metric(name: str) -> Key | None:
    metric = find_metric(name)
    if metric is not None:
        return Key(metric.meaning, None if metric.kind is Kind.TREND else metric.unit)
    whole = any(name == f"{metric}_by_{dimension}" for metric, dimension in BREAKDOWNS.items())
    return Key("a metric by a dimension of its own") if whole or name in PAIRS else None


def _of_statistic(name: str, statistic: str) -> Key | None:
    metric = find_metric(name)
    if metric is None or metric.kind is not Kind.TREND or statistic not in STATISTICS:
        return None
    meaning = f"{metric.meaning}: {STATISTICS[statistic]}"
    return Key(meaning, Unit.NUMBER if statistic == "n" else metric.unit)


def _of_breakdown(name: str, word: str) -> Key | None:
    for metric, dimension in BREAKDOWNS.items():
        if name == f"{metric}_by_{dimension}" and word in METRICS[metric].own[dimension]:
            return Key(f"of {metric}: {dimension} {word}", METRICS[metric].unit)
    return None


def _of_pair(name: str, rest: str) -> Key | None:
    metric, *dimensions = PAIRS[name]
    words = rest.split(".")
    there = len(words) == 2 and all(
        word in METRICS[metric].own[dimension] for word, dimension in zip(words, dimensions, strict=True)
    )
    said = ", ".join(f"{dimension} {word}" for dimension, word in zip(dimensions, words, strict=False))
    return Key(f"of {metric}: {said}", METRICS[metric].unit) if there else None


def _of_costs(rest: str) -> Key | None:
    name, _, part = rest.partition(".")
    if not part or name not in ("by_item", "by_group", "billed"):
        return COSTS.get(rest)
    if name == "by_group":
        return Key(f"cost of group {part}", Unit.NUMBER, "currency")
    if part not in _ITEMS:
        return None
    return (
        Key(f"cost of {part}", Unit.NUMBER, "currency")
        if name == "by_item"
        else Key(f"{part}, charged", Unit.NUMBER)
    )


def _of_interval(rest: str) -> Key | None:
    name, _, end = rest.partition(".")
    if name not in ESTIMATED or end not in ("", "low", "high"):
        return None
    if not end:
        return Key(f"interval of {name}")
    return Key(f"{end} end of the interval of {name}", METRICS[ESTIMATED[name]].unit)


def _of_list(name: str, rest: str) -> Key | None:
    place, _, rest = rest.partition(".")
    field, _, part = rest.partition(".")
    found = _LISTS[name].get(field)
    if not place.isdecimal() or found is None:
        return None
    return _part_of(found, part) if part else found


def _part_of(key: Key, part: str) -> Key | None:
    """Return the key of one of the percentiles that are inside *key*."""
    if part not in _PERCENTILES or key.unit is not Unit.SECONDS:
        return None
    return Key(f"{key.meaning.partition(': p50')[0]}: {part}", Unit.NUMBER if part == "count" else key.unit)
