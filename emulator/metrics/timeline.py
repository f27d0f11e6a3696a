"""What a scenario says that a run is measured by: its stages, its faults and actions, what does not count."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from devices.timeline.actions import BudgetScale, Disconnect, NewUsers, SwapNetwork
from devices.timeline.schedule import parse_moment, stage_starts
from scenarios.language.scenario import Scenario


@dataclass(frozen=True)
class Span:
    """A stage, a fault or an action, and when it was."""

    type: str
    """The name of a stage, the type of a fault or an action."""
    at: str
    """When, as the scenario says it."""
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class RunTimeline:
    """What a scenario says that a run is measured by."""

    stop_ns: int
    warmup_ns: int = 0
    stages: Sequence[Span] = ()
    faults: Sequence[Span] = ()
    actions: Sequence[Span] = ()

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Return the plan of *scenario*."""
        starts = stage_starts(scenario.stages)

        def span(type_: str, at: str, lasting: int) -> Span:
            start_ns = parse_moment(at).resolve(starts)
            return Span(type_, at, start_ns, start_ns + lasting)

        return cls(
            int(scenario.stop_time),
            int(scenario.warmup),
            [span(stage.name, stage.name, stage.duration) for stage in scenario.stages],
            [span(_type(fault), fault.at, fault.duration) for fault in scenario.faults],
            [span(_type(action), action.at, _lasting(action)) for action in scenario.actions],
        )

    def until(self, stop_ns: int) -> Self:
        """Return the plan of a run that ended at *stop_ns*."""
        return replace(self, stop_ns=stop_ns)


HANDOVER = str(NewUsers.__struct_config__.tag)
DISCONNECT = str(Disconnect.__struct_config__.tag)


def _type(entry: object) -> str:
    return str(type(entry).__struct_config__.tag)  # type: ignore[attr-defined]  # a tagged struct


def _lasting(action: object) -> int:
    """Return how long it takes until an action has happened to all of its devices."""
    match action:
        case BudgetScale():
            return int(action.over)
        case Disconnect():
            return int(action.duration + action.reconnect_within)
        case SwapNetwork():
            return int(action.duration or 0)
        case NewUsers():
            return int(action.within)
    raise TypeError(f"{action!r} is no action")
