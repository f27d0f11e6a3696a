"""Warnings: allowed settings that may be a mistake, or take very long; shown before a run."""

from collections.abc import Iterable, Iterator

from devices.simulated.sample import sample_size
from scenarios.language.checks import repeating_spans
from scenarios.language.sample_checks import sample_warnings
from scenarios.language.scenario import Scenario
from wire.units import NS_PER_S, format_duration

EVENTS_A_SECOND = 50_000
"""Approximate speed of a simulation without a broker, in events per second of one core."""
MANY_SECONDS = 3600


def scenario_warnings(scenario: Scenario) -> Iterator[str]:
    """Yield the warnings about *scenario*, a line each."""
    yield from _of_first_stage(scenario)
    yield from _of_size(scenario)
    yield from sample_warnings(scenario)


def distinct_warnings(scenarios: Iterable[Scenario]) -> list[str]:
    """Return the distinct warnings about *scenarios*, such as the combinations of a sweep."""
    return list(dict.fromkeys(line for scenario in scenarios for line in scenario_warnings(scenario)))


def _of_first_stage(scenario: Scenario) -> Iterator[str]:
    if not scenario.stages:
        return
    first = scenario.stages[0]
    late = [group.name for group in scenario.fleet if group.start_within]
    if first.ramp is None and first.target > 0:
        also = f", besides start_within of {', '.join(late)}" if late else ""
        yield (
            f"stages[0].ramp: is left out, so devices connect one after the other over all "
            f"{format_duration(first.duration)} of {first.name!r}{also}; ramp: 0 s connects them at once"
        )


def _of_size(scenario: Scenario) -> Iterator[str]:
    seconds = estimate_events(scenario) / EVENTS_A_SECOND
    if scenario.clock != "realtime" and seconds > MANY_SECONDS:
        yield (
            f"fleet: makes about {estimate_events(scenario):.2g} events until stop_time: at "
            f"{EVENTS_A_SECOND:,} a second that takes about "
            f"{format_duration(int(seconds // 60) * 60 * NS_PER_S)}"
        )


def estimate_events(scenario: Scenario) -> float:
    """Return the approximate number of repeated events of all devices."""
    total = 0.0
    for index, spans in repeating_spans(scenario):
        count = sample_size(scenario.fleet[index].count, scenario.sample or 1)
        total += count * scenario.stop_time / max(sum(spans.values()), 1)
    return total
