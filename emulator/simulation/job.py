"""A job: everything that a simulation needs, made from a resolved scenario, the same in every process."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from cloud.blocks.store import BlockStore
from devices.mqtt.settings import RealtimeSettings
from devices.recommender.quality import HeldOut
from devices.simulated.roster import DeviceSpec, build_roster, device_names
from devices.simulated.start import FleetConfig
from devices.timeline.timeline import Timeline
from emulator.replay.replay import Playback
from emulator.simulation.model_cache import PreparedModel, TrainingProgress, prepare_model
from emulator.simulation.trace_files import TraceFiles
from scenarios.language.load import dump
from scenarios.language.scenario import Scenario
from wire.errors import InputError


@dataclass(frozen=True)
class Job:
    """What to simulate."""

    scenario: Scenario
    fleet: str
    """The fleet's name in topics."""
    store: BlockStore
    truth: HeldOut
    devices: Sequence[DeviceSpec]
    """The devices of this shard."""
    users: Sequence[int]
    """The users of the whole fleet, so that what is evaluated together is the same in every shard."""
    folder: Path
    """Where the draft journal goes."""
    newer: BlockStore | None = None
    """The model version that a rollout brings."""
    recordings: TraceFiles = field(default_factory=TraceFiles)
    """The traces that groups play."""
    replay: Playback | None = None
    """The run that is played again, if one is."""


@dataclass(frozen=True)
class PreparedJob:
    """A job with the models behind it."""

    job: Job
    models: Sequence[PreparedModel]
    """The model that is served to everybody; then the one that a rollout brings, if there is one."""


def prepare(
    scenario: Scenario,
    store: Path | None,
    folder: Path,
    *,
    training: TrainingProgress,
    found: Callable[[PreparedModel], None] = lambda _: None,
    recordings: TraceFiles | None = None,
    replay: Playback | None = None,
) -> PreparedJob:
    """Return the job of *scenario*; its models are trained, or taken from the cache.

    Args:
        scenario: resolved.
        store: where models are cached.
        folder: where the draft journal goes.
        training: told how training goes.
        found: told each model when it is there.
        recordings: the traces that groups play.
        replay: the recorded run to play again.

    Raises:
        InputError: the data cannot be used.
    """
    models = [prepare_model(scenario.data, scenario.model, store, training)]
    found(models[0])
    if scenario.rollout is not None:
        other = msgspec.structs.replace(scenario.model.training, seed=scenario.rollout.seed)
        model = msgspec.structs.replace(scenario.model, training=other)
        models.append(prepare_model(scenario.data, model, store, training))
        found(models[1])
    devices, users = build_fleet(scenario, models[0], replay)
    job = Job(
        scenario,
        fleet_name(scenario),
        models[0].store,
        HeldOut(models[0].interactions.known, models[0].interactions.test),
        devices,
        users,
        folder,
        newer=models[1].store if len(models) > 1 else None,
        recordings=recordings or TraceFiles(),
        replay=replay,
    )
    return PreparedJob(job, models)


def fleet_name(scenario: Scenario) -> str:
    """Return the fleet's name in topics: it tells runs of different scenarios on one broker apart.

    Clock and broker do not count: the same bytes travel under every clock.
    """
    logical = msgspec.structs.replace(scenario, clock="virtual", broker="auto", realtime=RealtimeSettings())
    return f"{scenario.name}-{hashlib.sha256(dump(logical).encode()).hexdigest()[:8]}"


def build_fleet(
    scenario: Scenario, model: PreparedModel, replay: Playback | None = None
) -> tuple[tuple[DeviceSpec, ...], list[int]]:
    """Enrol the devices; only users with something to find in the test can be measured."""
    measurable = np.flatnonzero(model.interactions.test.counts() > 0).tolist()
    if not measurable:
        raise InputError(
            f"{model.interactions.name}: no user has test interactions, so quality cannot be measured"
        )
    devices = build_roster(scenario.fleet, scenario.seed, measurable, build_timeline(scenario))
    if replay is not None:
        devices = replay.cast(devices, measurable)
    return devices, sorted({user for each in devices for user in each.users})


def build_timeline(scenario: Scenario) -> Timeline:
    """Return what the scenario says will happen."""
    names = tuple(device_names(scenario.fleet)) if scenario.stages else ()
    return Timeline(
        scenario.seed, scenario.stages, scenario.actions, scenario.faults, names, int(scenario.stop_time)
    )


def fleet_config(scenario: Scenario, fleet: str) -> FleetConfig:
    """Return what the scenario's devices are set into; *fleet* is their fleet's name in topics."""
    return FleetConfig(
        seed=scenario.seed,
        fleet=fleet,
        networks=scenario.networks,
        device_classes=scenario.nodes,
        policy=scenario.reporting,
        timeline=build_timeline(scenario),
    )
