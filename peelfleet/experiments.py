"""The functions of the Python API. Each does what the verb of its name does, with the same words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from emulator.runner.replay_run import replay_run
from emulator.runner.runner import RunOptions
from emulator.runner.runner import run as run_scenario
from emulator.runner.train_model import train_model
from emulator.sweep.run_sweep import SweepOptions, run_sweep
from peelfleet.arguments import (
    Name,
    Settings,
    at_least_one,
    at_least_one_or_none,
    overrides,
    to_executor,
    to_path,
    to_path_or_none,
    to_seeds,
)
from peelfleet.comparisons import Comparisons, Side, compare_sides
from peelfleet.model_store import ModelStore
from peelfleet.progress import CallProgress, CallSweepProgress, progress_view
from peelfleet.run_results import Run
from peelfleet.sweep_results import Sweep
from scenarios.language.load import headline, shipped
from scenarios.language.scenario import Scenario
from scenarios.language.sources import Source, list_axes, load_source, load_source_plan
from scenarios.language.sweep_expansion import training_seeds

Clock = Literal["virtual", "lockstep", "realtime"]


def load(scenario: Source, set: Settings | None = None, **keys: object) -> Scenario:
    """Return a scenario, checked, with every default filled in.

    Args:
        scenario: the name of one that comes with peelfleet, the path of a file, a mapping of keys and
            values, or a scenario, to change it.
        set: changed keys, as after ``--set``: ``{"fleet[0].count": 100}``.
        keys: changed keys of the top level: ``seed=3``.

    Raises:
        InputError: it cannot be read, or is not a valid scenario.
    """
    return load_source(scenario, overrides(set, **keys))


def scenarios() -> dict[str, str]:
    """Return the names of the scenarios that come with peelfleet, and the question that each answers."""
    return {path.stem: headline(path) for path in shipped()}


def run(
    scenario: Source,
    set: Settings | None = None,
    *,
    seed: int | None = None,
    clock: Clock | None = None,
    sample: float | str | None = None,
    engine: Literal["auto", "simpy", "kernel"] | None = None,
    broker: str | None = None,
    data: Name | None = None,
    out: Name = "runs",
    store: Name | None = None,
    workers: int | None = None,
    executor: str | None = None,
    shards: int = 1,
    speed: float | None = None,
    report: bool = True,
    force: bool = False,
    progress: bool = True,
) -> Run:
    """Run a scenario: train or load its model, simulate the fleet, write a run directory.

    Args:
        scenario: as for `load`.
        set: as for `load`.
        seed: of the run, instead of the scenario's.
        clock: instead of the scenario's.
        sample: simulate a share of each group and scale it to the fleet: ``"1 %"`` or 0.01.
        engine: the program of the devices: ``simpy``, ``kernel`` or ``auto``.
        broker: ``auto``, ``mosquitto``, ``amqtt``, ``rabbitmq``, ``nats`` or the URL of a broker.
        data: folder or file of the scenario's data; None: in ``PEELFLEET_DATA``.
        out: folder for run directories.
        store: folder in which trained models are cached; None: in ``PEELFLEET_STORE``.
        workers: most processes of a fleet under the virtual clock; None: all cores.
        executor: the place of these processes, as for `sweep`; None: this machine.
        shards: processes of a fleet in real time.
        speed: simulated seconds in a second, in real time.
        report: False to write no report now; `Run.report` writes it.
        force: True to start even where disk or memory will not suffice.
        progress: False to show none. Nothing is shown either where nobody looks at a terminal or a notebook.

    Raises:
        InputError: the scenario, an argument or the data are wrong; nothing is written.
        RunError: the run failed; the message says where its files are. A broken threshold is no error:
            `Run.passed` is False.
    """
    keys = overrides(set, seed=seed, clock=clock, sample=sample, engine=engine, **{"realtime.speed": speed})
    options = replace(
        _run_options(out, broker, data, store, workers, force),
        shards=at_least_one("shards", shards),
        executor=None if executor is None else to_executor(executor),
        report=report,
    )
    with progress_view(progress) as view:
        observer = CallProgress(view)
        finished = run_scenario(load_source(scenario, keys), options, observer)
    observer.raise_first()
    return Run(finished.folder)


def sweep(
    scenario: Source,
    set: Settings | None = None,
    *,
    over: Mapping[str, Sequence[object]] | None = None,
    seeds: str | Iterable[int] | None = None,
    train_seeds: str | Iterable[int] | None = None,
    clock: Clock | None = None,
    sample: float | str | None = None,
    broker: str | None = None,
    jobs: int | None = None,
    executor: str = "processes",
    data: Name | None = None,
    out: Name | None = None,
    store: Name | None = None,
    reports: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Sweep:
    """Run every combination of a sweep with every seed; finished runs are not repeated.

    Args:
        scenario: as for `load`.
        set: as for `load`.
        over: values of keys: ``{"model.selection": ["peel", "prefix"]}``.
        seeds: seeds of the fleet: ``range(5)`` or ``"1-5"``.
        train_seeds: seeds of training, each with each of the others.
        clock: instead of the scenario's.
        sample: as for `run`.
        broker: as for `run`.
        jobs: runs at a time; None: one per core.
        executor: ``processes``, ``in-process``, ``ray``, ``ray:auto`` or ``ray:HOST:PORT``.
        out: folder of the sweep; None: ``runs/NAME-sweep``.
        reports: True to write a report for each run.
        data: as for `run`.
        store: as for `run`.
        force: as for `run`.
        progress: as for `run`.

    Raises:
        InputError: a combination or an argument is wrong, or the folder holds something else.
        RunError: some runs failed; the table in the folder holds the others. A broken threshold is no
            error: `Sweep.passed` is False.
    """
    axes = [*list_axes(over or {}), *training_seeds(to_seeds("train_seeds", train_seeds))]
    changes, fleet_seeds = overrides(set, clock=clock, sample=sample), to_seeds("seeds", seeds) or None
    plan = load_source_plan(scenario, changes, axes, fleet_seeds)
    options = SweepOptions(
        out=to_path_or_none(out), data=to_path_or_none(data), store=to_path_or_none(store), broker=broker,
        jobs=at_least_one_or_none("jobs", jobs), executor=to_executor(executor), reports=reports, force=force,
    )  # fmt: skip
    with progress_view(progress) as view:
        result = run_sweep(plan, options, observer := CallSweepProgress(view))
    result.check()
    observer.raise_first()
    return Sweep(result.folder)


def compare(*sides: Side) -> Comparisons:
    """Compare runs with the first: paired by device and seed, with confidence intervals.

    Args:
        sides: each a run, a run directory, a folder of runs, or a list of runs of one scenario with several
            seeds. The first is the baseline. Of one sweep alone, its combinations are compared.

    Raises:
        InputError: a side has no run, or no runs can be paired.
    """
    return compare_sides(sides)


def replay(
    run: Run | Name,
    set: Settings | None = None,
    *,
    clock: Literal["virtual", "lockstep"] | None = None,
    broker: str | None = None,
    data: Name | None = None,
    out: Name = "runs",
    store: Name | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: bool = True,
) -> Run:
    """Play a recorded run again: its budgets and arrivals, or its budgets under another policy.

    ``summary["replay_log_equal"]`` of the replay says whether its event log is that of the recording.

    Args:
        run: a run, or a finished run directory.
        set: changed policies of the fleet, the cloud and the links, as for `load`.
        clock: instead of virtual.
        broker: as for `run`.
        data: as for `run`.
        out: as for `run`.
        store: as for `run`.
        workers: as for `run`.
        force: as for `run`.
        progress: as for `run`.

    Raises:
        InputError: it is no finished run, it is damaged, or a change contradicts it.
        RunError: the replay failed.
    """
    options = _run_options(out, broker, data, store, workers, force)
    with progress_view(progress) as view:
        observer = CallProgress(view)
        finished = replay_run(to_path(run), overrides(set), clock, options, observer)
    observer.raise_first()
    return Run(finished.folder)


def _run_options(
    out: Name, broker: str | None, data: Name | None, store: Name | None, workers: int | None, force: bool
) -> RunOptions:
    """Return the options that runs and replays share, checked."""
    return RunOptions(
        to_path(out),
        broker=broker,
        data=to_path_or_none(data),
        store=to_path_or_none(store),
        workers=at_least_one_or_none("workers", workers),
        force=force,
    )


def train(
    scenario: Source,
    set: Settings | None = None,
    *,
    data: Name | None = None,
    store: Name | None = None,
    progress: bool = True,
) -> ModelStore:
    """Train a scenario's model and cache its block store; a cached model is not trained again.

    Args:
        scenario: as for `load`.
        set: as for `load`.
        data: as for `run`.
        store: as for `run`.
        progress: as for `run`.

    Raises:
        InputError: the scenario, the data or a cached store is wrong.
        RunError: the model cannot be stored.
    """
    resolved = load_source(scenario, overrides(set))
    cache: Path | None = to_path_or_none(store)
    with progress_view(progress) as view:
        observer = CallProgress(view)
        model = train_model(resolved, to_path_or_none(data), cache, observer)
    observer.raise_first()
    return ModelStore(model)
