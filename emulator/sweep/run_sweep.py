"""Carries out a sweep: trains its models, runs what is missing, writes its table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud.blocks.store_cache import default_root
from emulator.executors.executor import WorkerDiedError
from emulator.executors.map_tasks import run_tasks
from emulator.executors.open_executor import LOCAL, PROCESSES, RAY, ExecutorName, count_cores, open_executor
from emulator.simulation.trace_files import check_trace_files, read_trace_files
from emulator.space.check_space import check_space
from emulator.space.fleet_size import estimate_size
from emulator.space.space_estimate import Processes, Space, estimate_space
from emulator.sweep.combination_order import write_order
from emulator.sweep.runs import (
    SweepRun,
    SweepTask,
    list_missing,
    list_runs,
    open_sweep_folder,
    run_task,
    train_models,
)
from emulator.sweep.table import BROKEN, Row, table_rows, write_tables
from scenarios.language.checks import BROKERS
from scenarios.language.sweep_expansion import SweepPlan
from scenarios.language.warnings import distinct_warnings
from wire.errors import RunError


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Settings of a sweep that are not part of its scenario."""

    out: Path | None = None
    """The folder of the sweep; None: ``runs/NAME-sweep``."""
    jobs: int | None = None
    """The number of runs at a time; None: one per core."""
    executor: ExecutorName = LOCAL
    broker: str | None = None
    data: Path | None = None
    store: Path | None = None
    reports: bool = False
    """Write a report for each run."""
    force: bool = False
    """Start even where disk or memory will not suffice."""


class SweepObserver:
    """Receives the progress of a sweep. This one ignores it; a subclass overrides what it shows."""

    def on_warning(self, text: str) -> None:
        """Handle a warning to the user."""

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Handle a finished step of training."""

    def on_runs(self, done: int, total: int) -> None:
        """Handle the start of the runs, of which *done* were there; training is over."""

    def on_run_start(self, name: str) -> None:
        """Handle the start of a run."""

    def on_run_end(self, name: str, error: str | None) -> None:
        """Handle the end of a run."""

    def on_end(self) -> None:
        """Handle the end of the last run."""


@dataclass(frozen=True)
class SweepResult:
    """A sweep whose runs have ended."""

    folder: Path
    rows: Sequence[Row]
    """A row for each run that did not fail."""
    table: Path | None
    """The table of these rows; None: all failed."""
    failures: Mapping[str, str]
    """The error of each run that failed, by its name."""
    runs: int

    @property
    def passed(self) -> bool:
        """True if no threshold is broken in any run."""
        return not any(row[BROKEN] for row in self.rows)

    def check(self) -> None:
        """Check that no run failed.

        Raises:
            RunError: some did.
        """
        if self.failures:
            first = min(self.failures)
            more = f", and {len(self.failures) - 1} more" if len(self.failures) > 1 else ""
            raise RunError(
                f"{len(self.failures)} of {self.runs} runs failed: {first}: {self.failures[first]}{more}"
            )


def run_sweep(plan: SweepPlan, options: SweepOptions, observer: SweepObserver) -> SweepResult:
    """Run the missing runs of *plan*, and write its table.

    Raises:
        InputError: a combination cannot be run, or the folder holds something else.
    """
    runs = list_runs(plan, options.data)
    scenarios = [combination.scenario for combination in plan.combinations]
    trace_warnings = check_trace_files(scenarios)  # a run would refuse a wrong trace only when it starts
    for warning in [*distinct_warnings(scenarios), *trace_warnings]:
        observer.on_warning(warning)
    folder = options.out or Path("runs") / f"{plan.base.name}-sweep"
    with open_sweep_folder(folder):
        write_order([combination.name for combination in plan.combinations], folder)
        todo = list_missing(runs, folder)
        for warning in _check_space(todo, folder, options, _jobs(plan, options)):
            observer.on_warning(warning)
        if todo:
            train_models(todo, options.store, observer.on_training)
        store = (options.store or default_root()).resolve()
        tasks = [SweepTask(run, folder.resolve(), options.broker, store, options.reports) for run in todo]
        observer.on_runs(len(runs) - len(tasks), len(runs))
        failures = _run_tasks(tasks, options.executor, _jobs(plan, options), observer)
        observer.on_end()
        rows = table_rows([run for run in runs if run.subfolder not in failures], folder)
        table = write_tables(rows, folder) if rows else None
    return SweepResult(folder, rows, table, failures, len(runs))


def _check_space(
    runs: Sequence[SweepRun], folder: Path, options: SweepOptions, jobs: int | None
) -> Iterator[str]:
    """Yield a warning where disk or memory may not suffice for all *runs*, of which some run at a time.

    Raises:
        InputError: they will not by far.
    """
    of_combination: dict[str, Space] = {}
    for run in runs:
        if run.combination.name not in of_combination:
            scenario = run.scenario
            size = estimate_size(scenario, read_trace_files(scenario.fleet))
            of_combination[run.combination.name] = estimate_space(scenario, size, Processes(workers=1))
    spaces = [of_combination[run.combination.name] for run in runs]
    at_a_time = min(jobs or count_cores(), len(runs))
    # Other machines of a cluster have memory of their own, which cannot be read here.
    local = options.executor.kind != RAY
    largest = sorted((space.memory for space in spaces), reverse=True)[: at_a_time if local else 0]
    needed = Space(sum(space.disk for space in spaces), sum(largest))
    yield from check_space(
        f"{len(runs):,} runs, {at_a_time:,} at a time,", needed, folder, force=options.force,
        remedy="fewer --jobs need less" if at_a_time > 1 else "",
    )  # fmt: skip


def _jobs(plan: SweepPlan, options: SweepOptions) -> int | None:
    """Return the most runs at a time: 1 on an external broker, where equal runs would share topics."""
    scenarios = [combination.scenario for combination in plan.combinations]
    brokers = [options.broker or scenario.broker for scenario in scenarios if scenario.clock != "virtual"]
    if any(broker not in BROKERS for broker in brokers):
        return 1
    return options.jobs


def _run_tasks(
    tasks: Sequence[SweepTask], executor: ExecutorName, jobs: int | None, observer: SweepObserver
) -> dict[str, str]:
    """Carry out *tasks*; return the errors by the names of runs."""
    failures: dict[str, str] = {}

    def on_end(task: SweepTask, error: str | None) -> None:
        if error is not None:
            failures[task.run.subfolder] = error
        observer.on_run_end(task.run.subfolder, error)

    if tasks:
        _execute(tasks, executor, jobs, lambda task: observer.on_run_start(task.run.subfolder), on_end)
    return failures


def _execute(
    tasks: Sequence[SweepTask],
    executor: ExecutorName,
    jobs: int | None,
    on_start: Callable[[SweepTask], None],
    on_end: Callable[[SweepTask, str | None], None],
) -> None:
    """Run *tasks*; one that kills its process fails alone."""
    if executor.kind == PROCESSES:
        jobs = min(jobs or count_cores(), len(tasks))
    with open_executor(executor, jobs) as opened:
        for folder in {tasks[0].folder, tasks[0].store}:
            opened.check_folder(folder)
        for index, future in run_tasks(opened, run_task, tasks, in_flight=opened.workers, on_start=on_start):
            try:
                error = future.result()
            except WorkerDiedError as died:
                error = str(died)
            on_end(tasks[index], error)
