"""Thresholds: rules that a run must pass, in the syntax of k6, read against the metrics.

``{metric: ["p(95)<2s"]}``; a metric may be filtered, ``update_bytes{kind=wasted}``. Other numbers of the
summary can have rules, too: ``{broker_egress_bytes: ["value<500MB"]}``. Pure.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from scenarios.catalogue.metrics import INTERACTION_METRICS, METRIC_PLUGINS, METRICS, Kind, Metric, Unit
from scenarios.catalogue.summary_keys import is_own_key, key_of, number_keys
from wire.errors import InputError
from wire.units import (
    BYTE_UNITS,
    NS_PER_S,
    RATE_UNITS,
    TIME_UNITS,
    Duration,
    format_duration,
    parse_bytes,
    parse_duration,
)

SIGNS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
SUMMARY: Final = "summary"
"""The table name of keys of the summary that are not metrics."""
MEANS: Final = ("time_weighted_mean", "mean", "avg", "value")

_SELECTOR = re.compile(r"(?P<metric>[^{}]*?)\s*(?:\{(?P<filters>[^{}]*)\})?")
_RULE = re.compile(
    r"(?P<what>[a-z_]+)\s*(?:\((?P<percent>[^()]*)\))?\s*(?P<sign><=|>=|==|<|>)\s*(?P<value>.+)"
)
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_OF_BASE = re.compile(rf"(?P<factor>{_NUMBER.pattern})\s*\*\s*(?P<base>\w+)")
_EXAMPLES: Final[Mapping[Unit, str]] = {
    Unit.NUMBER: "a number",
    Unit.SHARE: "a share such as 5% or 0.05",
    Unit.SECONDS: "a span of time such as 250ms",
    Unit.BYTES: "a size such as 64KiB",
    Unit.PER_SECOND: "a rate such as 20/s",
    Unit.BYTES_PER_SECOND: "a data rate such as 200kB/s",
}


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule that can end the run early; other rules are written as their text alone."""

    threshold: str
    """The rule: an aggregation, a comparison and a value, such as `p(95)<3s`."""
    abort_on_fail: bool = False
    """End of the run when the rule is broken. It is evaluated after every 50th of the run, on the rows logged
    until then; without rows it is not broken yet."""
    delay_abort_eval: Duration = Duration(0)
    """The rule is not evaluated before this simulated time."""

    def __post_init__(self) -> None:
        if self.delay_abort_eval and not self.abort_on_fail:
            raise ValueError(
                f"delay_abort_eval(={format_duration(self.delay_abort_eval)}) needs abort_on_fail: true"
            )


@dataclass(frozen=True)
class Rule:
    """A threshold that has been read."""

    selector: str
    """The metric and its filters, as written."""
    text: str
    """The rule, as written."""
    metric: Metric
    filters: Mapping[str, str]
    """Values by dimension."""
    aggregation: str
    percent: float | None
    """The percentile of ``p``."""
    sign: str
    limit: float
    """The limit in the unit of the aggregation; with a base, the factor of the base."""
    base: str | None
    """``full`` or ``best``, if the mean is compared with one of them."""
    abort_ns: int | None
    """The time from which the broken rule ends the run; None: it never does."""

    @property
    def of_summary(self) -> bool:
        """True if the rule is about a key of the summary that is not a metric."""
        return self.metric.table == SUMMARY


def rules_of(thresholds: Mapping[str, Sequence[str | Threshold]]) -> tuple[Rule, ...]:
    """Return the rules of *thresholds*, in their order.

    Raises:
        ValueError: a rule is wrong.
    """
    rules = []
    for rule in read_rules(thresholds):
        if isinstance(rule, str):
            raise ValueError(rule)
        rules.append(rule)
    return tuple(rules)


def threshold_errors(thresholds: Mapping[str, Sequence[str | Threshold]]) -> Iterator[str]:
    """Yield the error of each wrong rule."""
    return (rule for rule in read_rules(thresholds) if isinstance(rule, str))


def read_rules(thresholds: Mapping[str, Sequence[str | Threshold]]) -> Iterator[Rule | str]:
    """Yield each rule of *thresholds*; for a wrong one, its error."""
    for selector, entries in thresholds.items():
        try:
            metric, filters = _read_selector(selector)
        except ValueError as error:
            yield str(error)
            continue
        if not entries:
            yield f"thresholds[{selector}](=[]) must have at least one rule"
        for at, entry in enumerate(entries):
            path = f"thresholds[{selector}][{at}]"
            if isinstance(entry, Threshold):
                path += ".threshold"
            try:
                yield _read_rule(path, selector, metric, filters, entry)
            except ValueError as error:
                yield str(error)


def _read_selector(text: str) -> tuple[Metric, Mapping[str, str]]:
    path = f"thresholds[{text}](={text!r})"
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{path} must be a metric, or a metric and filters: metric{{dimension=value}}")
    name = found["metric"]
    metric = METRICS.get(name) or INTERACTION_METRICS.get(name) or _plugin_metric(path, name)
    metric = metric or _summary_key(name)
    if metric is None:
        raise ValueError(f"{path} must name a metric, or a number in summary.json{_hint(name)}")
    if metric.table == SUMMARY and found["filters"] is not None:
        raise ValueError(f"{path} must have no filters: {name} is a key of the summary, of the complete run")
    filters: dict[str, str] = {}
    for part in found["filters"].split(",") if found["filters"] is not None else ():
        dimension, equals, value = (text.strip() for text in part.partition("="))
        if not (dimension and equals and value):
            raise ValueError(f"{path} must have filters such as group=phone, not {part.strip()!r}")
        if dimension in filters:
            raise ValueError(f"{path} must have one value for {dimension}")
        filters[dimension] = value
    return metric, filters


def _summary_key(name: str) -> Metric | None:
    """Return the key *name* of the summary as a metric with one value; None if it is not a number."""
    key = key_of(name)
    if key is None or key.unit is None:
        return None
    return Metric(name, Kind.GAUGE, key.unit, SUMMARY, key.meaning)


def _plugin_metric(path: str, name: str) -> Metric | None:
    """Return the metric of a plug-in; None if there is none of that name."""
    try:
        plugin = None if is_own_key(name) else METRIC_PLUGINS.find(name)
    except InputError as error:
        raise ValueError(f"{path} names the {error}") from None
    return None if plugin is None else plugin.metric


def plugin_metrics(
    named: Sequence[str], thresholds: Mapping[str, Sequence[str | Threshold]]
) -> tuple[str, ...]:
    """Return the names of the metrics of plug-ins that a scenario names, in `metrics` or in a threshold."""
    rules = (rule for rule in read_rules(thresholds) if isinstance(rule, Rule) and not rule.of_summary)
    own = METRICS.keys() | INTERACTION_METRICS.keys()
    ruled = (rule.metric.name for rule in rules if rule.metric.name not in own)
    return tuple(dict.fromkeys([*named, *ruled]))


def metric_errors(named: Sequence[str]) -> Iterator[str]:
    """Yield the error of each of the *named* metrics that is none of a plug-in."""
    for at, name in enumerate(named):
        path = f"metrics[{at}](={name!r})"
        if name in METRICS or name in INTERACTION_METRICS or is_own_key(name):
            yield f"{path} must be a metric of a plug-in: every run has those of metrics.md"
            continue
        try:
            if _plugin_metric(path, name) is None:
                known = listed(name, METRIC_PLUGINS.names())
                yield f"{path} must be {f'one of {known}' if known else 'left out: no plug-in has metrics'}"
        except ValueError as error:
            yield str(error)


def _hint(name: str) -> str:
    """Return a hint: known names that contain the words of *name*, or the one spelt most like it."""
    known = [*METRICS, *INTERACTION_METRICS, *number_keys()]
    parts = set(name.lower().split("_"))
    alike = [other for other in known if parts <= set(other.split("_"))][:4]
    alike = alike or difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; did you mean {', '.join(map(repr, alike))}?" if alike else "; docs/metrics.md lists them"


def _read_rule(
    path: str, selector: str, metric: Metric, filters: Mapping[str, str], entry: str | Threshold
) -> Rule:
    text = entry.threshold if isinstance(entry, Threshold) else entry
    path = f"{path}(={text!r})"
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{path} must be an aggregation, one of < <= > >= ==, and a value, such as p(95)<2s")
    what = found["what"]
    if metric.table == SUMMARY:
        if what != "value":
            raise ValueError(f"{path} must be value: {metric.name} is one number of summary.json")
        if isinstance(entry, Threshold) and entry.abort_on_fail:
            raise ValueError(f"{path} must not abort: the summary exists only at the end of the run")
    if what not in metric.aggregations:
        known = listed(what, ["p(N)" if name == "p" else name for name in metric.aggregations])
        raise ValueError(f"{path} must aggregate {metric.name}, a {metric.kind}, by one of {known}")
    percent = _read_percent(path, what, found["percent"])
    if what == "share" and metric.kind is Kind.COUNTER and not filters:
        raise ValueError(f"{path} must narrow {metric.name} with a filter, to be a share of it")
    limit, base = _read_value(path, metric, what, found["value"].strip())
    aborts = isinstance(entry, Threshold) and entry.abort_on_fail
    abort_ns = int(entry.delay_abort_eval) if isinstance(entry, Threshold) and aborts else None
    return Rule(selector, text, metric, filters, what, percent, found["sign"], limit, base, abort_ns)


def _read_percent(path: str, what: str, text: str | None) -> float | None:
    if what != "p":
        if text is not None:
            raise ValueError(f"{path} must have a number in brackets only after p")
        return None
    percent = float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else -1.0
    if not 0.0 < percent <= 100.0:
        raise ValueError(f"{path} must have a percentile above 0 and up to 100, such as p(95)")
    return percent


def _read_value(path: str, metric: Metric, what: str, text: str) -> tuple[float, str | None]:
    of_base = _OF_BASE.fullmatch(text)
    if of_base is not None:
        base = of_base["base"]
        if base not in metric.bases or what not in MEANS:
            raise ValueError(
                f"{path} must compare with a value: only the mean of ndcg_at_10 can be compared with "
                "full, best or oracle"
            )
        return float(of_base["factor"]), "best" if base == "oracle" else base
    unit = metric.unit_of(what)
    if unit is Unit.SHARE and metric.unit is not unit and _NUMBER.fullmatch(text) and float(text) > 1:
        raise ValueError(f"{path} must compare {what} with a share up to 1; did you mean {text}%?")
    try:
        return _quantity(unit, text), None
    except (ValueError, OverflowError):
        raise ValueError(
            f"{path} must compare {what} of {metric.name} with {_EXAMPLES[unit]}, not {text!r}"
        ) from None


def _quantity(unit: Unit, text: str) -> float:
    """Return the value of *text* in *unit*.

    Raises:
        ValueError: *text* is not a value of this unit.
    """
    plain = float(text) if _NUMBER.fullmatch(text) else None
    match unit:
        case Unit.SECONDS:
            return parse_duration(0 if plain == 0 else text) / NS_PER_S
        case Unit.BYTES:
            return float(parse_bytes(0 if plain == 0 else text))
        case Unit.SHARE if text.endswith("%"):
            return float(text.removesuffix("%").strip()) / 100
        case Unit.PER_SECOND if text.endswith("/s"):
            return float(text.removesuffix("/s").strip())
        case Unit.BYTES_PER_SECOND if plain != 0:
            return _data_rate(text)
    if plain is None:
        raise ValueError(text)
    return plain


def _data_rate(text: str) -> float:
    """Return bytes per second; fractions of a bit do not matter here."""
    for name, bits in RATE_UNITS.items():
        number = text.removesuffix(name).strip()
        if number != text and _NUMBER.fullmatch(number):
            return float(number) * bits / 8
    raise ValueError(text)


def shown_value(selector: str, text: str, value: float | None) -> str:
    """Return *value* as text in the unit that the rule *text* uses.

    Args:
        selector: the metric and its filters, as in the scenario.
        text: the rule.
        value: in seconds, bytes or shares; None: there are no data.
    """
    if value is None:
        return "no data"
    try:
        (rule,) = rules_of({selector: [text]})
    except ValueError:  # a run of another version
        return f"{value:,.6g}"
    found = _RULE.fullmatch(text.strip())
    written = "" if found is None or rule.base is not None else found["value"].strip()
    size, name = _scale(rule.metric.unit_of(rule.aggregation), written.lstrip("0123456789. "))
    limit = rule.limit if rule.base is None else None
    return _rounded(value / size, None if limit is None else limit / size) + (f" {name}" if name else "")


def _scale(unit: Unit, written: str) -> tuple[float, str]:
    """Return the size and the name of the unit *written*; if it is empty, those of *unit*."""
    last = re.split(r"[0-9.\s]+", written)[-1]  # seconds, in 1 min 3 s
    match unit:
        case Unit.SECONDS:
            return (TIME_UNITS[last] / NS_PER_S, last) if last in TIME_UNITS else (1.0, "s")
        case Unit.BYTES:
            return (float(BYTE_UNITS[last]), last) if last in BYTE_UNITS else (1.0, "B")
        case Unit.SHARE:
            return (0.01, "%") if last == "%" else (1.0, "")
        case Unit.PER_SECOND:
            return 1.0, "/s"
        case Unit.BYTES_PER_SECOND:
            return (RATE_UNITS[last] / 8, last) if last in RATE_UNITS else (1.0, "B/s")
    return 1.0, ""


def _rounded(value: float, limit: float | None) -> str:
    """Return *value* with enough digits to distinguish it from *limit*."""
    for digits in (4, 6, 9, 12):
        before = len(str(int(abs(value)))) if abs(value) >= 1 else 0
        places = max(digits - before, 0)
        text = f"{value:,.{places}f}" if abs(value) >= 1e-3 or not value else f"{value:.{digits}g}"
        if limit is None or value == limit or float(text.replace(",", "")) != limit:
            break
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def listed(value: str, known: Iterable[str]) -> str:
    """Return the known words, and the one that is most like *value*."""
    names = list(known)
    meant = difflib.get_close_matches(value, names, n=1)
    hint = f"; did you mean {meant[0]!r}?" if meant else ""
    return ", ".join(names) + hint
