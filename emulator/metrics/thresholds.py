"""Verdicts on thresholds: whether the rules of a scenario hold, at the end of a run."""

from collections.abc import Mapping
from dataclasses import dataclass

from emulator.metrics.compute import RunMetrics
from emulator.metrics.measure import shared_filters
from emulator.metrics.sums import Number, Stats, TrendSums
from scenarios.catalogue.metrics import Kind
from scenarios.catalogue.summary_keys import PAIRS, value_at
from scenarios.language.thresholds import MEANS, SIGNS, Rule

_STATISTICS = {"count": "n", "med": "p50", "avg": "mean", "time_weighted_mean": "mean", "value": "value"}


@dataclass(frozen=True)
class RuleVerdict:
    """The verdict on one rule."""

    metric: str
    """The metric with its filters, as the scenario has it."""
    rule: str
    value: Number
    """In seconds, bytes or shares; None: there were no rows to compute it from."""
    passed: bool
    """False if the value is None."""


def judge_rule(rule: Rule, metrics: RunMetrics, summary: Mapping[str, object] | None = None) -> RuleVerdict:
    """Return the verdict on *rule*.

    Args:
        rule: the rule.
        metrics: the metrics of the run.
        summary: the summary of the run, for rules about keys that are no metrics.
    """
    value: Number
    limit: Number
    if rule.of_summary:
        value, limit = number_at(rule.metric.name, summary or {}), float(rule.limit)
    else:
        value, limit = value_of(rule, metrics), limit_of(rule, metrics)
    passed = value is not None and limit is not None and SIGNS[rule.sign](value, limit)
    return RuleVerdict(rule.selector, rule.text, value, passed)


def number_at(key: str, summary: Mapping[str, object]) -> Number:
    """Return the number at dotted *key* of a summary; 0 for a pair without rows, None without a number."""
    value = value_at(key, summary)
    if value is None and key.partition(".")[0] in PAIRS:
        return 0
    return value if isinstance(value, int | float) else None


def value_of(rule: Rule, metrics: RunMetrics) -> Number:
    """Return the value that *rule* is about; None if there are no rows to compute it from."""
    sums = metrics.selection(rule.metric.name, rule.filters)
    stats = sums.stats()
    match rule.metric.kind:
        case Kind.COUNTER:
            return _of_counter(rule, metrics, stats)
        case Kind.TREND:
            assert isinstance(sums, TrendSums)
            return _of_trend(rule, sums, stats)
        case Kind.TIME:
            return stats["share" if rule.aggregation in ("rate", "share") else "total"]
        case Kind.LEVEL:
            return stats["mean" if rule.aggregation in MEANS else rule.aggregation]
    return stats["value"]


def limit_of(rule: Rule, metrics: RunMetrics) -> Number:
    """Return the number with which *rule* compares its value."""
    if rule.base is None:
        return rule.limit
    mean = metrics.selection(f"{rule.base}_ndcg_at_10", rule.filters).stats()["mean"]
    return None if mean is None else rule.limit * mean


def _of_counter(rule: Rule, metrics: RunMetrics, stats: Stats) -> Number:
    total = stats["total"]
    assert total is not None
    if rule.aggregation == "rate":
        seconds = metrics.duration_s(rule.filters)
        return total / seconds if seconds else None
    if rule.aggregation != "share":
        return total
    general = shared_filters(frozenset(rule.filters.items()), rule.metric.own)
    all_ = metrics.selection(rule.metric.name, dict(general)).stats()["total"]
    return total / all_ if all_ else None


def _of_trend(rule: Rule, trend: TrendSums, stats: Stats) -> Number:
    if rule.aggregation == "p":
        assert rule.percent is not None
        return trend.percentile(rule.percent)
    if rule.aggregation in ("sum", "total"):
        return trend.total()
    return stats[_STATISTICS.get(rule.aggregation, rule.aggregation)]
