"""``peelfleet sweep``: its runs under a progress bar, and its table in the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import msgspec
import typer
from rich.console import Console

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.export_files import FigureFiles, TableFiles, check_files, write_files
from emulator.cli.options import (
    Broker,
    Clock,
    Data,
    ExecutorOption,
    Force,
    Json,
    Overrides,
    Sample,
    ScenarioFile,
    Store,
    overrides,
    path_option,
    quiet_option,
    wrong,
)
from emulator.cli.terminal import print_warning, terminal_view
from emulator.cli.terminal_width import print_line, print_prose, wide_terminal
from emulator.cli.text_table import TextTable, print_table
from emulator.executors.open_executor import LOCAL
from emulator.progress.sweep_progress import SweepProgress
from emulator.sweep.exports import SweepMeans, sweep_means
from emulator.sweep.run_sweep import SweepOptions, SweepResult, run_sweep
from emulator.sweep.table import BROKEN, SeedStatistics
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


Over = Annotated[
    list[str] | None,
    typer.Option("--over", metavar="KEY=V1,V2", help="Values of a key: updates.retry_after=10 s,30 s."),
]
FleetSeeds = Annotated[
    Seeds | None,
    typer.Option(parser=seeds_of, metavar="<seeds>", help="Seeds of the fleet: 1-5 or 1,2,3."),
]
TrainSeeds = Annotated[
    Seeds | None,
    typer.Option(
        parser=seeds_of, metavar="<seeds>", help="Seeds of training, each with each of the others: 0-4."
    ),
]
SweepQuiet = Annotated[bool, quiet_option("Print only the file with the table; no progress.")]


def sweep(
    scenario: ScenarioFile,
    over: Over = None,
    seeds: FleetSeeds = None,
    train_seeds: TrainSeeds = None,
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
    json: Json = False,
    quiet: SweepQuiet = False,
) -> None:
    """Run every combination of a sweep with every seed; finished runs are not repeated."""
    check_files(table, figure)
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
        force=force,
    )
    with SweepDisplay(quiet=quiet) as display:
        result = run_sweep(plan, options, display)
    if json:
        typer.echo(as_json(result, metrics or ()))
    elif result.table is not None:
        show(result, metrics or (), result.table, quiet=quiet)
    if result.table is not None:
        means = sweep_means(result.rows, metrics or ())
        write_files(table, figure, means.write_table, means.write_figure, names=not json)
    result.check()
    if not result.passed:
        raise typer.Exit(THRESHOLD_BROKE)


class SweepDisplay(SweepProgress):
    """The display of a sweep, on standard error: its training, then its runs; warnings and failures.

    Args:
        quiet: whether only warnings and failures are shown.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal = Console(stderr=True)
        self._writes_lines = not (quiet or self._terminal.is_terminal)
        super().__init__(terminal_view(self._terminal, quiet=quiet))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.view.end(completed=error is None)

    def on_warning(self, text: str) -> None:
        """Print a warning."""
        print_warning(self._terminal, text)

    def on_run_end(self, name: str, error: str | None) -> None:
        """Show a run that has ended, and the error of one that failed."""
        if error is not None:
            print_line(self._terminal, f"failed: {name}: {error}")
        super().on_run_end(name, error)

    def on_end(self) -> None:
        """Show how many runs were new."""
        super().on_end()
        if self._writes_lines:
            print_line(self._terminal, self.ended_text)


def as_json(result: SweepResult, metrics: Sequence[str]) -> str:
    """Return the results of a sweep as a line of JSON for programs: means of *metrics* by variant."""
    statistics = sweep_means(result.rows, metrics).statistics if result.table is not None else {}
    described = {
        "sweep_directory": str(result.folder),
        "table": None if result.table is None else str(result.table),
        "runs": result.runs,
        "failed": result.failures,
        "thresholds_broken": _broken_runs(result),
        "variants": statistics,
    }
    return msgspec.json.encode(described).decode()


def _broken_runs(result: SweepResult) -> list[str]:
    """Return the folders of the runs in which a threshold is broken."""
    return [str(row["run"]) for row in result.rows if row[BROKEN]]


def show(result: SweepResult, metrics: Sequence[str], file: Path, *, quiet: bool = False) -> None:
    """Print the means of *metrics*, the runs that broke a threshold, and the *file* with the table.

    Args:
        result: of the sweep.
        metrics: names of figures; the default ones if there are none.
        file: with the table of all figures.
        quiet: print only the name of the file.
    """
    terminal = wide_terminal()
    try:
        means = sweep_means(result.rows, metrics)
        broken = _broken_runs(result)
        if not quiet:
            print_table(terminal, means_table(means))
        if broken:
            text = f"thresholds are broken in {len(broken)} of {result.runs} runs: {', '.join(broken)}"
            print_prose(terminal, text, "bold red")
    finally:  # the table is written even if a metric is misspelt
        print_line(terminal, f"table: {file}")


def means_table(means: SweepMeans) -> TextTable:
    """Return a table for people: a row per variant, means and ratios to the first."""
    return TextTable(
        title=f"{means.caption}; ×: ratio to the first variant's",
        head=("variant", *next(iter(means.statistics.values()), {})),
        rows=[
            (name, *("\n".join(_text(metric, each)) for metric, each in row.items()))
            for name, row in means.statistics.items()
        ],
    )


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
