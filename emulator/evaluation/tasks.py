"""The tasks of an evaluation: to train with one seed, and to measure one policy. All results are cached."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cloud.blocks.store_cache import default_root, store_key
from cloud.data.interactions import Interactions
from cloud.data.load import check_measurable, load
from cloud.data.sources import Data
from cloud.training.baselines.scoring import UserMetrics
from cloud.training.checkpoint import State
from cloud.training.config import Training
from cloud.training.model_cache import StateCache
from emulator.evaluation.budgets import MemoryBudget
from emulator.evaluation.measure import Mask, Measurement, measure
from emulator.evaluation.models import CachedModels
from emulator.evaluation.policies import method_of, model_of
from emulator.simulation.model_cache import TrainingProgress, model_sources, training_sources
from scenarios.language.schema import Model
from wire.source_digest import digest_files, imported_modules

MEASURED: Final = "measured"
"""Folder of the measurements, beside the stores."""
MAX_MEASURED_BYTES: Final = 256 * 2**20
_ROOTS: Final = ("emulator.evaluation.policies", "emulator.evaluation.measure")
_CODE: Final = (
    "cloud.blocks", "cloud.training.baselines", "devices.protocol.block_prefix", "devices.recommender",
    "emulator.evaluation", "wire.arrays", "wire.blocks", "wire.codecs", "wire.geometry", "wire.layers",
    "wire.random_streams", "wire.ranking_metrics",
)  # fmt: skip
"""The packages and modules whose code decides a measurement, beside the code that trains."""


@dataclass(frozen=True)
class SeedTask:
    """A scenario with one seed."""

    data: Data
    model: Model
    """With the seed of training."""
    budgets: tuple[MemoryBudget, ...]
    root: Path | None
    """Folder of the caches."""
    mask: Mask
    """The items that are left out of rankings."""


@dataclass(frozen=True)
class PolicyTask:
    """A policy to measure on a scenario with one seed."""

    of: SeedTask
    scenario: int
    """Its index."""
    seed: int
    policy: str

    def __str__(self) -> str:
        return f"{self.policy}, seed {self.seed}"


Measurements = Mapping[str, Measurement | None]
"""By the text of the budget; None where nothing fits. A method of one size has it for every budget."""


def is_measured(task: PolicyTask) -> bool:
    """Tell if every measurement of *task* is in the cache."""
    interactions = load_once(task.of.data)
    return None not in [_load(task, interactions, budget) for budget in _budgets(task, interactions).values()]


def measure_policy(progress: TrainingProgress, task: PolicyTask) -> Measurements:
    """Return the measurements of *task*; those that are not in the cache are made now."""
    interactions = load_once(task.of.data)
    budgets = _budgets(task, interactions)
    found = {budget: _load(task, interactions, budget) for budget in set(budgets.values())}
    missing = sorted(budget for budget, state in found.items() if state is None)
    if missing:
        found |= _measure(task, interactions, missing, progress)
    return {text: _measurement(found[budget]) for text, budget in budgets.items()}


def learn_models(progress: TrainingProgress, tasks: Sequence[PolicyTask]) -> None:
    """Train the models of *tasks* that share a seed, so far as no measurement is there without them."""
    interactions = load_once(tasks[0].of.data)
    models = CachedModels(tasks[0].of.root, progress)
    for task in tasks:
        if is_measured(task):
            continue
        own = model_of(task.policy, task.of.model)
        if own is None:
            models.full(interactions, task.of.model.training)
        else:
            models.learn(interactions, _with_seed(own.training, task.of.model.training.seed))


@functools.lru_cache(maxsize=2)
def load_once(data: Data) -> Interactions:
    """Return the interactions of *data*, the same object again while few data are in use.

    Raises:
        InputError: the data cannot be read, or no user has a test item.
    """
    interactions = load(data)
    check_measurable(interactions)
    return interactions


def _with_seed(training: Training, seed: int) -> Training:
    return msgspec.structs.replace(training, seed=seed)


def _budgets(task: PolicyTask, interactions: Interactions) -> dict[str, int]:
    dim = task.of.model.training.dim
    return {budget.text: budget.bytes_of(interactions.n_items, dim) for budget in task.of.budgets}


def _measure(
    task: PolicyTask, interactions: Interactions, budgets: Sequence[int], progress: TrainingProgress
) -> dict[int, State]:
    models = CachedModels(task.of.root, progress)
    full = models.full(interactions, task.of.model.training)
    method = method_of(task.policy, task.of.model, models.learn)
    made = list(measure(method, full, interactions, budgets, task.of.mask))
    one_size = next((each for each in made if each.one_size), None)
    by_budget = {each.budget_bytes: each for each in made}
    states = {budget: _state(one_size or by_budget.get(budget)) for budget in budgets}
    cache = _cache(task)
    for budget, state in states.items():
        cache.store(_key(task, interactions, budget), state, lambda _: None)
    return states


def _load(task: PolicyTask, interactions: Interactions, budget: int) -> State | None:
    return _cache(task).load_state(_key(task, interactions, budget), lambda _: None)


def _cache(task: PolicyTask) -> StateCache:
    return StateCache((task.of.root or default_root()) / MEASURED, MAX_MEASURED_BYTES)


def _key(task: PolicyTask, interactions: Interactions, budget: int) -> str:
    training = task.of.model.training
    own = model_of(task.policy, task.of.model)
    model = (
        training
        if own is None
        else msgspec.structs.replace(own, training=_with_seed(own.training, training.seed))
    )
    return store_key(
        MEASURED, _code_sha256(), _digest(interactions), task.policy, model, training, budget,
        task.of.mask,
        *(training_sources(training) if own is None else model_sources(own)),
    )  # fmt: skip


@functools.lru_cache(maxsize=4)
def _digest(interactions: Interactions) -> str:
    return interactions.digest()


@functools.cache
def _code_sha256() -> str:
    return hashlib.sha256(digest_files(imported_modules(_ROOTS, within=_CODE))).hexdigest()


def _state(measurement: Measurement | None) -> State:
    if measurement is None:
        return State({"values": np.zeros((0, 0))}, {"fits": False})
    arrays = {
        "users": measurement.metrics.users,
        "values": measurement.metrics.values,
        "shown": measurement.metrics.shown,
        "first": measurement.metrics.first,
    }
    facts = {
        "fits": True,
        "budget_bytes": measurement.budget_bytes,
        "stored_bytes": measurement.stored_bytes,
        "note": measurement.note,
        "one_size": measurement.one_size,
    }
    return State(dict(arrays), facts)


def _measurement(state: State | None) -> Measurement | None:
    if state is None or not state.facts["fits"]:
        return None
    facts, arrays = state.facts, state.arrays
    metrics = UserMetrics(arrays["users"], arrays["values"], arrays["shown"], arrays["first"])
    sizes = facts["budget_bytes"], facts["stored_bytes"]
    return Measurement(*sizes, facts["note"], metrics, facts["one_size"])
