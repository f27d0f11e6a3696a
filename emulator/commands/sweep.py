"""``peelfleet sweep``: its progress, its table in the terminal, and how it ends."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from emulator.console import Console
from emulator.sweep.runs import Run, Task, list_runs, missing, opened, train
from emulator.sweep.table import BROKEN, Figure, Row, figures_of, rows_of, write_tables
from emulator.sweep.workers import work_off
from scenarios.expand import Plan
from wire.errors import InputError, RunError
from wire.units import approximate_bytes

DEFAULT_METRICS = (
    "ndcg_at_10",
    "quality_regret",
    "over_budget_share",
    "update_bytes",
    "update_latency_seconds.p95",
)
LINE = 160


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
    folder = options.out or Path("runs") / f"{plan.base.name}-sweep"
    with opened(folder):
        todo = missing(runs, folder)
        _train(todo, options.store)
        failures = _work_off([_task(each, folder, options) for each in todo], len(runs), _jobs(plan, options))
        rows = rows_of([each for each in runs if each.place not in failures], folder)
        if rows:
            _show(rows, options.metrics, write_tables(rows, folder))
    if failures:
        raise RunError(_tell(failures, len(runs)))
    return not any(row[BROKEN] for row in rows)


def _task(run: Run, folder: Path, options: Options) -> Task:
    return Task(run, folder, options.broker, options.store, options.report)


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


def _train(runs: Sequence[Run], store: Path | None) -> None:
    if runs:
        with Console() as console:
            train(runs, store, console.training)


def _work_off(tasks: Sequence[Task], total: int, jobs: int) -> dict[str, str]:
    """Carry out *tasks* under a progress bar; return what went wrong, by place."""
    failures: dict[str, str] = {}
    bars = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Terminal(stderr=True),
        refresh_per_second=4,
    )
    with bars:
        bar = bars.add_task("runs", total=total, completed=total - len(tasks), note="")

        def started(task: Task) -> None:
            bars.update(bar, note=task.run.place)

        def ended(task: Task, wrong: str | None) -> None:
            if wrong is not None:
                failures[task.run.place] = wrong
                bars.console.print(f"failed: {task.run.place}: {wrong}", soft_wrap=True, highlight=False)
            bars.advance(bar)

        work_off(tasks, jobs, started, ended)
        bars.update(bar, note=f"{len(tasks)} run now, {total - len(tasks)} were there")
    return failures


def _tell(failures: dict[str, str], runs: int) -> str:
    first = min(failures)
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{len(failures)} of {runs} runs failed: {first}: {failures[first]}{more}"


def _show(rows: Sequence[Row], wanted: Sequence[str], file: Path) -> None:
    terminal = wide_terminal()
    metrics = wanted or [name for name in DEFAULT_METRICS if any(row.get(name) is not None for row in rows)]
    try:
        terminal.print(means_table(figures_of(rows, metrics), metrics))
    finally:  # the table is there even where a metric is misspelt
        terminal.print(f"table: {file}", soft_wrap=True, highlight=False)


def wide_terminal() -> Terminal:
    """Return standard output, wide where no screen limits it: a file or a pipe."""
    terminal = Terminal()
    return terminal if terminal.is_terminal else Terminal(width=LINE)


def means_table(figures: dict[str, dict[str, Figure]], metrics: Sequence[str]) -> Table:
    """Return a table for people: a row per combination, means over seeds and ratios to the first."""
    table = Table(box=box.SIMPLE_HEAD, title="means over seeds ± standard deviation, × the first row's")
    table.add_column("combination", no_wrap=True)
    for metric in metrics:
        table.add_column(metric.replace("_", " "), justify="right")
    for name, found in figures.items():
        table.add_row(name, *(_text(metric, found[metric]) for metric in metrics))
    return table


def _text(metric: str, figure: Figure) -> str:
    if figure.mean is None:
        return "-"
    text = _number(metric, figure.mean)
    if figure.deviation is not None:
        text += f" ± {_number(metric, figure.deviation)}"
    return text if figure.ratio is None else f"{text}\n×{figure.ratio:.3g}"


def _number(metric: str, value: float) -> str:
    return approximate_bytes(value) if metric.endswith("bytes") and value >= 0 else f"{value:.4g}"


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
