"""The trace files of a scenario. They are read before training, so that a mistake is reported at once."""

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
"""Largest number of changes that one device plays in a run, as for other repeated events
(scenarios/language/checks.py)."""
MANY_CHANGES = 1_000_000
"""Above this number there is a warning: the changes take minutes per device."""


@dataclass(frozen=True)
class TraceFiles:
    """The series of each group, by the group's name."""

    memory: dict[str, tuple[Series[int], ...]] = field(default_factory=dict)
    availability: dict[str, tuple[Series[bool], ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """Warnings to the user: series that several devices play, devices left out, many changes."""


def read_trace_files(groups: Sequence[FleetGroup], stop_ns: int = 0) -> TraceFiles:
    """Return the series of *groups*.

    Args:
        groups: of a scenario.
        stop_ns: the stop time; 0: the number of changes is not checked.

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
    """Return the warnings about the traces of *scenarios* without running them; equal warnings once.

    Raises:
        InputError: `read_trace_files` refuses one.
    """
    groups = {
        (group.name, group.count, group.memory, group.availability, scenario.stop_time): group
        for scenario in scenarios
        for group in scenario.fleet
        if isinstance(group.memory, Replay) or group.availability is not None
    }
    warnings = (read_trace_files([group], key[-1]).warnings for key, group in groups.items())
    return list(dict.fromkeys(line for lines in warnings for line in lines))


def trace_warnings(scenarios: Iterable[Scenario]) -> list[str]:
    """Return warnings about the traces of *scenarios* that are not run now; an error becomes a warning."""
    try:
        return check_trace_files(scenarios)
    except InputError as error:
        return [f"`run` would refuse this scenario: {error}"]


def _series_of(group: FleetGroup, warnings: list[str]) -> Iterator[tuple[Replay | Availability, Any]]:
    """Yield each trace of *group* with its series; a trace may leave out devices without data."""
    traces = [
        trace for trace in (group.memory, group.availability) if isinstance(trace, Replay | Availability)
    ]
    recordings = [_read(trace) for trace in traces]
    for trace, recorded in zip(traces, recordings, strict=True):
        # The same devices for both columns of a file: by_order pairs a device's memory with its availability.
        others = (r for t, r in zip(traces, recordings, strict=True) if t.file == trace.file)
        without = {device for other in others for device in other.without}
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
    """Return a warning if a device that plays *trace* has very many changes until *stop_ns*.

    Raises:
        InputError: it has so many changes that the run would seem to hang.
    """
    largest = max((changes_until(one, trace, stop_ns) for one in series), default=0)
    if largest <= MANY_CHANGES:
        return []
    line = (
        f"{printable(trace.file)}: {trace.column}: a device of group {group} plays up to {largest} changes "
        f"until stop_time(={format_duration(stop_ns)})"
    )
    if largest > MOST_CHANGES:
        raise InputError(f"{line}; there must be at most {MOST_CHANGES}: see its t_s, on_end and scale")
    return [f"{line}: that takes long"]


def changes_until(series: Series[Any], trace: ReplayedTrace, stop_ns: int) -> int:
    """Return the largest number of changes until *stop_ns* of a device that plays *series* from its start."""
    times, length = series.times_ns, series.length_ns
    span = int(stop_ns / trace.scale)
    if trace.on_end != "wrap" or not length:
        return bisect_right(times, span)
    return span // length * len(times) + bisect_right(times, span % length)
