"""The versions of a model that is retrained while the run goes on, trained before it starts.

What a version knows is decided by the visits, the settings and the seed alone: the interactions of the users
who report, up to the lag before its time. No clock, device or shard changes it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloud.blocks.next_version import encode_next_version
from cloud.blocks.store import load_store, read_origin, save_store
from cloud.blocks.store_cache import store_key
from cloud.service.retraining import Retraining
from cloud.training.config import Training
from devices.timeline.visits import FleetVisits
from emulator.simulation.model_cache import TRAIN_MODULES, PreparedModel, TrainingProgress, train_once
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.extras import needs_extra
from wire.random_streams import stream
from wire.ranking_metrics import ItemLists

if TYPE_CHECKING:
    from cloud.training.train import Progress


@dataclass(frozen=True)
class LaterVersion:
    """A version that comes while the run goes on."""

    model: PreparedModel
    trained_ns: int
    """The simulated time from which it is offered."""


def retrain_model(
    scenario: Scenario, first: PreparedModel, visits: FleetVisits, progress: TrainingProgress
) -> list[LaterVersion]:
    """Return the versions after *first*, trained now or taken from the cache.

    Args:
        scenario: with `retrain`.
        first: the first version, with a row for each newcomer.
        visits: of all users.
        progress: receives the progress of training.

    Raises:
        InputError: the first version has a backbone that cannot go on from a table.
    """
    settings = scenario.retrain
    assert settings is not None
    check_backbone(scenario.model.training, first.store.report)
    times = settings.times_ns(int(scenario.stop_time))
    known = [known_at(visits, settings, scenario.seed, t_ns) for t_ns in times]
    folders = _folders(scenario, first, settings, known)
    if not all(folder.exists() for folder in folders):
        versions = list(zip(folders, known, strict=True))
        _train(scenario.model.training, first, settings, versions, progress)
    return [
        LaterVersion(replace(first, store=load_store(folder), folder=folder), t_ns)
        for folder, t_ns in zip(folders, times, strict=True)
    ]


def check_backbone(training: Training, report: Mapping[str, Any]) -> None:
    """Check that a model whose report is *report* can be retrained: `auto` may have chosen another backbone.

    Raises:
        InputError: it cannot.
    """
    backbone = report["pretrain"]["backbone"]
    if backbone != "ials":
        raise InputError(
            f"retrain needs the backbone ials: model.training.backbone(={training.backbone!r}) chose "
            f"{backbone!r} on validation"
        )


def known_at(visits: FleetVisits, settings: Retraining, seed: int, t_ns: int) -> ItemLists:
    """Return the interactions that the version of *t_ns* is trained with, of items that have a row."""
    users = np.repeat(np.arange(len(visits.known)), np.diff(visits.user_starts))
    reports = stream(seed, "retrain", "reports").random(len(visits.known)) < settings.reports
    told = reports[users] & (visits.times_ns < t_ns - settings.lag) & (visits.items < visits.n_items)
    return visits.known.union(ItemLists.of_pairs(users[told], visits.items[told], len(visits.known)))


def _folders(
    scenario: Scenario, first: PreparedModel, settings: Retraining, known: Sequence[ItemLists]
) -> list[Path]:
    """Return the folder of each version: it depends on all that the versions up to it know."""
    digest, folders = hashlib.sha256(), []
    parts = (first.store.version, scenario.model.training, settings.turns, settings.margin)
    for lists in known:
        digest.update(lists.starts.astype("<i8").tobytes() + lists.items.astype("<i8").tobytes())
        folders.append(first.cache / store_key("retrained", *parts, digest.hexdigest()))
    return folders


def _train(
    training: Training,
    first: PreparedModel,
    settings: Retraining,
    versions: Sequence[tuple[Path, ItemLists]],
    progress: TrainingProgress,
) -> None:
    """Train and save all versions, one after the other."""
    with needs_extra("train", TRAIN_MODULES, "retraining a model"):
        from cloud.training.retrain import Lineage  # loads torch
        from cloud.training.train import learn_global

    interactions, origin = first.interactions, read_origin(first.folder)

    def on_progress(now: "Progress") -> None:
        progress(now.stage, now.done, now.total, now.note)

    start = learn_global(interactions, training, on_progress)
    model, _ = train_once(interactions, training, first.cache, progress, pretrain=lambda: start)
    lineage, store = Lineage.begin(start, model, interactions.train, training), first.store
    for number, (folder, known) in enumerate(versions, 1):
        lineage, numbers = lineage.retrain(known, store.user_vectors, store.user_groups, settings.turns)
        store = encode_next_version(store, numbers, settings.margin, dict(store.report))
        save_store(store, folder, origin)
        progress("retrain", number, len(versions), f"version {store.version}")
