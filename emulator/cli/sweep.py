"""``peelfleet sweep``: its runs under a progress bar, and its table in the terminal."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.export_files import FigureFiles, TableFiles, check_files, write_files
from emulator.cli.options import (
    Broker,
    Clock,
    Data,
    ExecutorOption,
    Force,
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
from emulator.executors.open_executor import LOCAL
from emulator.sweep.exports import SweepMeans, sweep_means
from emulator.sweep.run_sweep import SweepObserver, SweepOptions, run_sweep
from emulator.sweep.table import Row, SeedStatistics
from scenarios.language.sweep_expansion import MAX_SEEDS, load_plan, read_seeds, training_seeds
from wire.units import approximate_bytes


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
            parser=seeds_of, metavar="<seeds>", help="Seeds of training, each with each of the others: 0-4."
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
    table: TableFiles = None,
    figure: FigureFiles = None,
    force: Force = False,
) -> None:
    """Run every combination of a sweep with every seed; finished runs are not repeated."""
    check_files(table, figure)
    axes = [*(over or []), *training_seeds(train_seeds or ())]
    plan = load_plan(scenario, overrides(set_, clock=clock, sample=sample), axes, seeds)
    options = SweepOptions(
        out=out, jobs=jobs, executor=executor, broker=broker, data=data, store=store,
        reports=reports, force=force,
    )  # fmt: skip
    with SweepDisplay() as display:
        result = run_sweep(plan, options, display)
    if result.table is not None:
        show(result.rows, metrics or (), result.table)
        means = sweep_means(result.rows, metrics or ())
        write_files(table, figure, means.write_table, means.write_figure)
    result.check()
    if not result.passed:
        raise typer.Exit(THRESHOLD_BROKE)


class SweepDisplay(SweepObserver):
    """The display of a sweep, on standard error: training, then a bar or lines of its runs."""

    def __init__(self) -> None:
        self._training: RunDisplay | None = None
        self._terminal = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._terminal,
            disable=not self._terminal.is_terminal,
            refresh_per_second=4,
        )
        self._bar: TaskID | None = None
        self._before, self._start_s = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_training(kind, error, trace)
        self._bars.stop()

    def on_warning(self, text: str) -> None:
        """Print a warning."""
        RunDisplay().on_warning(text)

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of a training stage."""
        if self._training is None:
            self._training = RunDisplay()
            self._training.__enter__()
        self._training.on_training(stage, done, total, note)

    def on_runs(self, done: int, total: int) -> None:
        """Start the bar of runs."""
        self._end_training()
        self._before, self._start_s = done, time.monotonic()
        self._bars.start()
        self._bar = self._bars.add_task("runs", total=total, completed=done, note="")

    def on_run_start(self, name: str) -> None:
        """Show which run has started."""
        if self._bar is not None:
            self._bars.update(self._bar, note=name)

    def on_run_end(self, name: str, error: str | None) -> None:
        """Show a run that has ended."""
        if self._bar is None:
            return
        if error is not None:
            print_line(self._terminal, f"failed: {name}: {error}")
        self._bars.advance(self._bar)
        if not self._terminal.is_terminal:
            spent_s, (done, total) = time.monotonic() - self._start_s, self._counts
            print_line(self._terminal, f"{done} of {total} runs, {spent_s:.0f} s: {name}")

    def on_end(self) -> None:
        """Show how many runs there were."""
        if self._bar is None:
            return
        text = f"{self._counts[0] - self._before} run now, {self._before} were there"
        self._bars.update(self._bar, note=text)
        self._bars.stop()
        if not self._terminal.is_terminal:
            print_line(self._terminal, text)

    @property
    def _counts(self) -> tuple[int, int]:
        """The number of runs that have ended, and of all."""
        bar = self._bars.tasks[0]
        return int(bar.completed), int(bar.total or 0)

    def _end_training(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        if self._training is not None:
            self._training.__exit__(kind, error, trace)
            self._training = None


def show(rows: Sequence[Row], metrics: Sequence[str], file: Path) -> None:
    """Print the means of *metrics*, and the *file* with the table of a sweep."""
    terminal = wide_terminal()
    try:
        means = sweep_means(rows, metrics)
        table = means_table(means, terminal)
        if fits(terminal, table):
            terminal.print(table)
        else:
            for line in means_lines(means):
                print_line(terminal, plain_for(terminal, line))
    finally:  # the table is written even if a metric is misspelt
        print_line(terminal, f"table: {file}")


def means_table(means: SweepMeans, terminal: Console) -> Table:
    """Return a table for people: a row per variant, means and ratios to the first."""
    table = Table(box=box.SIMPLE_HEAD, title=plain_for(terminal, title(means)))
    table.add_column("variant", no_wrap=True)
    for metric in next(iter(means.statistics.values()), {}):
        table.add_column(escape(metric), justify="right", no_wrap=True)
    for name, row in means.statistics.items():
        cells = ["\n".join(_text(metric, each)) for metric, each in row.items()]
        table.add_row(escape(name), *(plain_for(terminal, cell) for cell in cells))
    return table


def title(means: SweepMeans) -> str:
    """Return the caption of the table: the means, and what follows them."""
    return f"{means.caption}; ×: ratio to the first variant's"


def means_lines(means: SweepMeans) -> Iterator[str]:
    """Yield the table as lines, a figure each, for a narrow terminal."""
    yield from title(means).split("; ")
    for name, row in means.statistics.items():
        wide = max(map(len, row), default=0)
        yield ""
        yield name
        for metric, each in row.items():
            yield f"    {metric:<{wide}}  {'  '.join(_text(metric, each))}"
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
