"""The metrics of a run: names, kinds, units, descriptions and dimensions.

`emulator.metrics.compute` computes them, `scenarios.language.thresholds` reads rules on
them, and ``docs/metrics.md`` prints this table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from devices.event_log import COLUMNS, ExchangeResult, MessageFault, Pressure, UpdateKind, labels_of
from devices.protocol.report_scheduler import ReportCause
from devices.timeline.connectivity import ConnectivityCause
from scenarios.catalogue.visit_classes import VISIT_DIMENSIONS
from wire.errors import InputError
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, WithPlugins


class Kind(StrEnum):
    """The kind of a metric, which decides its aggregations."""

    COUNTER = "counter"  # a sum over events
    TREND = "trend"  # one value per event
    LEVEL = "level"  # a state of each device, weighted by its duration
    TIME = "time"  # device time in a state
    RATIO = "ratio"  # one sum over another
    GAUGE = "gauge"  # one number


class Unit(StrEnum):
    """The unit of a metric."""

    NUMBER = "number"
    SHARE = "share"  # mostly from 0 to 1
    SECONDS = "s"
    BYTES = "bytes"
    PER_SECOND = "per s"
    BYTES_PER_SECOND = "bytes/s"


AGGREGATIONS: Final[Mapping[Kind, Sequence[str]]] = {
    Kind.COUNTER: ("value", "sum", "total", "count", "rate", "share"),
    Kind.TREND: ("p", "min", "max", "mean", "avg", "med", "count", "sum", "total"),
    Kind.LEVEL: ("time_weighted_mean", "mean", "avg", "value", "min", "max"),
    Kind.TIME: ("value", "sum", "total", "rate", "share"),
    Kind.RATIO: ("value", "rate", "share"),
    Kind.GAUGE: ("value", "max"),
}
"""Aggregations of a rule, by the kind of the metric; ``p`` stands for ``p(95)`` and other percentiles."""

LABEL: Final = "label."
"""Prefix of dimensions: ``label.region`` splits by the value of the label ``region``."""
UNLABELLED: Final = "(none)"
"""The value of such a dimension for devices without the label."""
DECILES: Final = tuple(str(at) for at in range(1, 11))
DIMENSIONS: Final[Mapping[str, str]] = {
    "group": "group of the fleet",
    "label.<key>": "value of a label of the group; `(none)`: it does not have the label, and others do",
    "node": "class of device",
    "network": "network that the device was on at that time",
    "stage": "stage in which it was, or in which its report left; the last one lasts until the run has ended",
    "pressure": "level of memory pressure on the device at that time: " + ", ".join(labels_of(Pressure)),
    "user_group": "group of the user whose PEE the device held at that time, by number",
    "budget_decile": "1 to 10: tenths of the fleet's device time by budget, the smallest budgets first; "
    "equal budgets are in the same tenth (from 64 KiB on: in one of 32,768 buckets per doubling), so other "
    "tenths may be smaller or empty",
    "budget_range": "the same tenths without the empty ones, each named by its least and greatest budget; "
    "not for thresholds, since the ranges are not known before the run",
}
"""The dimensions of every metric."""

NOT_BY_SECOND: Final = ("pressure", "user_group", "budget_decile", "budget_range")
"""Dimensions by which peaks are not split; a threshold may filter by them."""

KINDS_OF_BYTES: Final = ("first", "delta", "full", "fallback_full", "shared", "control", "wasted", "lost")
DIRECTIONS: Final = ("first", "up", "down")


@dataclass(frozen=True)
class Metric:
    """A metric."""

    name: str
    kind: Kind
    unit: Unit
    table: str
    """The event table that it is computed from."""
    meaning: str
    own: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Dimensions of this metric only, with their values."""
    bases: Sequence[str] = ()
    """Bases with which a threshold may compare the mean, such as ``0.9*full``."""
    by_second: bool = False
    """True if it is read from sums by clock second, which are kept by few dimensions."""

    def has_dimension(self, dimension: str) -> bool:
        """Return True if the metric is split by *dimension*, one that all rows have."""
        return not (self.by_second and dimension in NOT_BY_SECOND)

    def unit_of(self, aggregation: str) -> Unit:
        """Return the unit of *aggregation* of the metric."""
        if aggregation == "count" and self.kind is Kind.TREND:
            return Unit.NUMBER
        if aggregation == "rate" and self.kind is Kind.COUNTER:
            return Unit.BYTES_PER_SECOND if self.unit is Unit.BYTES else Unit.PER_SECOND
        if aggregation == "share" and self.kind is Kind.COUNTER:
            return Unit.SHARE
        if aggregation in ("rate", "share") and self.kind is Kind.TIME:
            return Unit.SHARE
        return self.unit

    @property
    def aggregations(self) -> Sequence[str]:
        """The aggregations of the metric; bytes are not counted."""
        bytes_ = self.kind is Kind.COUNTER and self.unit is Unit.BYTES
        return [name for name in AGGREGATIONS[self.kind] if not (bytes_ and name == "count")]


_EXCHANGE: Final = {
    "cause": labels_of(ReportCause),
    "result": labels_of(ExchangeResult),
    "sent": labels_of(UpdateKind),
}
_QUALITY: Final = ("full", "best", "oracle")


def _table(kind: Kind, unit: Unit, table: str, rows: Mapping[str, str]) -> Iterable[Metric]:
    return [Metric(name, kind, unit, table, meaning) for name, meaning in rows.items()]


def _peaks(unit: Unit, table: str, rows: Mapping[str, str]) -> Iterable[Metric]:
    """Return the peaks of some traffic, by second and by minute, both per second."""
    return [
        Metric(
            f"{name}_{short}",
            Kind.GAUGE,
            unit,
            table,
            f"in the busiest {span} of the clock, per second: {what}",
            by_second=True,
        )
        for name, what in rows.items()
        for short, span in (("1s", "second"), ("1min", "minute"))
    ]


_ALL: Final = (
    Metric("budget_changes", Kind.COUNTER, Unit.NUMBER, "budget",
           "changes of budgets, first ones included", {"direction": DIRECTIONS}),
    Metric("budget_reports", Kind.COUNTER, Unit.NUMBER, "update",
           "reports whose exchange has ended, repeats included", _EXCHANGE),
    *_table(Kind.COUNTER, Unit.NUMBER, "update", {
        "updates_applied": "exchanges that changed what a device holds",
        "updates_confirmed": "exchanges with nothing to change",
        "updates_superseded": "exchanges whose answer was out of date, since a newer report had been sent",
        "updates_rejected": "exchanges whose answer was damaged or had a gap",
        "updates_lost": "exchanges of which the report or the end of the answer never arrived",
        "updates_sent": "answers of which anything was sent",
        "delta_fallbacks": "whole PEEs that were sent since the difference was almost as large",
    }),
    Metric("update_bytes", Kind.COUNTER, Unit.BYTES, "update",
           "payload of updates; its kinds add up: used, by what was sent; control: taken in, but without "
           "blocks; wasted: delivered and never used; lost: never delivered",
           {"kind": KINDS_OF_BYTES, "cause": labels_of(ReportCause)}),
    *_table(Kind.COUNTER, Unit.BYTES, "update", {
        "update_wire_bytes": "the same with MQTT and TCP/IP framing",
        "full_update_bytes": "what pushing every PEE whole would have cost",
        "report_bytes": "payload of budget reports",
        "report_wire_bytes": "the same with MQTT and TCP/IP framing, every copy that was sent",
        "resent_wire_bytes": "reports and updates that the transport sent again: part of their wire bytes",
        "ack_wire_bytes": "confirmations (PUBACK) of reports and of parts of updates, both ways, on the wire",
        "copied_bytes": "payload of second and third copies of parts, from duplicates",
        "wasted_bytes": "delivered but never used",
        "lost_bytes": "sent but never delivered",
        "control_bytes": "reports, and answers without blocks: report bytes + control answer bytes",
        "control_answer_bytes": "payload of all answers without blocks; `update_bytes{kind=control}` has "
        "only those that a device took in",
    }),
    *_table(Kind.RATIO, Unit.SHARE, "update", {
        "delta_ratio": "update bytes ÷ full update bytes",
        "delta_ratio_once": "the same without second copies of parts, which full update bytes do not have",
        "wire_overhead_ratio": "update wire bytes ÷ update bytes",
        "wasted_share": "wasted bytes ÷ update bytes",
    }),
    *_table(Kind.RATIO, Unit.NUMBER, "update", {
        "update_amplification": "updates sent ÷ budget changes",
        "report_amplification": "reports ÷ budget changes",
    }),
    *_table(Kind.RATIO, Unit.BYTES, "update", {
        "bytes_per_device_hour": "update bytes ÷ device hours",
        "bytes_per_ndcg_point": "update bytes ÷ device hours at .01 NDCG@10: one hour at .30 is 30 of them",
    }),
    *_table(Kind.TREND, Unit.SHARE, "update", {
        "update_delta_ratio": "of each answer: its bytes ÷ those of a push of the whole PEE",
        "blocks_reused_ratio": "of each applied update: the share of its PEE that was held before",
    }),
    *_table(Kind.TREND, Unit.NUMBER, "update", {
        "blocks_changed": "of each applied update: blocks held more, or less, than when its report left; "
                          "where it was sent as `first`, all old and all new blocks together",
    }),
    *_table(Kind.TREND, Unit.SECONDS, "update", {
        "update_latency_seconds": "of each applied update: from the newest change (of budget, user or model) "
        "that its report contains until the PEE is applied; the whole wait is `below_best_spell_seconds`",
        "connected_latency_seconds": "of each applied update: the part of that time in which the device was "
        "connected",
        "latency_wait_seconds": "part 1 of it: until the report left (debounce, intervals, absence, retries)",
        "latency_uplink_seconds": "part 2: until the report was at the cloud",
        "latency_queue_seconds": "part 3: until the cloud took it up",
        "latency_selection_seconds": "part 4: until the answer left",
        "latency_downlink_seconds": "part 5: until its last part was on the device",
        "latency_apply_seconds": "part 6: until the device had taken it in",
        "queue_seconds": "of each report that the cloud took up: how long it waited for that",
        "update_staleness_seconds": "of each applied update: the age of the report that it answers",
    }),
    *_peaks(Unit.BYTES_PER_SECOND, "update", {
        "downlink_peak": "wire bytes of updates that left",
    }),
    *_peaks(Unit.PER_SECOND, "update", {
        "downlink_messages_peak": "parts of updates that left, copies included",
    }),
    *_peaks(Unit.BYTES_PER_SECOND, "update", {
        "uplink_peak": "wire bytes that devices sent: reports, and messages about quality and connections",
    }),
    *_peaks(Unit.PER_SECOND, "update", {
        "uplink_messages_peak": "messages that devices sent, the same, without repeats by the transport",
    }),
    *_peaks(Unit.PER_SECOND, "connection", {
        "connects_peak": "connections made",
    }),
    Metric("update_fanout_peak", Kind.GAUGE, Unit.PER_SECOND, "update",
           "in the busiest second of the clock: updates that left", by_second=True),
    Metric("device_seconds", Kind.TIME, Unit.SECONDS, "quality",
           "device time: of each device from its first budget to the stop time"),
    Metric("budget_bytes", Kind.LEVEL, Unit.BYTES, "quality", "what a device may use"),
    Metric("resident_bytes", Kind.LEVEL, Unit.BYTES, "quality", "what its embeddings take"),
    Metric("budget_utilisation", Kind.RATIO, Unit.SHARE, "quality", "resident ÷ budget bytes, over time"),
    Metric("budget_changes_per_device_hour", Kind.RATIO, Unit.NUMBER, "budget",
           "budget changes ÷ device hours"),
    Metric("budget_step_bytes", Kind.TREND, Unit.BYTES, "budget",
           "of each change but the first: its size", {"direction": DIRECTIONS}),
    Metric("over_budget_device_seconds", Kind.TIME, Unit.SECONDS, "quality",
           "device time in which more was held than the budget (pressure's `some`)"),
    Metric("over_budget_share", Kind.RATIO, Unit.SHARE, "quality", "the same ÷ all device time"),
    Metric("over_budget_all_seconds", Kind.GAUGE, Unit.SECONDS, "quality",
           "time in which every device that was there was over its budget (pressure's `full`)"),
    Metric("over_budget_bytes_max", Kind.GAUGE, Unit.BYTES, "quality", "the most that was held in excess"),
    Metric("time_to_fit_seconds", Kind.TREND, Unit.SECONDS, "budget",
           "of each budget change to less than the device held: until what it holds fits; 0 where the device "
           "evicts at once, and up to the stop time where it never fits"),
    Metric("local_evictions", Kind.COUNTER, Unit.NUMBER, "budget",
           "budget changes at which a device evicted blocks by itself"),
    Metric("evicted_bytes", Kind.COUNTER, Unit.BYTES, "budget", "bytes that were evicted then"),
    Metric("pressure_seconds", Kind.TIME, Unit.SECONDS, "quality",
           "device time at each level of memory pressure", {"level": labels_of(Pressure)}),
    Metric("pressure_transitions", Kind.COUNTER, Unit.NUMBER, "quality",
           "changes of the level of pressure", {"from": labels_of(Pressure), "to": labels_of(Pressure)}),
    Metric("ndcg_at_10", Kind.LEVEL, Unit.SHARE, "quality", "NDCG@10 of the PEE held", bases=_QUALITY),
    *_table(Kind.LEVEL, Unit.SHARE, "quality", {
        "recall_at_20": "Recall@20 of the PEE held",
        "hit_rate_at_10": "hit rate at 10 of the PEE held",
        "best_ndcg_at_10": "NDCG@10 of the best PEE for the budget",
        "full_ndcg_at_10": "NDCG@10 of the whole table",
        "quality_regret": "NDCG@10 of the best PEE for the budget, less that of the PEE held; below 0 "
        "where the best PEE has the lower NDCG@10",
        "quality_shortfall": "the same, but 0 where it would be below 0",
        "quality_shortfall_after_first": "the same, without the time before the device's first PEE",
        "ndcg_at_10_after_first": "NDCG@10 of the PEE held, without the time before the device's first PEE",
    }),
    Metric("quality_ratio_to_full", Kind.RATIO, Unit.SHARE, "quality",
           "NDCG@10 ÷ that of the whole table, both over time"),
    Metric("quality_recovery_seconds", Kind.TREND, Unit.SECONDS, "quality",
           "of each state whose quality (NDCG@10 ÷ full) is below 95 % of that of the state right before: "
           "until it was at 95 % of that again; a slow decline does not count: see `low_quality_seconds`"),
    Metric("quality_ratio_to_full_after_first", Kind.RATIO, Unit.SHARE, "quality",
           "the same as quality ratio to full, without the time before the device's first PEE"),
    Metric("below_best_seconds", Kind.TIME, Unit.SECONDS, "quality",
           "device time in which a smaller PEE was held than the best for the budget"),
    Metric("below_best_share", Kind.RATIO, Unit.SHARE, "quality", "the same ÷ all device time"),
    Metric("below_best_spell_seconds", Kind.TREND, Unit.SECONDS, "quality",
           "of each spell in which a device held less than the best PEE: its length, up to the stop time"),
    Metric("below_best_longest_seconds", Kind.TREND, Unit.SECONDS, "quality",
           "of each device: its longest such spell, 0 if there was none"),
    Metric("low_quality_seconds", Kind.TIME, Unit.SECONDS, "quality",
           "device time in which NDCG@10 was below 95 % of the whole table's, for any reason"),
    Metric("low_quality_share", Kind.RATIO, Unit.SHARE, "quality", "the same ÷ all device time"),
    Metric("low_quality_spell_seconds", Kind.TREND, Unit.SECONDS, "quality",
           "of each spell in which it was: its length, up to the stop time"),
    Metric("online_share", Kind.RATIO, Unit.SHARE, "quality", "device time connected ÷ all device time"),
    Metric("offline_seconds", Kind.TIME, Unit.SECONDS, "quality", "device time not connected"),
    Metric("offline_spell_seconds", Kind.TREND, Unit.SECONDS, "connection",
           "of each spell in which a device was disconnected: its length, up to the stop time"),
    Metric("connects", Kind.COUNTER, Unit.NUMBER, "connection",
           "connections made, by the reason why the device was not connected before",
           {"why": labels_of(ConnectivityCause)}),
    Metric("disconnections", Kind.COUNTER, Unit.NUMBER, "connection",
           "connections broken, by the reason", {"why": labels_of(ConnectivityCause)}),
    Metric("messages_harmed", Kind.COUNTER, Unit.NUMBER, "fault",
           "messages that were lost, damaged, copied, delayed or refused", {"harm": labels_of(MessageFault)}),
    *_table(Kind.COUNTER, Unit.BYTES, "quality", {
        "quality_bytes": "payload of the messages in which connected devices report their quality",
        "quality_wire_bytes": "the same with MQTT and TCP/IP framing",
    }),
    *_table(Kind.COUNTER, Unit.BYTES, "connection", {
        "status_bytes": "payload of the messages that say that a device is there, or gone (its will)",
        "status_wire_bytes": "the same with MQTT and TCP/IP framing",
    }),
    Metric("harmed_bytes", Kind.COUNTER, Unit.BYTES, "fault", "their payload",
           {"harm": labels_of(MessageFault)}),
)  # fmt: skip


_OF_INTERACTIONS: Final = (
    Metric("visits", Kind.COUNTER, Unit.NUMBER, "interaction",
           "visits of users: items that a user met at one moment, ranked before they were learned from; by "
           "whether training saw the user, by the age of what the device ranked with (since the training of "
           "its model version, or since its list was made), by the number of items that the user knew",
           VISIT_DIMENSIONS),
    Metric("items_met", Kind.COUNTER, Unit.NUMBER, "interaction", "items that users met then",
           VISIT_DIMENSIONS),
    *(Metric(name, Kind.RATIO, Unit.SHARE, "interaction", meaning, VISIT_DIMENSIONS) for name, meaning in {
        "prequential_ndcg_at_10": "mean over visits of NDCG@10 of the items met, ranked by the device with "
        "what it had at that moment; items known before are masked",
        "prequential_recall_at_20": "the same of Recall@20",
        "prequential_hit_rate_at_10": "the same of the hit rate at 10",
        "prequential_ndcg_at_10_in_cloud": "the same visits ranked by the whole table, with a vector learned "
        "from what the user met before: NDCG@10",
        "prequential_ndcg_at_10_of_cloud": "prequential NDCG@10 ÷ prequential NDCG@10 in the cloud",
    }.items()),
    Metric("recommender_exchanges", Kind.COUNTER, Unit.NUMBER, "interaction",
           "exchanges in which a device fetched a list or a vector"),
    *_table(Kind.COUNTER, Unit.BYTES, "interaction", {
        "recommender_bytes_down": "payload of lists and vectors from the cloud, besides updates",
        "recommender_bytes_up": "payload of the items met that devices sent to the cloud",
    }),
    Metric("recommender_bytes_per_visit", Kind.RATIO, Unit.BYTES, "interaction", "both ÷ visits"),
    Metric("learning_bytes_max", Kind.GAUGE, Unit.BYTES, "interaction",
           "the most that a device kept in order to learn"),
    Metric("recommender_age_seconds", Kind.TREND, Unit.SECONDS, "interaction",
           "of each visit: the age of what the device ranked with"),
)  # fmt: skip
INTERACTION_METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _OF_INTERACTIONS}
"""The metrics that a run has only where users meet interactions."""


@dataclass(frozen=True)
class MetricPlugin:
    """A metric of a plug-in: its row in the catalogue, and its formula."""

    metric: Metric
    formula: Callable[[Any], Any]
    """An `emulator.metrics.formulas.Formula`."""


def _check_plugin(name: str, found: object) -> MetricPlugin:
    if not isinstance(found, MetricPlugin):
        raise ValueError("must be a scenarios.catalogue.metrics.MetricPlugin")
    if found.metric.name != name:
        raise ValueError(f"its metric is called {found.metric.name!r}; both names must be the same")
    if found.metric.table not in COLUMNS:
        raise ValueError(f"table(={found.metric.table!r}) must be one of {', '.join(COLUMNS)}")
    if found.metric.by_second or found.metric.bases:
        raise ValueError("by_second and bases must be left out")
    return found


METRIC_PLUGINS: Final = PluginRegistry(
    PluginKind.METRIC, [metric.name for metric in (*_ALL, *_OF_INTERACTIONS)], _check_plugin
)
"""The metrics of plug-ins."""


def _find_other(name: str) -> Metric | None:
    """Return a metric of interactions or of a plug-in."""
    if name in INTERACTION_METRICS:
        return INTERACTION_METRICS[name]
    plugin = METRIC_PLUGINS.find(name)
    return None if plugin is None else plugin.metric


METRICS: Final[Mapping[str, Metric]] = WithPlugins({metric.name: metric for metric in _ALL}, _find_other)
"""The metrics of every run, by name, in the order in which they are shown; ``METRICS[name]`` finds others."""


def find_metric(name: str) -> Metric | None:
    """Return the metric called *name*, of peelfleet or of a plug-in that works; None if there is none."""
    if name in METRICS:
        return METRICS[name]
    try:
        return _find_other(name)
    except InputError:
        return None
