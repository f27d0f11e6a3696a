"""``peelfleet sweep``: its runs under a progress bar, and its table in the terminal."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cloud.blocks.store_cache import default_root
from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import (
    Broker,
    Clock,
    Data,
    ExecutorOption,
    Overrides,
    Sample,
    ScenarioFile,
    Store,
    overrides,
    path_option,
    wrong,
)
from emulator.cli.terminal import RunDisplay
from emulator.cli.terminal_width import fits, plain_for, print_line, wide_terminal
from emulator.executors.executor import WorkerDiedError
from emulator.executors.map_tasks import run_tasks
from emulator.executors.open_executor import LOCAL, PROCESSES, ExecutorName, count_cores, open_executor
from emulator.simulation.trace_files import check_trace_files
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
from emulator.sweep.table import BROKEN, Row, SeedStatistics, seed_statistics, table_rows, write_tables
from scenarios.language.sweep_expansion import MAX_SEEDS, SweepPlan, load_plan, read_seeds
from scenarios.language.warnings import distinct_warnings
from wire.errors import RunError
from wire.units import approximate_bytes

DEFAULT_METRICS = (
    "ndcg_at_10",
    "quality_regret",
    "over_budget_share",
    "update_bytes",
    "update_latency_seconds.p95",
)


class Seeds(tuple[int, ...]):
    """A list of seeds."""


class MetricNames(tuple[str, ...]):
    """A list of names of metrics."""


def seeds_of(text: str) -> Seeds:
    """Return the seeds of a list such as ``1-5`` or ``1,2,3``."""
    try:
        return Seeds(read_seeds(text))
    except ValueError:
        wrong(text, f"a list of seeds such as 1-5 or 1,2,3, at most {MAX_SEEDS} of them")


def metric_names(text: str) -> MetricNames:
    """Return the names of a list such as ``ndcg_at_10,update_bytes``."""
    names = MetricNames(name.strip() for name in text.split(","))
    return names if all(names) else wrong(text, "names of figures with commas between them")


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
    metrics: Sequence[str] = ()
    """The figures to print; empty: those of `DEFAULT_METRICS`."""


def sweep(
    scenario: ScenarioFile,
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="KEY=V1,V2", help="Values of a key: updates.retry_after=10 s,30 s."),
    ] = None,
    seeds: Annotated[
        Seeds | None,
        typer.Option(parser=seeds_of, metavar="<seeds>", help="Seeds of the fleet: 1-5 or 1,2,3."),
    ] = None,
    train_seeds: Annotated[
        Seeds | None,
        typer.Option(
            parser=seeds_of,
            metavar="<seeds>",
            help="Seeds of training, each with each of the others: 0-4.",
        ),
    ] = None,
    set_: Overrides = None,
    clock: Clock = None,
    sample: Sample = None,
    broker: Broker = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; else one per core.", show_default=False)
    ] = None,
    executor: ExecutorOption = LOCAL,
    data: Data = None,
    out: Annotated[Path | None, path_option("Folder of the sweep; else runs/NAME-sweep.")] = None,
    store: Store = None,
    reports: Annotated[bool, typer.Option("--reports", help="Write report.html for each run.")] = False,
    metrics: Annotated[
        MetricNames | None,
        typer.Option(
            parser=metric_names,
            metavar="<names>",
            help="Figures to print, by their names in summary.json: a,b,c.",
        ),
    ] = None,
) -> None:
    """Run every combination of a sweep with every seed; finished runs are not repeated."""
    axes = [*(over or []), *training_seeds(train_seeds or ())]
    plan = load_plan(scenario, overrides(set_, clock=clock, sample=sample), axes, seeds)
    options = SweepOptions(
        out=out,
        jobs=jobs,
        executor=executor,
        broker=broker,
        data=data,
        store=store,
        reports=reports,
        metrics=metrics or (),
    )
    if not run_sweep(plan, options):
        raise typer.Exit(THRESHOLD_BROKE)


def training_seeds(seeds: Sequence[int]) -> Sequence[str]:
    """Return the axis, as ``--over`` has it, of *seeds* of training: each trains a model of its own."""
    return [f"model.training.seed={','.join(map(str, seeds))}"] if seeds else ()


def run_sweep(plan: SweepPlan, options: SweepOptions) -> bool:
    """Run the missing runs of *plan*, write and print its table; return whether all thresholds held.

    Raises:
        InputError: a combination cannot be run, or the folder holds something else.
        RunError: some runs failed; the table holds the others.
    """
    runs = list_runs(plan, options.data)
    scenarios = [combination.scenario for combination in plan.combinations]
    trace_warnings = check_trace_files(scenarios)  # a run would refuse a wrong trace only when it starts
    for warning in [*distinct_warnings(scenarios), *trace_warnings]:
        RunDisplay().on_warning(warning)
    folder = options.out or Path("runs") / f"{plan.base.name}-sweep"
    with open_sweep_folder(folder):
        write_order([combination.name for combination in plan.combinations], folder)
        todo = list_missing(runs, folder)
        _train(todo, options.store)
        store = (options.store or default_root()).resolve()
        tasks = [SweepTask(run, folder.resolve(), options.broker, store, options.reports) for run in todo]
        failures = _run_tasks(tasks, len(runs), options.executor, _jobs(plan, options))
        rows = table_rows([run for run in runs if run.subfolder not in failures], folder)
        if rows:
            _show(rows, options.metrics, write_tables(rows, folder))
    if failures:
        raise RunError(_describe(failures, len(runs)))
    return not any(row[BROKEN] for row in rows)


def _jobs(plan: SweepPlan, options: SweepOptions) -> int | None:
    """Return the most runs at a time: 1 on an external broker, where equal runs would share topics."""
    scenarios = [combination.scenario for combination in plan.combinations]
    brokers = [options.broker or scenario.broker for scenario in scenarios if scenario.clock != "virtual"]
    if any(broker.startswith("mqtt://") for broker in brokers):
        return 1
    return options.jobs


def _train(runs: Sequence[SweepRun], store: Path | None) -> None:
    if runs:
        with RunDisplay() as display:
            train_models(runs, store, display.on_training)


def _run_tasks(
    tasks: Sequence[SweepTask], total: int, executor: ExecutorName, jobs: int | None
) -> dict[str, str]:
    """Carry out *tasks* under a progress bar; return the errors by place."""
    failures: dict[str, str] = {}
    terminal = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=terminal,
        disable=not terminal.is_terminal,
        refresh_per_second=4,
    )
    done_before, start_s = total - len(tasks), time.monotonic()
    with bars:
        bar = bars.add_task("runs", total=total, completed=done_before, note="")

        def on_start(task: SweepTask) -> None:
            bars.update(bar, note=task.run.subfolder)

        def on_end(task: SweepTask, error: str | None) -> None:
            if error is not None:
                failures[task.run.subfolder] = error
                print_line(terminal, f"failed: {task.run.subfolder}: {error}")
            bars.advance(bar)
            if not terminal.is_terminal:
                done = int(bars.tasks[bar].completed)
                spent_s = time.monotonic() - start_s
                print_line(terminal, f"{done} of {total} runs, {spent_s:.0f} s: {task.run.subfolder}")

        if tasks:
            _execute(tasks, executor, jobs, on_start, on_end)
        bars.update(bar, note=_counts(len(tasks), done_before))
    if not terminal.is_terminal:
        print_line(terminal, _counts(len(tasks), done_before))
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


def _counts(now: int, before: int) -> str:
    return f"{now} run now, {before} were there"


def _describe(failures: dict[str, str], runs: int) -> str:
    first = min(failures)
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{len(failures)} of {runs} runs failed: {first}: {failures[first]}{more}"


def _show(rows: Sequence[Row], metrics: Sequence[str], file: Path) -> None:
    terminal = wide_terminal()
    metrics = metrics or [name for name in DEFAULT_METRICS if any(row.get(name) is not None for row in rows)]
    try:
        figures = seed_statistics(rows, metrics)
        table = means_table(figures, metrics, terminal)
        if fits(terminal, table):
            terminal.print(table)
        else:
            for line in means_lines(figures, metrics):
                print_line(terminal, plain_for(terminal, line))
    finally:  # the table is written even if a metric is misspelt
        print_line(terminal, f"table: {file}")


TITLE = "means over seeds ± standard deviation, × the first combination's"


def means_table(
    figures: dict[str, dict[str, SeedStatistics]], metrics: Sequence[str], terminal: Console
) -> Table:
    """Return a table for people: a row per combination, means over seeds and ratios to the first."""
    table = Table(box=box.SIMPLE_HEAD, title=plain_for(terminal, TITLE))
    table.add_column("combination", no_wrap=True)
    for metric in metrics:
        table.add_column(escape(metric), justify="right", no_wrap=True)
    for name, row in figures.items():
        cells = ["\n".join(_text(metric, row[metric])) for metric in metrics]
        table.add_row(escape(name), *(plain_for(terminal, cell) for cell in cells))
    return table


def means_lines(figures: dict[str, dict[str, SeedStatistics]], metrics: Sequence[str]) -> Iterator[str]:
    """Yield the table as lines, a figure each, for a narrow terminal."""
    yield TITLE
    wide = max(map(len, metrics), default=0)
    for name, row in figures.items():
        yield ""
        yield name
        for metric in metrics:
            yield f"    {metric:<{wide}}  {'  '.join(_text(metric, row[metric]))}"
    yield ""


def _text(metric: str, figure: SeedStatistics) -> Iterator[str]:
    """Yield the mean with its deviation, then its ratio to the first combination's."""
    if figure.mean is None:
        yield "-"
        return
    text = _number(metric, figure.mean)
    yield text if figure.deviation is None else f"{text} ± {_number(metric, figure.deviation)}"
    if figure.ratio is not None:
        yield f"×{figure.ratio:.3g}"


def _number(metric: str, value: float) -> str:
    return approximate_bytes(value) if metric.endswith("bytes") and value >= 0 else f"{value:.4g}"
