"""A job: all inputs of a simulation, made from a resolved scenario; it is the same in every process."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from cloud.blocks.store import BlockStore
from devices.mqtt.settings import RealtimeSettings
from devices.recommender.quality import HeldOut, QualityTable
from devices.simulated.fleet_config import FleetConfig
from devices.simulated.roster import DeviceNames, DeviceSpec, build_roster
from devices.timeline.timeline import Timeline
from devices.timeline.visits import FleetVisits
from emulator.replay.replay import Playback
from emulator.simulation.evaluation import evaluate, look_up_or_evaluate
from emulator.simulation.model_cache import PreparedModel, TrainingProgress, prepare_model
from emulator.simulation.retraining import LaterVersion, retrain_model
from emulator.simulation.trace_files import TraceFiles
from emulator.simulation.visits import admit_newcomers, make_visits
from scenarios.language.load import dump
from scenarios.language.scenario import Scenario
from wire.errors import InputError

LARGE_FLEET = 3
"""Devices per user from which nearly each user has a device: one in twenty has none."""


@dataclass(frozen=True)
class Job:
    """All inputs of a simulation."""

    scenario: Scenario
    fleet: str
    """The fleet's name in topics."""
    store: BlockStore
    truth: HeldOut
    devices: Sequence[DeviceSpec]
    """The devices of this shard."""
    users: Sequence[int]
    """The users of the whole fleet; all shards evaluate the same users together."""
    folder: Path
    """Folder of the event log while the simulation runs."""
    later: tuple[BlockStore, ...] = ()
    """The model versions that come in the run: that of a rollout, or those of retraining, by time."""
    trained_ns: Mapping[str, int] = field(default_factory=dict)
    """The simulated time of each version of retraining, by its name."""
    traces: TraceFiles = field(default_factory=TraceFiles)
    """Traces of memory and availability."""
    replay: Playback | None = None
    """The recorded run to replay, if there is one."""
    visits: FleetVisits | None = None
    """The visits of all users; None: they meet nothing in the run."""
    evaluated: Mapping[str, QualityTable] = field(default_factory=dict)
    """The quality of model versions that are evaluated already, by version."""

    @property
    def stores(self) -> tuple[BlockStore, ...]:
        """The first model version of all devices, and those that come later."""
        return (self.store, *self.later)

    def quality_of(self, store: BlockStore) -> QualityTable:
        """Return the quality of a model version for the users of the fleet."""
        table = self.evaluated.get(store.version)
        return evaluate(store, self.truth, self.users) if table is None else table


@dataclass(frozen=True)
class PreparedJob:
    """A job with its models."""

    job: Job
    models: Sequence[PreparedModel]
    """The first model of all devices; then that of the rollout, or those of retraining, if there are any."""


def prepare(
    scenario: Scenario,
    store: Path | None,
    folder: Path,
    *,
    on_training: TrainingProgress,
    on_model: Callable[[PreparedModel], None] = lambda _: None,
    traces: TraceFiles | None = None,
    replay: Playback | None = None,
) -> PreparedJob:
    """Return the job of *scenario*; its models are trained, or taken from the cache.

    Args:
        scenario: resolved.
        store: where models are cached.
        folder: of the event log while the simulation runs.
        on_training: receives the progress of training.
        on_model: receives each model that is ready.
        traces: traces of memory and availability.
        replay: the recorded run to replay.

    Raises:
        InputError: the data cannot be used.
    """
    measured = scenario.interactions is None  # else quality is measured with the visits
    models = [prepare_model(scenario.data, scenario.model, store, on_training, measured=measured)]
    visits = make_visits(scenario, models[0].interactions)
    if visits is not None:
        models = [admit_newcomers(models[0], visits)]
    on_model(models[0])
    later = _later_versions(scenario, models[0], visits, store, on_training)
    models += [version.model for version in later]
    if scenario.rollout is not None:
        on_model(models[1])
    devices, users = build_fleet(scenario, models[0], replay, visits)
    known, test = models[0].interactions.known, models[0].interactions.test
    truth = HeldOut(known, test) if visits is None else HeldOut(visits.known, visits.met)
    evaluated = {
        model.store.version: look_up_or_evaluate(model.store, truth, users, model.cache) for model in models
    }
    job = Job(
        scenario,
        fleet_name(scenario),
        models[0].store,
        truth,
        devices,
        users,
        folder,
        later=tuple(model.store for model in models[1:]),
        trained_ns={version.model.store.version: version.trained_ns for version in later}
        if scenario.retrain is not None
        else {},
        traces=traces or TraceFiles(),
        replay=replay,
        visits=visits,
        evaluated=evaluated,
    )
    return PreparedJob(job, models)


def _later_versions(
    scenario: Scenario,
    first: PreparedModel,
    visits: FleetVisits | None,
    store: Path | None,
    on_training: TrainingProgress,
) -> list[LaterVersion]:
    """Return the versions that come in the run: that of a rollout, or those of retraining."""
    if scenario.retrain is not None and visits is not None:
        return retrain_model(scenario, first, visits, on_training)
    if scenario.rollout is None:
        return []
    other = msgspec.structs.replace(scenario.model.training, seed=scenario.rollout.seed)
    model = msgspec.structs.replace(scenario.model, training=other)
    measured = scenario.interactions is None
    newer = prepare_model(scenario.data, model, store, on_training, measured=measured)
    return [LaterVersion(newer if visits is None else admit_newcomers(newer, visits), 0)]


def fleet_name(scenario: Scenario) -> str:
    """Return the fleet's name in topics, which differs between scenarios that run on one broker.

    It does not depend on the clock, the broker and the engine, so that messages are the same with each.
    """
    logical = msgspec.structs.replace(scenario, clock="virtual", broker="auto", realtime=RealtimeSettings())
    return f"{scenario.name}-{hashlib.sha256(dump(logical, without=['engine']).encode()).hexdigest()[:8]}"


def build_fleet(
    scenario: Scenario,
    model: PreparedModel,
    replay: Playback | None = None,
    visits: FleetVisits | None = None,
) -> tuple[Sequence[DeviceSpec], list[int]]:
    """Return the devices and their users; only users with test interactions, or with visits, get a device.

    Of a fleet much larger than the number of such users, the users are all of them: nearly each has a device,
    and no device has to be made to know it.
    """
    test = model.interactions.test
    measurable = (np.flatnonzero(test.counts() > 0) if visits is None else visits.users).tolist()
    if not measurable:
        raise InputError(
            f"{model.interactions.name}: no user has test interactions, so quality cannot be measured"
        )
    devices: Sequence[DeviceSpec] = build_roster(
        scenario.fleet, scenario.seed, measurable, build_timeline(scenario), scenario.sample, visits
    )
    if replay is not None:
        devices = replay.assign_users(devices, measurable)
    if len(devices) > LARGE_FLEET * len(measurable):
        return devices, measurable
    return devices, sorted({user for device in devices for user in device.users})


def build_timeline(scenario: Scenario) -> Timeline:
    """Return the timeline of the scenario's stages, actions and faults."""
    names = DeviceNames(scenario.fleet) if scenario.stages else ()
    return Timeline(
        scenario.seed, scenario.stages, scenario.actions, scenario.faults, names, int(scenario.stop_time)
    )


def fleet_config(scenario: Scenario, fleet: str) -> FleetConfig:
    """Return the settings that all devices share; *fleet* is their fleet's name in topics."""
    return FleetConfig(
        seed=scenario.seed,
        fleet=fleet,
        networks=scenario.networks,
        device_classes=scenario.nodes,
        policy=scenario.reporting,
        timeline=build_timeline(scenario),
    )
