"""The parts of a scenario that metrics need: stages, faults and actions, warm-up, stop time, more metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from devices.timeline.schedule import parse_moment, stage_starts
from scenarios.catalogue.metrics import INTERACTION_METRICS
from scenarios.language.scenario import Scenario
from scenarios.language.thresholds import plugin_metrics


@dataclass(frozen=True)
class Span:
    """The time span of a stage, a fault or an action."""

    type: str
    """The name of a stage, the type of a fault or an action."""
    at: str
    """Its start as the scenario has it."""
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class RunTimeline:
    """The stages, faults and actions of a run, its warm-up and its end."""

    stop_ns: int
    warmup_ns: int = 0
    stages: Sequence[Span] = ()
    faults: Sequence[Span] = ()
    actions: Sequence[Span] = ()
    message_unit_bytes: int | None = None
    """Size of the unit in which messages are billed; None: nothing is billed."""
    more_metrics: Sequence[str] = ()
    """Names of the metrics of interactions, where there are some, and of plug-ins that the scenario names."""

    @classmethod
    def from_scenario(cls, scenario: Scenario) -> Self:
        """Return the timeline of *scenario*."""
        starts = stage_starts(scenario.stages)

        def span(type_: str, at: str, duration_ns: int) -> Span:
            start_ns = parse_moment(at).resolve(starts)
            return Span(type_, at, start_ns, start_ns + duration_ns)

        return cls(
            int(scenario.stop_time),
            int(scenario.warmup),
            [span(stage.name, stage.name, stage.duration) for stage in scenario.stages],
            [span(_type_of(fault), fault.at, fault.duration) for fault in scenario.faults],
            [span(_type_of(action), action.at, action.lasts_ns) for action in scenario.actions],
            None if scenario.prices is None else int(scenario.prices.message_unit),
            (*_interaction_metrics(scenario), *plugin_metrics(scenario.metrics, scenario.thresholds)),
        )

    def until(self, stop_ns: int) -> Self:
        """Return the timeline of a run that ended at *stop_ns*."""
        return replace(self, stop_ns=stop_ns)


def _interaction_metrics(scenario: Scenario) -> Sequence[str]:
    return () if scenario.interactions is None else tuple(INTERACTION_METRICS)


def _type_of(entry: object) -> str:
    return str(type(entry).__struct_config__.tag)  # type: ignore[attr-defined]  # a tagged struct
