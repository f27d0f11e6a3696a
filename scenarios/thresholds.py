"""Thresholds: what a run must keep to, in k6's words, checked against the metrics and the scenario.

``{metric: ["p(95)<2s"]}``; a metric may be narrowed, ``update_bytes{kind=wasted}``. Pure.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from devices.log import Pressure, words
from scenarios.metrics import DECILES, DIMENSIONS, LABEL, METRICS, Kind, Metric, Unit
from wire.units import (
    NS_PER_S,
    RATE_UNITS,
    Duration,
    format_duration,
    parse_bytes,
    parse_duration,
)

if TYPE_CHECKING:
    from scenarios.schema import Scenario

SIGNS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
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
    """A rule that can end the run early; one that cannot is written as its text alone."""

    threshold: str
    """The rule: an aggregation, a comparison and a value, such as `p(95)<3s`."""
    abort_on_fail: bool = False
    """Whether the run ends when the rule is found broken. It is judged at every 50th part of the run, on what
    has been logged by then; where nothing has, it is not broken yet."""
    delay_abort_eval: Duration = Duration(0)
    """Before this simulated time it is not judged."""

    def __post_init__(self) -> None:
        if self.delay_abort_eval and not self.abort_on_fail:
            raise ValueError(
                f"delay_abort_eval(={format_duration(self.delay_abort_eval)}) needs abort_on_fail: true"
            )


@dataclass(frozen=True)
class Rule:
    """What one threshold demands."""

    selector: str
    """The metric and its filters, as written."""
    text: str
    """The rule, as written."""
    metric: Metric
    filters: Mapping[str, str]
    """Values by dimension."""
    aggregation: str
    percent: float | None
    """Of ``p``."""
    sign: str
    limit: float
    """In the unit of the aggregation; where there is a base, so many times that."""
    base: str | None
    """``full`` or ``best``: what the mean is compared with."""
    abort_ns: int | None
    """From when on the run ends where the rule is broken; None: it does not."""


def rules_of(thresholds: Mapping[str, Sequence[str | Threshold]]) -> tuple[Rule, ...]:
    """Return the rules of *thresholds*, in their order.

    Raises:
        ValueError: one has no meaning.
    """
    rules = []
    for found in _read(thresholds):
        if isinstance(found, str):
            raise ValueError(found)
        rules.append(found)
    return tuple(rules)


def thresholds_that_mean_nothing(thresholds: Mapping[str, Sequence[str | Threshold]]) -> Iterator[str]:
    """Yield what is wrong with each of *thresholds* that has no meaning."""
    return (found for found in _read(thresholds) if isinstance(found, str))


def filters_that_name_nothing(scenario: "Scenario") -> Iterator[str]:
    """Yield what is wrong with each filter of the thresholds that names nothing in *scenario*."""
    places = _places(scenario)
    for rule in _read(scenario.thresholds):
        if isinstance(rule, str):
            continue
        for dimension, value in rule.filters.items():
            known = {**rule.metric.own, **places}
            path = f"thresholds[{rule.selector}](={dimension!r})"
            if dimension not in known:
                yield f"{path} must be narrowed by one of {_list(dimension, known)}"
            elif value not in known[dimension]:
                path = f"thresholds[{rule.selector}](={value!r})"
                one = f"one of {_list(value, known[dimension])}" if known[dimension] else "and there is none"
                yield f"{path} must name a {dimension}, {one}"


def _read(thresholds: Mapping[str, Sequence[str | Threshold]]) -> Iterator[Rule | str]:
    """Yield each rule of *thresholds*; where it has no meaning, why."""
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


def _places(scenario: "Scenario") -> Mapping[str, Sequence[str]]:
    """Return the values of each dimension by which any metric can be narrowed."""
    labels: dict[str, dict[str, None]] = {}
    for group in scenario.fleet:
        for key, value in group.labels.items():
            labels.setdefault(LABEL + key, {})[value] = None
    known: dict[str, Sequence[str]] = {key: sorted(values) for key, values in labels.items()}
    known["group"] = [group.name for group in scenario.fleet]
    known |= {
        "node": list(scenario.nodes),
        "network": list(scenario.networks),
        "stage": [stage.name for stage in scenario.stages],
        "pressure": list(words(Pressure)),
        "user_group": [str(at) for at in range(scenario.model.training.user_groups)],
        "budget_decile": DECILES,
    }
    assert set(DIMENSIONS) <= {*known, "label.<key>", "budget_range"}
    return known


def _read_selector(text: str) -> tuple[Metric, Mapping[str, str]]:
    path = f"thresholds[{text}](={text!r})"
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{path} must be a metric, or a metric and filters: metric{{dimension=value}}")
    name = found["metric"]
    if name not in METRICS:
        meant = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"; did you mean {meant[0]!r}?" if meant else "; docs/metrics.md lists them"
        raise ValueError(f"{path} must name a metric{hint}")
    filters: dict[str, str] = {}
    for part in found["filters"].split(",") if found["filters"] is not None else ():
        dimension, equals, value = (each.strip() for each in part.partition("="))
        if not (dimension and equals and value):
            raise ValueError(f"{path} must have filters such as group=phone, not {part.strip()!r}")
        if dimension in filters:
            raise ValueError(f"{path} must have one value for {dimension}")
        filters[dimension] = value
    return METRICS[name], filters


def _read_rule(
    path: str, selector: str, metric: Metric, filters: Mapping[str, str], entry: str | Threshold
) -> Rule:
    text = entry.threshold if isinstance(entry, Threshold) else entry
    path = f"{path}(={text!r})"
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{path} must be an aggregation, one of < <= > >= ==, and a value, such as p(95)<2s")
    what = found["what"]
    if what not in metric.aggregations:
        known = _list(what, ["p(N)" if each == "p" else each for each in metric.aggregations])
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
    """Return the value that *text* means in *unit*.

    Raises:
        ValueError: it means none.
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
    """Return bytes a second: fractions of a bit do not matter here."""
    for name, bits in RATE_UNITS.items():
        number = text.removesuffix(name).strip()
        if number != text and _NUMBER.fullmatch(number):
            return float(number) * bits / 8
    raise ValueError(text)


def _list(value: str, known: Iterable[str]) -> str:
    """Return the known words, and which of them *value* may have meant."""
    listed = list(known)
    meant = difflib.get_close_matches(value, listed, n=1)
    hint = f"; did you mean {meant[0]!r}?" if meant else ""
    return ", ".join(listed) + hint
