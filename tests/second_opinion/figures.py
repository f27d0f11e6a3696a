"""Every metric as SQL, written from docs/metrics.md; nothing here calls the code that is checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.second_opinion.tables import Tables, quoted

Number = int | float | None
Stats = Mapping[str, Number]
Filters = Mapping[str, str]

NS = 1_000_000_000
SHARE = 10**15
NOT_BY_SECOND = ("pressure", "user_group", "budget_decile", "budget_range")


@dataclass(frozen=True)
class Counter:
    table: str
    value: str = "1"
    where: str = "true"
    own: Mapping[str, str] = field(default_factory=dict)
    """Columns of dimensions of its own."""


@dataclass(frozen=True)
class Trend(Counter):
    scale: int = NS


@dataclass(frozen=True)
class Level:
    value: str
    where: str = "true"


@dataclass(frozen=True)
class Time:
    holds: str
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    above: Counter
    below: Counter
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gauge:
    sql: str
    """With SOURCE in place of the table."""
    table: str


Figure = Counter | Level | Time | Ratio | Gauge

APPLIED = "result = 'applied'"
SENT = "sent <> 'none'"
OVER = "resident_bytes > budget_bytes"
LOW = "ndcg_at_10 < 0.95::DOUBLE * full_ndcg_at_10"
SECONDS = Counter("p", "seconds")
HOURS = Counter("p", "seconds / 3600")
REPORTS, CHANGES = Counter("u"), Counter("b")
WITHOUT_BLOCKS = "CASE WHEN sent = 'nothing' THEN update_bytes ELSE 0 END"


def _bytes(value: str) -> Counter:
    return Counter("u", value)


def _held(condition: str) -> Counter:
    return Counter("p", f"CASE WHEN {condition} THEN seconds ELSE 0 END")


def _span(to: str, since: str, where: str = APPLIED) -> Trend:
    return Trend("u", f"{to} - {since}", where)


def _busiest(
    seconds: int, value: str, t: str = "left_ns", table: str = "u", where: str = f"{SENT} AND left_ns >= 0"
) -> Gauge:
    """Return the peak of a sum by seconds or minutes of the clock."""
    return Gauge(
        f"""SELECT dimension, value, max(done) / {seconds}::DOUBLE FROM (
            SELECT dimension, value, {t} // {seconds * NS} AS span, sum({value}) AS done
            FROM SOURCE WHERE {where} AND dimension NOT IN {NOT_BY_SECOND}
            GROUP BY dimension, value, span) GROUP BY dimension, value""",
        table,
    )


def _sent(seconds: int, value: str) -> Gauge:
    return _busiest(seconds, value, "t", "m", "true")


def _connected(seconds: int) -> Gauge:
    return _busiest(seconds, "1", "t_ns", "c", "online")


TOGETHER = f"""SELECT dimension, value,
           coalesce(sum(CASE WHEN there > 0 AND there = above THEN next - t END), 0) / 1e9::DOUBLE
    FROM (SELECT dimension, value, t, lead(t) OVER w AS next, sum(sum(d)) OVER w AS there,
                 sum(sum(o)) OVER w AS above
          FROM (SELECT dimension, value, t, 1 AS d, CAST({OVER} AS INTEGER) AS o FROM SOURCE
                UNION ALL SELECT dimension, value, until, -1, -CAST({OVER} AS INTEGER) FROM SOURCE)
          GROUP BY dimension, value, t WINDOW w AS (PARTITION BY dimension, value ORDER BY t))
    GROUP BY dimension, value"""
CONNECTED = """(SELECT coalesce(sum(greatest(0, least(coalesce(c0.next_ns, applied_ns), applied_ns)
                                              - greatest(c0.t_ns, changed_ns))), 0)
                FROM c0 WHERE c0.n = source.n AND c0.online)"""

FIGURES: Mapping[str, Figure] = {
    "budget_changes": Counter("b", own={"direction": "direction"}),
    "budget_reports": Counter("u", own={"cause": "cause", "result": "result", "sent": "sent"}),
    "updates_applied": Counter("u", "1", APPLIED),
    "updates_confirmed": Counter("u", "1", "result = 'confirmed'"),
    "updates_superseded": Counter("u", "1", "result = 'superseded'"),
    "updates_rejected": Counter("u", "1", "result = 'rejected'"),
    "updates_lost": Counter("u", "1", "result = 'lost'"),
    "updates_sent": Counter("u", "1", SENT),
    "delta_fallbacks": Counter("u", "1", "sent = 'fallback_full'"),
    "update_bytes": Counter("k", "v", own={"kind": "kind", "cause": "cause"}),
    "update_wire_bytes": _bytes("update_wire_bytes"),
    "full_update_bytes": _bytes("full_update_bytes"),
    "report_bytes": _bytes("report_bytes"),
    "report_wire_bytes": _bytes("report_wire_bytes"),
    "ack_wire_bytes": _bytes("ack_wire_bytes"),
    "resent_wire_bytes": _bytes("resent_wire_bytes"),
    "wasted_bytes": _bytes("update_bytes - used_bytes - lost_bytes"),
    "lost_bytes": _bytes("lost_bytes"),
    "control_bytes": _bytes(f"report_bytes + {WITHOUT_BLOCKS}"),
    "control_answer_bytes": _bytes(WITHOUT_BLOCKS),
    "delta_ratio": Ratio(_bytes("update_bytes"), _bytes("full_update_bytes")),
    "wire_overhead_ratio": Ratio(_bytes("update_wire_bytes"), _bytes("update_bytes")),
    "wasted_share": Ratio(_bytes("update_bytes - used_bytes - lost_bytes"), _bytes("update_bytes")),
    "update_amplification": Ratio(Counter("u", "1", SENT), CHANGES),
    "report_amplification": Ratio(REPORTS, CHANGES),
    "bytes_per_device_hour": Ratio(_bytes("update_bytes"), HOURS),
    "bytes_per_ndcg_point": Ratio(
        _bytes("update_bytes"), Counter("p", "seconds / 3600 * ndcg_at_10 / 0.01::DOUBLE")
    ),
    "update_delta_ratio": Trend(
        "u", f"CAST(round(update_bytes / full_update_bytes * {SHARE}) AS BIGINT)",
        f"{SENT} AND full_update_bytes > 0", scale=SHARE,
    ),
    "blocks_reused_ratio": Trend(
        "u",
        f"CAST(round(CASE WHEN sent = 'first' THEN 0 ELSE least(held_before, held) END / held * {SHARE}) "
        "AS BIGINT)",
        f"{APPLIED} AND held > 0", scale=SHARE,
    ),
    "blocks_changed": Trend(
        "u", "CASE WHEN sent = 'first' THEN held + held_before ELSE abs(held - held_before) END", APPLIED,
        scale=1,
    ),
    "update_latency_seconds": _span("applied_ns", "changed_ns"),
    "connected_latency_seconds": Trend("u", CONNECTED, APPLIED),
    "latency_wait_seconds": _span("sent_ns", "changed_ns"),
    "latency_uplink_seconds": _span("arrived_ns", "sent_ns"),
    "latency_queue_seconds": _span("begun_ns", "arrived_ns"),
    "latency_selection_seconds": _span("left_ns", "begun_ns"),
    "latency_downlink_seconds": _span("received_ns", "left_ns"),
    "latency_apply_seconds": _span("applied_ns", "received_ns"),
    "queue_seconds": _span("begun_ns", "arrived_ns", "begun_ns >= 0"),
    "update_staleness_seconds": _span("applied_ns", "sent_ns"),
    "downlink_peak_1s": _busiest(1, "update_wire_bytes"),
    "downlink_peak_1min": _busiest(60, "update_wire_bytes"),
    "downlink_messages_peak_1s": _busiest(1, "parts"),
    "downlink_messages_peak_1min": _busiest(60, "parts"),
    "uplink_peak_1s": _sent(1, "v"),
    "uplink_peak_1min": _sent(60, "v"),
    "uplink_messages_peak_1s": _sent(1, "1"),
    "uplink_messages_peak_1min": _sent(60, "1"),
    "connects_peak_1s": _connected(1),
    "connects_peak_1min": _connected(60),
    "update_fanout_peak": _busiest(1, "1"),
    "device_seconds": Time("true"),
    "budget_bytes": Level("budget_bytes"),
    "resident_bytes": Level("resident_bytes"),
    "budget_utilisation": Ratio(
        Counter("p", "resident_bytes * seconds"), Counter("p", "budget_bytes * seconds")
    ),
    "budget_changes_per_device_hour": Ratio(CHANGES, HOURS),
    "budget_step_bytes": Trend("b", "abs(step)", "NOT first", {"direction": "direction"}, scale=1),
    "over_budget_device_seconds": Time(OVER),
    "over_budget_share": Ratio(_held(OVER), SECONDS),
    "over_budget_all_seconds": Gauge(TOGETHER, "p"),
    "over_budget_bytes_max": Gauge(
        "SELECT dimension, value, greatest(max(resident_bytes - budget_bytes), 0) FROM SOURCE "
        "GROUP BY dimension, value", "p",
    ),
    "time_to_fit_seconds": Trend("b", "fit_ns", "resident_before_bytes > budget_bytes"),
    "local_evictions": Counter("b", "1", "resident_before_bytes > resident_bytes"),
    "evicted_bytes": Counter("b", "greatest(resident_before_bytes - resident_bytes, 0)"),
    "pressure_seconds": Time("true", {"level": "pressure"}),
    "pressure_transitions": Counter("x", "1", "what = 'pressure'", {"from": "f", "to": "g"}),
    **{name: Level(name) for name in (
        "ndcg_at_10", "recall_at_20", "hit_rate_at_10", "best_ndcg_at_10", "full_ndcg_at_10")},
    "quality_regret": Level("best_ndcg_at_10 - ndcg_at_10"),
    "quality_shortfall": Level("greatest(best_ndcg_at_10 - ndcg_at_10, 0)"),
    "quality_shortfall_after_first": Level("greatest(best_ndcg_at_10 - ndcg_at_10, 0)", "after_first"),
    "ndcg_at_10_after_first": Level("ndcg_at_10", "after_first"),
    "quality_ratio_to_full": Ratio(
        Counter("p", "ndcg_at_10 * seconds"), Counter("p", "full_ndcg_at_10 * seconds")
    ),
    "quality_ratio_to_full_after_first": Ratio(
        Counter("p", "ndcg_at_10 * seconds", "after_first"),
        Counter("p", "full_ndcg_at_10 * seconds", "after_first"),
    ),
    "quality_recovery_seconds": Trend("x", "v", "what = 'recovery'"),
    "below_best_seconds": Time("layer < best_layer"),
    "below_best_share": Ratio(_held("layer < best_layer"), SECONDS),
    "below_best_spell_seconds": Trend("x", "v", "what = 'below_best'"),
    "below_best_longest_seconds": Trend("x", "v", "what = 'longest'"),
    "low_quality_seconds": Time(LOW),
    "low_quality_share": Ratio(_held(LOW), SECONDS),
    "low_quality_spell_seconds": Trend("x", "v", "what = 'low_quality'"),
    "online_share": Ratio(_held("online"), SECONDS),
    "offline_seconds": Time("NOT online"),
    "offline_spell_seconds": Trend("c", "away_ns", "NOT online"),
    "connects": Counter("c", "1", "online", {"why": "why"}),
    "disconnections": Counter("c", "1", "NOT online", {"why": "why"}),
    "messages_harmed": Counter("f", own={"harm": "harm"}),
    "quality_bytes": Counter("q", "message_bytes"),
    "quality_wire_bytes": Counter("q", "message_wire_bytes"),
    "status_bytes": Counter("c", "message_bytes"),
    "status_wire_bytes": Counter("c", "message_wire_bytes"),
    "copied_bytes": _bytes("copied_bytes"),
    "delta_ratio_once": Ratio(_bytes("update_bytes - copied_bytes"), _bytes("full_update_bytes")),
    "harmed_bytes": Counter("f", "bytes", own={"harm": "harm"}),
}  # fmt: skip
OF_VISIT = {"newcomer": "joined", "age": "age_class", "known": "known_class"}
VISIT = "event = 'visit'"


def _mean_of_visits(column: str, by: str = "1") -> Ratio:
    return Ratio(Counter("i", column, VISIT), Counter("i", by, VISIT), OF_VISIT)


OF_INTERACTIONS: Mapping[str, Figure] = {
    "visits": Counter("i", "1", VISIT, OF_VISIT),
    "items_met": Counter("i", "items", VISIT, OF_VISIT),
    "prequential_ndcg_at_10": _mean_of_visits("ndcg_at_10"),
    "prequential_recall_at_20": _mean_of_visits("recall_at_20"),
    "prequential_hit_rate_at_10": _mean_of_visits("hit_rate_at_10"),
    "prequential_ndcg_at_10_in_cloud": _mean_of_visits("cloud_ndcg_at_10"),
    "prequential_ndcg_at_10_of_cloud": _mean_of_visits("ndcg_at_10", "cloud_ndcg_at_10"),
    "recommender_exchanges": Counter("i", "1", "event = 'exchange'"),
    "recommender_bytes_down": Counter("i", "down_bytes"),
    "recommender_bytes_up": Counter("i", "up_bytes"),
    "recommender_bytes_per_visit": Ratio(
        Counter("i", "down_bytes + up_bytes"), Counter("i", f"CASE WHEN {VISIT} THEN 1 ELSE 0 END")
    ),
    "learning_bytes_max": Gauge(
        "SELECT dimension, value, max(learning_bytes) FROM SOURCE GROUP BY dimension, value", "i"
    ),
    "recommender_age_seconds": Trend("i", "age_ns", f"{VISIT} AND age_ns >= 0"),
}
"""The figures of a run whose users meet interactions."""
ALL_FIGURES: Mapping[str, Figure] = {**FIGURES, **OF_INTERACTIONS}
PERCENTS = ("50", "90", "95", "99", "99.9")
EMPTY_TREND: Stats = {
    "n": 0, "mean": None, "min": None, **{f"p{percent}": None for percent in PERCENTS}, "max": None,
}  # fmt: skip


Found = dict[tuple[str, str], Stats]
"""What is said of a figure, by dimension and its value; ("all", ""): of the whole run."""


class Opinion:
    """Computes figures.

    Args:
        tables: of a run.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    @property
    def names(self) -> list[str]:
        """The figures of the run; those of interactions only where there are some."""
        more = self.tables.number("SELECT count(*) FROM raw_interaction") > 0
        return [*FIGURES, *(OF_INTERACTIONS if more else ())]

    def found(self, name: str) -> Found:
        """Return what is said of a figure, where there is something."""
        figure = ALL_FIGURES[name]
        found = self._stats(figure, "{table}_by AS source")
        for dimension, column in own_of(figure).items():
            one = f"(SELECT *, '{dimension}' AS dimension, {column} AS value FROM {{table}}) AS source"
            found |= self._stats(figure, one)
        return found

    def narrowed(self, name: str, filters: Filters) -> Stats:
        """Return what is said of a figure, of those rows that have *filters*."""
        figure = ALL_FIGURES[name]
        found = self._stats(figure, f"(FROM {{table}}_by WHERE dimension = 'all' AND "
                                    f"{_where(figure, filters)}) AS source")  # fmt: skip
        return found.get(("all", ""), nobody(figure, "all"))

    def ranked(self, name: str, percent: float, filters: Filters) -> Number:
        """Return any percentile of a trend: the nearest rank."""
        figure = ALL_FIGURES[name]
        assert isinstance(figure, Trend)
        where = _where(figure, filters)
        sql = f"""SELECT {figure.value} AS found, middle(found) FROM {figure.table} AS source
                  WHERE {figure.where} AND {where} ORDER BY found"""
        rows = self.tables.rows(sql)
        if not rows:
            return None
        rank = max(math.ceil(percent * len(rows) / 100), 1)
        least, most = rows[0][0], rows[-1][0]
        shown = most if rank == len(rows) else min(max(rows[rank - 1][1], least), most)
        return float(shown) / figure.scale

    def _stats(self, figure: Figure, source: str) -> Found:
        match figure:
            case Trend():
                return self._trend(figure, source)
            case Counter():
                return {key: {"total": total} for key, total in self._sums(figure, source).items()}
            case Level():
                return self._level(figure, source)
            case Time():
                return self._time(figure, source)
            case Ratio():
                above = self._sums(figure.above, source)
                return {
                    key: {"value": above.get(key, 0) / below if below else None}
                    for key, below in self._sums(figure.below, source).items()
                }
        rows = self.tables.rows(figure.sql.replace("SOURCE", source.format(table=figure.table)))
        return {(dimension, value): {"value": found} for dimension, value, found in rows}

    def _sums(self, figure: Counter, source: str) -> dict[tuple[str, str], int | float]:
        sql = f"""SELECT dimension, value, sum({figure.value}) FROM {source.format(table=figure.table)}
                  WHERE {figure.where} GROUP BY dimension, value"""
        return {(dimension, value): total for dimension, value, total in self.tables.rows(sql)}

    def _trend(self, figure: Trend, source: str) -> Found:
        ranks = ", ".join(
            f"shown(l, (count(*) * {round(float(each) * 10)} + 999) // 1000) / {figure.scale}::DOUBLE"
            for each in PERCENTS
        )
        sql = f"""SELECT dimension, value, count(*), sum(one) / count(*) / {figure.scale}::DOUBLE,
                         list_sort(list(one)) AS l, l[1] / {figure.scale}::DOUBLE, {ranks},
                         l[-1] / {figure.scale}::DOUBLE
                  FROM (SELECT dimension, value, {figure.value} AS one
                        FROM {source.format(table=figure.table)} WHERE {figure.where})
                  GROUP BY dimension, value"""
        return {
            (dimension, value): dict(zip(EMPTY_TREND, (count, mean, *rest), strict=True))
            for dimension, value, count, mean, _, *rest in self.tables.rows(sql)
        }

    def _level(self, figure: Level, source: str) -> Found:
        sql = f"""SELECT dimension, value, sum(({figure.value}) * seconds) / sum(seconds),
                         min({figure.value}), max({figure.value})
                  FROM {source.format(table="p")} WHERE {figure.where} GROUP BY dimension, value"""
        return {
            (dimension, value): {"mean": mean, **({"min": least, "max": most} if dimension == "all" else {})}
            for dimension, value, mean, least, most in self.tables.rows(sql)
        }

    def _time(self, figure: Time, source: str) -> Found:
        held, of = self._sums(_held(figure.holds), source), self._sums(SECONDS, source)
        whole = self.tables.number("SELECT sum(seconds) FROM p")
        return {
            key: {"total": held[key], "share": held[key] / (whole if key[0] in figure.own else each)}
            for key, each in of.items()
        }


def own_of(figure: Figure) -> Mapping[str, str]:
    """Return the columns of the dimensions that only *figure* has."""
    return figure.own if isinstance(figure, Counter | Time | Ratio) else {}


def _where(figure: Figure, filters: Filters) -> str:
    own = own_of(figure)
    return " AND ".join(
        ["true", *(f"{own.get(each, quoted(each))} = '{value}'" for each, value in filters.items())]
    )


def nobody(figure: Figure, dimension: str) -> Stats:
    """Return what is said of a figure where there is nothing: counts are 0, all else is null."""
    match figure:
        case Trend():
            return EMPTY_TREND
        case Counter():
            return {"total": 0}
        case Level():
            return {"mean": None, **({"min": None, "max": None} if dimension == "all" else {})}
        case Time():
            # Nobody was at a level: that is no time of all there is. Nobody had a value: there is no time.
            return {"total": 0, "share": 0} if dimension in figure.own else {"total": None, "share": None}
    # Of nobody there is no most, but there is no time.
    most = figure in (FIGURES["over_budget_bytes_max"], OF_INTERACTIONS["learning_bytes_max"])
    return {"value": 0 if isinstance(figure, Gauge) and not most else None}
