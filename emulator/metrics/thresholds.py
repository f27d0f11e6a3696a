"""Verdicts: what a run is worth by the thresholds of its scenario, at its end or while it goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import simpy

from emulator.metrics.aggregates import Aggregate, Counter, Number, Stats, Trend
from emulator.metrics.compute import RunMetrics
from emulator.metrics.frame import Columns, DeviceTable
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import Kind
from scenarios.catalogue.summary_keys import PAIRS
from scenarios.language.thresholds import MEANS, SIGNS, Rule

CHECKS = 50
"""A rule that can end the run is judged so many times, at even distances."""

_STATISTICS = {"count": "n", "med": "p50", "avg": "mean", "time_weighted_mean": "mean", "value": "value"}


@dataclass(frozen=True)
class RuleVerdict:
    """What came of one rule."""

    metric: str
    """With its filters, as the scenario has it."""
    rule: str
    value: Number
    """In seconds, bytes or shares; None: there was nothing to judge."""
    passed: bool
    """A rule that nothing could be judged by is not passed."""


def judge_rule(rule: Rule, measures: RunMetrics, summary: Mapping[str, object] | None = None) -> RuleVerdict:
    """Return what came of *rule*.

    Args:
        rule: to be judged.
        measures: of the run.
        summary: of the run, for rules about keys of it that are no metrics.
    """
    value: Number
    limit: Number
    if rule.of_summary:
        value, limit = number_at(rule.metric.name, summary or {}), float(rule.limit)
    else:
        value, limit = value_of(rule, measures), limit_of(rule, measures)
    passed = value is not None and limit is not None and SIGNS[rule.sign](value, limit)
    return RuleVerdict(rule.selector, rule.text, value, passed)


def number_at(key: str, summary: Mapping[str, object]) -> Number:
    """Return the number at dotted *key* of a summary; of pairs that never came 0, else None."""
    found: object = summary
    for part in key.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal():
            found = found[int(part)] if int(part) < len(found) else None
        else:
            found = None
    if found is None and key.partition(".")[0] in PAIRS:
        return 0
    return found if isinstance(found, int | float) else None


def value_of(rule: Rule, measures: RunMetrics) -> Number:
    """Return the value that *rule* is about; None if there is nothing to take it of."""
    form = _narrowed(rule.metric.name, rule, measures)
    stats = form.stats
    match rule.metric.kind:
        case Kind.COUNTER:
            return _counted(rule, measures, stats)
        case Kind.TREND:
            assert isinstance(form, Trend)
            return _of_trend(rule, form, stats)
        case Kind.TIME:
            return stats["share" if rule.aggregation in ("rate", "share") else "total"]
        case Kind.LEVEL:
            return stats["mean" if rule.aggregation in MEANS else rule.aggregation]
    return stats["value"]


def limit_of(rule: Rule, measures: RunMetrics) -> Number:
    """Return what *rule* compares its value with."""
    if rule.base is None:
        return rule.limit
    mean = _narrowed(f"{rule.base}_ndcg_at_10", rule, measures).stats["mean"]
    return None if mean is None else rule.limit * mean


def _narrowed(name: str, rule: Rule, measures: RunMetrics) -> Aggregate:
    form = measures.form(name)
    if not rule.filters:
        return form
    return form.where(measures.frame, measures.codes(rule.metric.name, rule.filters))


def _counted(rule: Rule, measures: RunMetrics, stats: Stats) -> Number:
    total = stats["total"]
    assert total is not None
    if rule.aggregation == "rate":
        seconds = measures.seconds(rule.filters)
        return total / seconds if seconds else None
    if rule.aggregation != "share":
        return total
    own = rule.metric.own
    form = measures.form(rule.metric.name)
    # The share is of what filters of its own leave out; without such, of everything.
    general = {name: value for name, value in rule.filters.items() if name not in own}
    if len(general) < len(rule.filters) and general:
        form = form.where(measures.frame, measures.codes(rule.metric.name, general))
    assert isinstance(form, Counter)
    whole = form.stats["total"]
    return total / whole if whole else None


def _of_trend(rule: Rule, form: Trend, stats: Stats) -> Number:
    if rule.aggregation == "p":
        assert rule.percent is not None
        return form.percentile(rule.percent)
    if rule.aggregation in ("sum", "total"):
        return form.sum / form.scale
    return stats[_STATISTICS.get(rule.aggregation, rule.aggregation)]


class AbortedError(Exception):
    """A threshold that ends the run is broken.

    Args:
        t_ns: the simulated time at which that was found.
    """

    def __init__(self, t_ns: int) -> None:
        super().__init__(t_ns)
        self.t_ns = t_ns


class AbortMonitor:
    """Judges those rules that can end a run, at fixed simulated times.

    The moments are scheduled before anything else, so what has been logged by then is the same under every
    clock: whatever else happens at the same time happens after.

    Args:
        rules: of the scenario; those that cannot end the run do not matter here.
        members: the devices.
        plan: of the scenario.
        so_far: returns the columns of the event tables as they have grown by now.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        members: DeviceTable,
        plan: RunTimeline,
        so_far: Callable[[], Mapping[str, Columns]],
    ) -> None:
        self._rules = [rule for rule in rules if rule.abort_ns is not None]
        self._members = members
        self._plan = plan
        self._so_far = so_far

    def watch(self, env: simpy.Environment) -> None:
        """Judge at even distances in *env*, which raises `AbortedError` when a rule is broken."""
        for look in range(1, CHECKS):
            t_ns = self._plan.stop_ns * look // CHECKS
            if any(rule.abort_ns is not None and rule.abort_ns <= t_ns for rule in self._rules):
                env.timeout(t_ns, t_ns).callbacks.append(self._look)

    def _look(self, event: simpy.Event) -> None:
        now: int = event.value  # type: ignore[assignment]  # as `watch` gave it
        measures = RunMetrics(self._members, self._plan.until(now), self._so_far(), self._plan.warmup_ns)
        for rule in self._rules:
            if rule.abort_ns is not None and rule.abort_ns <= now and _broken(rule, measures):
                raise AbortedError(now)


def _broken(rule: Rule, measures: RunMetrics) -> bool:
    """Tell whether *rule* is broken; where nothing can be judged yet it is not."""
    verdict = judge_rule(rule, measures)
    return not verdict.passed and verdict.value is not None
