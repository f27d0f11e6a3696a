"""``peelfleet evaluate``: quality against bytes of policies and baselines, as a table and a figure."""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import typer

from emulator.cli.export_files import FigureFiles, TableFiles, check_files, write_files
from emulator.cli.options import Data, Json, Overrides, Store, default, quiet_option, wrong
from emulator.cli.terminal import RunDisplay
from emulator.cli.terminal_width import wide_terminal
from emulator.cli.text_table import TextTable, print_table
from emulator.evaluation.observer import EvaluationObserver
from emulator.exports.printed_table import PrintedTable
from emulator.simulation.model_cache import TRAIN_MODULES
from scenarios.language.load import load
from scenarios.language.sweep_expansion import MAX_SEEDS, read_seeds
from wire.extras import needs_extra

BUDGETS: Final = "0.5%,1%,2%,5%,10%"
POLICIES: Final = "peel,prefix,popularity,random"
METRICS: Final = "ndcg_at_20,tail_recall_at_20"


class SeedNumbers(tuple[int, ...]):
    """The seeds of an evaluation."""


class NameList(tuple[str, ...]):
    """A list of names with commas between them."""


def seed_numbers(text: str) -> SeedNumbers:
    """Return the seeds of a number of seeds such as ``5``, from 0 on, or of a list such as ``1-5``."""
    try:
        if text.strip().isdecimal():
            text = f"0-{int(text) - 1}"
        return SeedNumbers(read_seeds(text))
    except ValueError:
        wrong(text, f"a number of seeds such as 5, or a list such as 1-5 or 1,2,3, at most {MAX_SEEDS}")


def name_list(text: str) -> NameList:
    """Return the names of a list with commas between them."""
    names = NameList(name.strip() for name in text.split(","))
    return names if all(names) else wrong(text, "names with commas between them")


Scenarios = Annotated[
    list[Path], typer.Argument(help="Scenario files (YAML), or names; several have the same data.")
]
Budgets = Annotated[
    NameList,
    typer.Option(parser=name_list, metavar="<budgets>", help="Bytes, or shares of the fp32 table: 8KiB,1%."),
]
Policies = Annotated[
    NameList,
    typer.Option(parser=name_list, metavar="<names>", help="Selections and baselines: peel,head:int8."),
]
SeedList = Annotated[
    SeedNumbers,
    typer.Option(parser=seed_numbers, metavar="<seeds>", help="How many seeds, from 0 on; or 1-5."),
]
VaryOption = Annotated[
    Literal["training", "split", "both"],
    typer.Option(help="The seeds that differ: of training, of the split of the data, or of both."),
]
MaskOption = Annotated[
    Literal["known", "train"],
    typer.Option(help="Items left out of rankings: of training and validation, or of training only."),
]
Metrics = Annotated[
    NameList, typer.Option(parser=name_list, metavar="<names>", help="Metrics to print and to draw.")
]
Shares = Annotated[
    bool, typer.Option("--shares", help="Print and draw shares of the whole fp32 table's figures.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Processes that train and measure.")]


def evaluate(
    scenario: Scenarios,
    budgets: Budgets = default(BUDGETS),
    policies: Policies = default(POLICIES),
    seeds: SeedList = default("5"),
    vary: VaryOption = "training",
    mask: MaskOption = "known",
    metrics: Metrics = default(METRICS),
    shares: Shares = False,
    table: TableFiles = None,
    figure: FigureFiles = None,
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    jobs: Jobs = 1,
    json: Json = False,
    quiet: Annotated[bool, quiet_option("Print the tables only; no progress.")] = False,
) -> None:
    """Compare the quality of policies and baselines at equal bytes, without a fleet.

    Models are trained for each seed, unless they are in the cache; so are all figures.
    """
    check_files(table, figure)
    with needs_extra("train", TRAIN_MODULES, "an evaluation"):
        from emulator.evaluation.evaluate import evaluate as evaluate_policies  # loads torch
        from emulator.evaluation.results import check_metrics
    check_metrics(metrics)
    loaded = [load(path, set_ or []) for path in scenario]
    with RunDisplay(quiet=quiet) as display:
        found = evaluate_policies(
            loaded, budgets, policies, seeds, vary=vary, mask=mask, data=data, store=store, jobs=jobs,
            observer=EvaluationDisplay(display),
        )  # fmt: skip
    if json:
        described = {"data": found.data, "over": found.over, "rows": found.rows}
        typer.echo(msgspec.json.encode(described).decode())
    else:
        terminal = wide_terminal()
        for printed in found.printed(metrics, shares=shares):
            print_table(terminal, text_table(printed))
    write_files(
        table,
        figure,
        lambda file: found.write_table(file, metrics, shares=shares),
        lambda file: found.write_figure(file, metrics, shares=shares),
        names=not json,
    )


class EvaluationDisplay(EvaluationObserver):
    """Shows the progress of an evaluation on the display of runs."""

    def __init__(self, display: RunDisplay) -> None:
        self._display = display

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of training."""
        self._display.on_training(stage, done, total, note)

    def on_models(self, done: int, total: int) -> None:
        """Show for how many seeds models are there."""
        self._display.on_training("models", done, total, f"{done} of {total} seeds")

    def on_measured(self, done: int, total: int) -> None:
        """Show how many policies are measured."""
        self._display.on_training("measure", done, total, f"{done} of {total} policies and seeds")


def text_table(printed: PrintedTable) -> TextTable:
    """Return *printed* for the terminal."""
    title, _, caption = printed.caption.partition(". ")
    return TextTable(
        title=title,
        head=(printed.corner, *printed.columns),
        rows=[(name, *(cell.text() for cell in row)) for name, row in printed.rows.items()],
        caption=caption,
    )
