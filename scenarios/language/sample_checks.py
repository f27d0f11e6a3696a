"""Checks and warnings about a sample of the fleet: what devices share must be shared by its part alike."""

from collections.abc import Iterator
from fractions import Fraction

from devices.simulated.cloud_model import exact_part
from devices.simulated.sample import sample_size
from scenarios.language.schema import ScenarioFields
from wire.units import format_share

_MOST_UNEVEN = Fraction(2, 100)
"""With a queue, the sample may not be larger or smaller than its share says by more than this part of it."""
_FEW_DEVICES = 100
"""With fewer devices of the sample in a group of a rollout, its shares of success are coarse."""


def sample_errors(scenario: ScenarioFields) -> Iterator[str]:
    """Yield why the sample of *scenario* cannot stand for its fleet."""
    if scenario.sample is None:
        return
    shown = f"sample(={format_share(scenario.sample)})"
    if scenario.sample <= 0:
        yield f"{shown} must be > 0"
        return
    if scenario.clock == "realtime":
        yield f"{shown} needs clock virtual or lockstep: in real time a broker and a cloud carry real devices"
    cloud = scenario.cloud
    if cloud.workers is None:
        return
    if exact_part(cloud.workers, scenario.sample) is None:
        least = format_share(1 / cloud.workers)
        yield (
            f"{shown} of cloud.workers(={cloud.workers}) must be a whole number of workers, else the "
            f"sample has another queue than the fleet: the least share is 1 of {cloud.workers}, {least}"
        )
    if cloud.queue_limit is not None and exact_part(cloud.queue_limit, scenario.sample) is None:
        yield f"{shown} of cloud.queue_limit(={cloud.queue_limit}) must be a whole number of reports"
    devices = sum(group.count for group in scenario.fleet)
    drawn = sum(sample_size(group.count, scenario.sample) for group in scenario.fleet)
    expected = Fraction(repr(float(scenario.sample))) * devices
    if abs(drawn - expected) > _MOST_UNEVEN * expected:
        yield (
            f"{shown} is {drawn} of {devices} devices, since of each group a whole number is drawn: the "
            f"queue of cloud.workers(={cloud.workers}) needs a share that fits, or larger groups"
        )


def sample_warnings(scenario: ScenarioFields) -> Iterator[str]:
    """Yield what a sample of the fleet of *scenario* shows less well than the fleet."""
    if scenario.sample is None or scenario.sample >= 1:
        return
    shown = f"sample(={format_share(scenario.sample)})"
    if scenario.cloud.workers is not None:
        part = exact_part(scenario.cloud.workers, scenario.sample)
        yield (
            f"{shown}: {part} of {scenario.cloud.workers} workers: at the same load fewer workers make "
            "reports wait longer, so waits are upper bounds; they are right where all workers are busy"
        )
    if scenario.rollout is not None:
        drawn = sum(sample_size(group.count, scenario.sample) for group in scenario.fleet)
        size = drawn // scenario.rollout.groups
        if size < _FEW_DEVICES:
            yield (
                f"{shown}: a group of the rollout has about {size} devices of the sample, so its shares of "
                "success and failure are coarse, and so is the moment at which the next group starts"
            )
