"""What a resolved scenario says of a run: when its stages, faults and actions are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.second_opinion.tables import Span

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "d": 86_400 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9.]+)\s*([a-z]+)")


@dataclass(frozen=True)
class Plan:
    """When everything is, and what the run must keep to."""

    scenario: Mapping[str, Any]  # Any: YAML
    stages: Sequence[Span]
    faults: Sequence[Span]
    actions: Sequence[Span]
    warmup_ns: int
    thresholds: Sequence[tuple[str, str]]
    """Metrics with their filters, and rules."""


def plan_of(folder: Path) -> Plan:
    """Return the plan of the run in *folder*."""
    scenario = yaml.safe_load((folder / "scenario.yaml").read_text(encoding="utf-8"))
    stages, now = [], 0
    for stage in scenario["stages"]:
        stages.append(Span(stage["name"], "", now, now + span_ns(stage["duration"])))
        now = stages[-1].end_ns
    starts = {stage.name: stage.start_ns for stage in stages}

    def span(entry: Mapping[str, Any]) -> Span:
        start_ns = _moment(entry["at"], starts)
        return Span(entry["type"], entry["at"], start_ns, start_ns + _lasting(entry))

    rules = [
        (metric, rule if isinstance(rule, str) else rule["threshold"])
        for metric, entries in scenario["thresholds"].items()
        for rule in entries
    ]
    return Plan(
        scenario,
        stages,
        [span(each) for each in scenario["faults"]],
        [span(each) for each in scenario["actions"]],
        span_ns(scenario["warmup"]),
        rules,
    )


def span_ns(text: str | int) -> int:
    """Return a span of time in nanoseconds."""
    parts = _PART.findall(str(text))
    return sum(round(float(number) * _UNITS[unit]) for number, unit in parts)


def _moment(text: str, starts: Mapping[str, int]) -> int:
    stage, _, after = (part.strip() for part in str(text).partition("+"))
    return starts[stage] + span_ns(after) if stage in starts else span_ns(text)


def _lasting(entry: Mapping[str, Any]) -> int:
    """Return how long a fault lasts, or how long it takes until an action has happened to all."""
    names = {
        "budget_scale": ("over",), "disconnect": ("duration", "reconnect_within"),
        "network": ("duration",), "new_users": ("within",),
    }.get(entry["type"], ("duration",))  # fmt: skip
    return sum(span_ns(entry[name] or 0) for name in names)
