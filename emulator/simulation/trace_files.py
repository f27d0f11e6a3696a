"""The recordings that a scenario plays, read before anything is trained: a mistake is told at once."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.memory import Replay
from devices.simulated.roster import FleetGroup
from devices.traces.assignment import ReplayedTrace, reuse_warnings
from devices.traces.availability import Availability
from devices.traces.series import Series, TraceColumn, read_trace_column
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.text import printable
from wire.units import format_duration

MOST_CHANGES = 10_000_000
"""One device plays at most so many changes in a run, as for all that comes again
(scenarios/language/checks.py)."""
MANY_CHANGES = 1_000_000
"""More are warned of: they take minutes for each device."""


@dataclass(frozen=True)
class TraceFiles:
    """What groups play, by the group's name."""

    memory: dict[str, tuple[Series[int], ...]] = field(default_factory=dict)
    availability: dict[str, tuple[Series[bool], ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What the user should know: series that several devices play, devices left out, many changes."""


def read_trace_files(groups: Sequence[FleetGroup], stop_ns: int = 0) -> TraceFiles:
    """Return what *groups* play.

    Args:
        groups: of a scenario.
        stop_ns: how long the run is; 0: how much is played in it is not checked.

    Raises:
        InputError: a trace is missing or damaged, has too few series to be sampled without replacement, or
            changes so often that the run would seem to hang.
    """
    memory: dict[str, tuple[Series[int], ...]] = {}
    availability: dict[str, tuple[Series[bool], ...]] = {}
    reuse: list[tuple[str, int, ReplayedTrace, int]] = []
    warnings: list[str] = []
    for group in groups:
        for trace, series in _series_of(group, warnings):
            if isinstance(trace, Replay):
                memory[group.name] = series
            else:
                availability[group.name] = series
            reuse.append((group.name, group.count, trace, len(series)))
            warnings += _check_pace(group.name, trace, series, stop_ns)
    return TraceFiles(memory, availability, tuple(dict.fromkeys([*reuse_warnings(reuse), *warnings])))


def check_trace_files(scenarios: Iterable[Scenario]) -> list[str]:
    """Return what to say of the traces that *scenarios* play, without running them; those alike once.

    Raises:
        InputError: `read_trace_files` refuses one.
    """
    played = {
        (group.name, group.count, group.memory, group.availability, scenario.stop_time): group
        for scenario in scenarios
        for group in scenario.fleet
        if isinstance(group.memory, Replay) or group.availability is not None
    }
    warnings = (read_trace_files([group], key[-1]).warnings for key, group in played.items())
    return list(dict.fromkeys(line for lines in warnings for line in lines))


def trace_warnings(scenarios: Iterable[Scenario]) -> list[str]:
    """Return what to say of the traces that *scenarios* play where none is played yet: refusals, too."""
    try:
        return check_trace_files(scenarios)
    except InputError as error:
        return [f"`run` would refuse this scenario: {error}"]


def _series_of(group: FleetGroup, warnings: list[str]) -> Iterator[tuple[Replay | Availability, Any]]:
    """Yield what *group* plays, and its series, devices without data left out where it says so."""
    traces = [each for each in (group.memory, group.availability) if isinstance(each, Replay | Availability)]
    found = [_read(trace) for trace in traces]
    for trace, recorded in zip(traces, found, strict=True):
        # Of one file the same devices: by_order pairs the memory of each with its own availability.
        others = (r for t, r in zip(traces, found, strict=True) if t.file == trace.file)
        without = {device for each in others for device in each.without}
        kept = tuple(series for device, series in recorded.series.items() if device not in without)
        count = len(recorded.series) + len(recorded.without)
        if not kept:
            raise InputError(f"{printable(trace.file)}: no device has a value in every column that is played")
        if len(kept) < count:
            warnings.append(
                f"{printable(trace.file)}: {count - len(kept)} of {count} devices have no value in a column "
                f"that group {group.name} plays: left out"
            )
        yield trace, kept


def _read(trace: Replay | Availability) -> TraceColumn:
    kind = "whole" if isinstance(trace, Replay) else "flag"
    return read_trace_column(Path(trace.file), trace.column, kind, trace.without_data)


def _check_pace(group: str, trace: ReplayedTrace, series: tuple[Series[Any], ...], stop_ns: int) -> list[str]:
    """Return a warning if a device that plays *trace* changes very often in *stop_ns*.

    Raises:
        InputError: it changes so often that the run would seem to hang.
    """
    most = max((changes_until(each, trace, stop_ns) for each in series), default=0)
    if most <= MANY_CHANGES:
        return []
    line = (
        f"{printable(trace.file)}: {trace.column}: a device of group {group} plays up to {most} changes "
        f"until stop_time(={format_duration(stop_ns)})"
    )
    if most > MOST_CHANGES:
        raise InputError(f"{line}; there must be at most {MOST_CHANGES}: see its t_s, on_end and scale")
    return [f"{line}: that takes long"]


def changes_until(series: Series[Any], trace: ReplayedTrace, stop_ns: int) -> int:
    """Return how often a device that plays *series* from its start changes until *stop_ns*, at most."""
    times, length = series.times_ns, series.length_ns
    span = int(stop_ns / trace.scale)
    if trace.on_end != "wrap" or not length:
        return bisect_right(times, span)
    return span // length * len(times) + bisect_right(times, span % length)
