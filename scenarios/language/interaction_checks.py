"""Checks of interactions in simulated time against the rest of a scenario."""

from collections.abc import Iterator

from cloud.data.sources import ByCut, Ratings, Synthetic
from devices.timeline.actions import Action
from scenarios.catalogue.metrics import INTERACTION_METRICS
from scenarios.language.interactions import DriftingInteractions, ReplayedInteractions
from scenarios.language.schema import ScenarioFields
from scenarios.language.thresholds import Rule, read_rules
from wire.units import format_share


def interaction_errors(scenario: ScenarioFields) -> Iterator[str]:
    """Yield why users cannot meet items in simulated time as *scenario* says."""
    data, interactions = scenario.data, scenario.interactions
    if interactions is None:
        yield from _unmeasured(scenario)
        return
    kind = interactions.__struct_config__.tag
    shown = f"interactions.type(={kind!r})"
    if isinstance(interactions, DriftingInteractions) and not isinstance(data, Synthetic):
        yield f"{shown} needs data of type synthetic: it is the same world, as time goes on"
    # A reader of a plug-in may cut its data itself.
    if isinstance(interactions, ReplayedInteractions) and (
        isinstance(data, Synthetic) or (isinstance(data, Ratings) and not isinstance(data.split, ByCut))
    ):
        yield f"{shown} needs data with times, and data.split of type cut: what comes after it is replayed"
    if scenario.sample is not None:
        yield f"sample(={format_share(scenario.sample)}) must be left out with {shown}: take fewer devices"
    for at, action in enumerate(scenario.actions):
        if isinstance(action, Action) and action.reassigns_users:
            yield f"actions[{at}]: gives devices to other users, which {shown} does not allow"


def _unmeasured(scenario: ScenarioFields) -> Iterator[str]:
    """Yield the rules about visits of users who meet nothing."""
    for rule in read_rules(scenario.thresholds):
        if isinstance(rule, Rule) and rule.metric.name in INTERACTION_METRICS:
            yield (
                f"thresholds[{rule.selector}](={rule.text!r}) needs interactions: without them no user meets "
                "an item"
            )
