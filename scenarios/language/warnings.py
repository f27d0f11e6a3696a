"""Doubts: what is allowed and yet may not be meant, or takes very long; told before anything runs."""

from collections.abc import Iterable, Iterator

from scenarios.language.checks import paces
from scenarios.language.scenario import Scenario
from wire.units import NS_PER_S, format_duration

EVENTS_A_SECOND = 50_000
"""A simulation without a broker makes about so many steps a second of one core."""
MANY_SECONDS = 3600
MANY_DEVICES = 1_000_000
DEVICE_BYTES = 4_000
"""A device takes about so much memory while it lives."""


def doubts(scenario: Scenario) -> Iterator[str]:
    """Yield what the user should know of *scenario* before it runs, a line each."""
    yield from _of_first_stage(scenario)
    yield from _of_size(scenario)


def doubts_of_all(scenarios: Iterable[Scenario]) -> list[str]:
    """Return the doubts of *scenarios*, such as the combinations of a sweep; those that are alike once."""
    return list(dict.fromkeys(line for scenario in scenarios for line in doubts(scenario)))


def _of_first_stage(scenario: Scenario) -> Iterator[str]:
    if not scenario.stages:
        return
    first = scenario.stages[0]
    late = [group.name for group in scenario.fleet if group.start_within]
    if first.ramp is None and first.target > 0:
        also = f", besides start_within of {', '.join(late)}" if late else ""
        yield (
            f"stages[0].ramp: is left out, so devices connect one after the other over the whole "
            f"{format_duration(first.duration)} of {first.name!r}{also}; ramp: 0 s has them there at once"
        )


def _of_size(scenario: Scenario) -> Iterator[str]:
    devices = sum(group.count for group in scenario.fleet)
    if devices > MANY_DEVICES:
        yield (
            f"fleet: has {devices:,} devices: takes about {devices * DEVICE_BYTES / 1e9:,.0f} GB of memory; "
            "docs/scale.md says how to simulate a part"
        )
    seconds = steps(scenario) / EVENTS_A_SECOND
    if scenario.clock != "realtime" and seconds > MANY_SECONDS:
        yield (
            f"fleet: makes about {steps(scenario):.2g} steps until stop_time: at {EVENTS_A_SECOND:,} a "
            f"second that takes about {format_duration(int(seconds // 60) * 60 * NS_PER_S)}"
        )


def steps(scenario: Scenario) -> float:
    """Return about how many times something comes again, of all devices together."""
    total = 0.0
    for at, spans in paces(scenario):
        count = sum(group.count for group in scenario.fleet) if at is None else scenario.fleet[at].count
        total += count * scenario.stop_time / max(sum(spans.values()), 1)
    return total
