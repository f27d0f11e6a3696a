"""``peelfleet sweep``: its progress, its table in the terminal, and how it ends."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from emulator.cli.terminal import Console
from emulator.cli.terminal_width import fits, plain_for, print_line, wide_terminal
from emulator.processes.worker_pool import run_all
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
from scenarios.language.sweep_expansion import Plan, read_seeds
from scenarios.language.warnings import doubts_of_all
from wire.errors import InputError, RunError
from wire.units import approximate_bytes

DEFAULT_METRICS = (
    "ndcg_at_10",
    "quality_regret",
    "over_budget_share",
    "update_bytes",
    "update_latency_seconds.p95",
)


@dataclass(frozen=True)
class Options:
    """What the command line says beside the scenario."""

    out: Path | None = None
    jobs: int | None = None
    broker: str | None = None
    data: Path | None = None
    store: Path | None = None
    report: bool = False
    metrics: tuple[str, ...] = ()


def sweep(plan: Plan, options: Options) -> bool:
    """Run what is missing of *plan*, write its table and print it; return whether all thresholds held.

    Raises:
        InputError: a combination cannot be run, or the folder holds something else.
        RunError: some runs failed; the table has the others.
    """
    runs = list_runs(plan, options.data)
    scenarios = [each.scenario for each in plan.combinations]
    recorded = check_trace_files(scenarios)  # what a run would refuse, before any
    for warning in [*doubts_of_all(scenarios), *recorded]:
        Console().warned(warning)
    folder = options.out or Path("runs") / f"{plan.base.name}-sweep"
    with open_sweep_folder(folder):
        write_order([each.name for each in plan.combinations], folder)
        todo = list_missing(runs, folder)
        _train(todo, options.store)
        failures = _work_off([_task(each, folder, options) for each in todo], len(runs), _jobs(plan, options))
        rows = table_rows([each for each in runs if each.place not in failures], folder)
        if rows:
            _show(rows, options.metrics, write_tables(rows, folder))
    if failures:
        raise RunError(_tell(failures, len(runs)))
    return not any(row[BROKEN] for row in rows)


def _task(run: SweepRun, folder: Path, options: Options) -> SweepTask:
    return SweepTask(run, folder, options.broker, options.store, options.report)


def _jobs(plan: Plan, options: Options) -> int:
    """Return how many runs may go on at a time: on a broker of others, equal runs must not meet."""
    lockstep = [each.scenario for each in plan.combinations if each.scenario.clock != "virtual"]
    if any((options.broker or scenario.broker).startswith("mqtt://") for scenario in lockstep):
        return 1
    return options.jobs or _cores()


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _train(runs: Sequence[SweepRun], store: Path | None) -> None:
    if runs:
        with Console() as console:
            train_models(runs, store, console.training)


def _work_off(tasks: Sequence[SweepTask], total: int, jobs: int) -> dict[str, str]:
    """Carry out *tasks* under a progress bar; return what went wrong, by place."""
    failures: dict[str, str] = {}
    terminal = Terminal(stderr=True)
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
    there, begun = total - len(tasks), time.monotonic()
    with bars:
        bar = bars.add_task("runs", total=total, completed=total - len(tasks), note="")

        def started(task: SweepTask) -> None:
            bars.update(bar, note=task.run.place)

        def ended(task: SweepTask, wrong: str | None) -> None:
            if wrong is not None:
                failures[task.run.place] = wrong
                print_line(terminal, f"failed: {task.run.place}: {wrong}")
            bars.advance(bar)
            if not terminal.is_terminal:
                done = int(bars.tasks[bar].completed)
                print_line(
                    terminal, f"{done} of {total} runs, {time.monotonic() - begun:.0f} s: {task.run.place}"
                )

        run_all(run_task, tasks, jobs, started, ended)
        bars.update(bar, note=_counts(len(tasks), there))
    if not terminal.is_terminal:
        print_line(terminal, _counts(len(tasks), there))
    return failures


def _counts(now: int, before: int) -> str:
    return f"{now} run now, {before} were there"


def _tell(failures: dict[str, str], runs: int) -> str:
    first = min(failures)
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{len(failures)} of {runs} runs failed: {first}: {failures[first]}{more}"


def _show(rows: Sequence[Row], wanted: Sequence[str], file: Path) -> None:
    terminal = wide_terminal()
    metrics = wanted or [name for name in DEFAULT_METRICS if any(row.get(name) is not None for row in rows)]
    try:
        figures = seed_statistics(rows, metrics)
        table = means_table(figures, metrics, terminal)
        if fits(terminal, table):
            terminal.print(table)
        else:
            for line in means_lines(figures, metrics):
                print_line(terminal, plain_for(terminal, line))
    finally:  # the table is there even where a metric is misspelt
        print_line(terminal, f"table: {file}")


TITLE = "means over seeds ± standard deviation, × the first combination's"


def means_table(
    figures: dict[str, dict[str, SeedStatistics]], metrics: Sequence[str], terminal: Terminal
) -> Table:
    """Return a table for people: a row per combination, means over seeds and ratios to the first."""
    table = Table(box=box.SIMPLE_HEAD, title=plain_for(terminal, TITLE))
    table.add_column("combination", no_wrap=True)
    for metric in metrics:
        table.add_column(escape(metric), justify="right", no_wrap=True)
    for name, found in figures.items():
        cells = ["\n".join(_text(metric, found[metric])) for metric in metrics]
        table.add_row(escape(name), *(plain_for(terminal, cell) for cell in cells))
    return table


def means_lines(figures: dict[str, dict[str, SeedStatistics]], metrics: Sequence[str]) -> Iterator[str]:
    """Yield the same for a narrow screen: a line per figure."""
    yield TITLE
    wide = max(map(len, metrics), default=0)
    for name, found in figures.items():
        yield ""
        yield name
        for metric in metrics:
            yield f"    {metric:<{wide}}  {'  '.join(_text(metric, found[metric]))}"
    yield ""


def _text(metric: str, figure: SeedStatistics) -> Iterator[str]:
    """Yield the mean and its deviation; then its ratio to the first."""
    if figure.mean is None:
        yield "-"
        return
    text = _number(metric, figure.mean)
    yield text if figure.deviation is None else f"{text} ± {_number(metric, figure.deviation)}"
    if figure.ratio is not None:
        yield f"×{figure.ratio:.3g}"


def _number(metric: str, value: float) -> str:
    return approximate_bytes(value) if metric.endswith("bytes") and value >= 0 else f"{value:.4g}"


def training_seeds(text: str | None) -> Sequence[str]:
    """Return what ``--over`` would say of seeds of training: each trains a model of its own.

    Raises:
        InputError: they are no seeds.
    """
    if text is None:
        return ()
    return [f"model.training.seed={','.join(map(str, read_seeds(text, f'--train-seeds {text}')))}"]


def read_metrics(text: str | None) -> tuple[str, ...]:
    """Read the names after ``--metrics``.

    Raises:
        InputError: one is empty.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"--metrics {text}: must be names of figures with commas between them")
    return names
