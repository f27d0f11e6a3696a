"""Checks of interactions in simulated time against the rest of a scenario."""

from collections.abc import Iterator

from cloud.data.sources import ByCut, Ratings, Synthetic
from cloud.service.retraining import MOST_VERSIONS
from devices.timeline.actions import Action
from scenarios.catalogue.metrics import INTERACTION_METRICS
from scenarios.language.interactions import DriftingInteractions, ReplayedInteractions
from scenarios.language.schema import ScenarioFields
from scenarios.language.thresholds import Rule, read_rules
from wire.units import format_duration, format_share


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


def retrain_errors(scenario: ScenarioFields) -> Iterator[str]:
    """Yield why the model cannot be retrained as *scenario* says."""
    settings, model = scenario.retrain, scenario.model
    if settings is None:
        return
    shown = f"retrain.every(={format_duration(settings.every)})"
    if scenario.interactions is None:
        yield f"{shown} needs interactions: without them nothing new is known"
        return
    if scenario.rollout is not None:
        yield f"{shown} must stand without rollout: each brings versions of its own"
    if model.store is not None:
        yield f"model.store(={model.store!r}) must be left out with retrain, which goes on with training"
    elif model.training.backbone not in ("ials", "auto"):
        yield f"model.training.backbone(={_name(model.training.backbone)}) must be ials or auto with retrain"
    if not model.codec.embedded:
        yield f"model.codec(={model.codec.value!r}) must be coded or planes with retrain"
    if scenario.updates.delivery == "shared":
        yield "updates.delivery(='shared') must be device with retrain: a delta is for one device's blocks"
    count, stop = len(settings.times_ns(int(scenario.stop_time))), format_duration(scenario.stop_time)
    if count > MOST_VERSIONS:
        yield (
            f"{shown} must be longer: until stop_time(={stop}) it makes {count:,} versions, at most "
            f"{MOST_VERSIONS}"
        )
    elif not count:
        yield f"{shown} must be shorter than stop_time(={stop})"


def _name(backbone: object) -> str:
    return repr(backbone) if isinstance(backbone, str) else "that of a plug-in"
