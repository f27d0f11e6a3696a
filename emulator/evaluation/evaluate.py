"""Quality against bytes without a fleet: every policy at every budget, on models of several seeds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cloud.data.interactions import Interactions
from cloud.data.sources import ByRatio, Data, LightGCN, Synthetic
from emulator.evaluation.budgets import MemoryBudget, read_budgets
from emulator.evaluation.measure import Mask
from emulator.evaluation.observer import EvaluationObserver
from emulator.evaluation.policies import check_policies
from emulator.evaluation.results import Evaluation, PolicyResult, build_evaluation
from emulator.evaluation.statistics import Vary
from emulator.evaluation.tasks import (
    Measurements,
    PolicyTask,
    SeedTask,
    learn_models,
    load_once,
    measure_policy,
)
from emulator.executors.map_tasks import map_tasks
from emulator.executors.open_executor import IN_PROCESS, PROCESSES, ExecutorName, open_executor
from emulator.simulation.model_cache import check_writable, resolve_data
from scenarios.language.scenario import Scenario
from wire.errors import InputError

MAX_SEEDS: Final = 1000


def evaluate(
    scenarios: Sequence[Scenario],
    budgets: Sequence[str],
    policies: Sequence[str] = ("peel",),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    *,
    vary: Vary = "training",
    mask: Mask = "known",
    data: Path | None = None,
    store: Path | None = None,
    jobs: int = 1,
    observer: EvaluationObserver | None = None,
) -> Evaluation:
    """Return the quality of every policy at every budget, on the test items of the data.

    Models are trained with each seed, unless the cache has them; measurements are cached, too.

    Args:
        scenarios: whose data and model count; several must have the same data.
        budgets: such as ``8KiB``, or ``1%`` of the item table in fp32.
        policies: selections, such as ``prefix``, and baselines, such as ``head:int8``; the whole table is
            always measured.
        seeds: what differs between the values that a mean is over.
        vary: the seeds that are set: that of training, that of the split, or both.
        mask: the items that are left out of rankings: ``known``, those of training and validation, or
            ``train``, those of training only, as many papers do.
        data: folder or file of the data, instead of the scenarios'.
        store: folder of the caches.
        jobs: processes.
        observer: receives the progress.

    Raises:
        InputError: an argument is wrong, or the data are.
    """
    listener = observer or EvaluationObserver()
    read, tasks = read_budgets(budgets), list[PolicyTask]()
    _check_seeds(seeds)
    for number, scenario in enumerate(scenarios):
        names = check_policies(policies, scenario.model)
        for seed in seeds:
            task = _seed_task(scenario, seed, vary, read, data, store, mask)
            tasks += [PolicyTask(task, number, seed, name) for name in names]
    first = _check_same_data(scenarios, tasks)
    if store is not None:
        check_writable(store)
    measured = _measure_all(tasks, jobs, listener)
    results = list(_gather(scenarios, tasks, measured))
    return build_evaluation(results, read, vary, len(seeds), first.name)


def _check_seeds(seeds: Sequence[int]) -> None:
    if not 0 < len(set(seeds)) == len(seeds) <= MAX_SEEDS or min(seeds) < 0:
        raise InputError(f"seeds(={list(seeds)}) must be 1 to {MAX_SEEDS} different numbers from 0 on")


def _seed_task(
    scenario: Scenario,
    seed: int,
    vary: Vary,
    budgets: tuple[MemoryBudget, ...],
    data: Path | None,
    store: Path | None,
    mask: Mask,
) -> SeedTask:
    if scenario.model.store is not None:
        raise InputError(
            f"{scenario.name}: model.store(={scenario.model.store!r}) must be left out: an evaluation trains "
            "a model for each seed"
        )
    source, model = resolve_data(scenario.data, data), scenario.model
    if vary != "training":
        source = _split_with(source, seed)
    if vary != "split":
        training = msgspec.structs.replace(model.training, seed=seed)
        model = msgspec.structs.replace(model, training=training)
    return SeedTask(source, model, budgets, store, mask)


def _split_with(data: Data, seed: int) -> Data:
    """Return *data* with the seed of its split.

    Raises:
        InputError: its split is not random.
    """
    if isinstance(data, LightGCN):
        return msgspec.structs.replace(data, seed=seed)
    if not isinstance(data, Synthetic) and isinstance(data.split, ByRatio):
        return msgspec.structs.replace(data, split=msgspec.structs.replace(data.split, seed=seed))
    words = "synthetic" if isinstance(data, Synthetic) else "not split with type: ratio"
    raise InputError(f"vary(='split') needs a random split of the data, and these are {words}")


def _check_same_data(scenarios: Sequence[Scenario], tasks: Sequence[PolicyTask]) -> Interactions:
    """Return the interactions of the first task.

    Raises:
        InputError: two scenarios have different data, or the same name.
    """
    if not scenarios:
        raise InputError("an evaluation needs a scenario")
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) < len(names):
        raise InputError(f"scenarios(={', '.join(names)}) must have different names")
    firsts = [
        load_once(next(task for task in tasks if task.scenario == at).of.data) for at in range(len(names))
    ]
    for name, interactions in zip(names[1:], firsts[1:], strict=True):
        if interactions.digest() != firsts[0].digest():
            raise InputError(f"{name}: must have the data of {names[0]}, to be compared with it")
    return firsts[0]


def _measure_all(
    tasks: Sequence[PolicyTask], jobs: int, observer: EvaluationObserver
) -> Sequence[Measurements]:
    """Train the missing models, then measure; return the measurements in the order of *tasks*."""
    alone = jobs == 1
    progress = observer.on_training if alone else _ignore
    by_seed: dict[tuple[int, int], list[PolicyTask]] = {}
    for task in tasks:
        by_seed.setdefault((task.scenario, task.seed), []).append(task)
    with open_executor(ExecutorName(IN_PROCESS if alone else PROCESSES), jobs) as executor:
        models = list(by_seed.values())
        trained = map_tasks(
            executor,
            learn_models,
            models,
            progress,
            in_flight=executor.workers,
            on_done=lambda done: observer.on_models(done, len(models)),
        )
        for _ in trained:
            pass
        return list(
            map_tasks(
                executor,
                measure_policy,
                tasks,
                progress,
                in_flight=executor.workers,
                on_done=lambda done: observer.on_measured(done, len(tasks)),
            )
        )


def _ignore(stage: str, done: int, total: int, note: str) -> None:
    """Drop the progress of training in another process."""


def _gather(
    scenarios: Sequence[Scenario], tasks: Sequence[PolicyTask], measured: Sequence[Measurements]
) -> Iterator[PolicyResult]:
    """Yield the measurements of each policy with all seeds together."""
    of: dict[tuple[int, str], list[Measurements]] = {}
    for task, found in zip(tasks, measured, strict=True):
        of.setdefault((task.scenario, task.policy), []).append(found)
    for (number, policy), by_seed in of.items():
        texts = dict.fromkeys(text for found in by_seed for text in found)
        yield PolicyResult(
            scenarios[number].name, policy, {text: [found[text] for found in by_seed] for text in texts}
        )
