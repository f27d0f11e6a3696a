"""One self-contained page over several runs, side by side, or over a sweep."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from emulator.compare.compare_runs import compare_sets
from emulator.compare.run_sets import Comparison, RunSet, combination_folders, read_run_set
from emulator.executors.executor import Executor
from emulator.executors.in_process import InProcessExecutor
from emulator.metrics.shown_figures import MAIN, value_text
from emulator.report.page import SCRIPT
from emulator.report.page_parts import (
    STYLE,
    ReportCell,
    ReportRow,
    ReportSection,
    ReportTable,
    environment,
    page_scripts,
)
from emulator.report.verdict import verdict_word
from emulator.run_directory.layout import REPORT
from emulator.run_directory.run_files import RunFiles
from emulator.runs_report import run_curves
from emulator.runs_report.comparison_sections import comparison_sections, comparison_sentence
from emulator.runs_report.sweep_section import sweep_sections
from emulator.sweep.table import TABLE
from scenarios.catalogue.summary_keys import value_at
from wire.errors import InputError
from wire.output_files import write_atomically

_PASSED: Final = ("Passed", "Finished")


@dataclass(frozen=True)
class ComparedRuns:
    """The runs of a page."""

    title: str
    sides: Sequence[RunSet]
    sweep: Path | None
    """The folder of the sweep, if the sides are its combinations."""


def is_sweep(folder: Path) -> bool:
    """Return True if *folder* is that of a sweep."""
    return (folder / f"{TABLE}.parquet").is_file()


def write_runs_report(names: Sequence[str], file: Path, executor: Executor | None = None) -> Path:
    """Write one page over the runs of all *names* to *file*, and return its path.

    Args:
        names: run directories or folders of runs, the baseline first; or the folder of one sweep.
        file: of the page.
        executor: measures the ranges of devices for figures; None: this process does.

    Raises:
        InputError: a name is not that of a run, or no runs can be paired.
    """
    runs = _read(names)
    page = render_runs(runs, file.parent, executor or InProcessExecutor())
    try:
        write_atomically(file, page.encode())
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    return file


def _read(names: Sequence[str]) -> ComparedRuns:
    if len(names) > 1:
        return ComparedRuns(" and ".join(_short(name) for name in names), [*map(read_run_set, names)], None)
    folder = Path(names[0])
    sides = [
        RunSet(path.name, side.runs, side.scenario)
        for path in combination_folders(folder)
        for side in (read_run_set(str(path)),)
    ]
    return ComparedRuns(folder.resolve().name, sides, folder)


def render_runs(runs: ComparedRuns, folder: Path, executor: Executor) -> str:
    """Return the page; links in it are relative to *folder*."""
    comparisons = compare_sets(runs.sides) if len(runs.sides) > 1 else []
    shown = [
        run_curves.load_curves(_short(side.name), RunFiles(next(iter(side.runs.values())).folder), executor)
        for side in runs.sides[: run_curves.MOST_CURVES]
    ]
    scripts = page_scripts(SCRIPT)
    return environment().get_template("runs.html").render(
        style=STYLE.read_text(encoding="utf-8"),
        scripts=scripts.texts,
        policy=scripts.policy,
        title=runs.title,
        lines=[*map(comparison_sentence, comparisons)],
        sides=_sides_table(runs.sides, folder),
        headline=run_curves.quality_curves(shown, _drawn(runs)),
        sections=[*_sections(runs, comparisons, shown)],
    )  # fmt: skip


def _sections(
    runs: ComparedRuns, comparisons: Sequence[Comparison], shown: Sequence[run_curves.RunCurves]
) -> Iterator[ReportSection]:
    if runs.sweep is not None:
        yield from sweep_sections(runs.sweep)
    yield from comparison_sections(comparisons)
    for draw in (
        run_curves.traffic_curves,
        run_curves.held_curves,
        run_curves.latency_curves,
        run_curves.budget_curves,
    ):
        figure = draw(shown)
        yield ReportSection(figure.name, figure.topic, figure.finding, "", [figure])


def _drawn(runs: ComparedRuns) -> str:
    """Return a sentence on which runs are drawn."""
    count, several = len(runs.sides), any(len(side.runs) > 1 for side in runs.sides)
    first = (
        f"The first {run_curves.MOST_CURVES} of {count} are drawn" if count > run_curves.MOST_CURVES else ""
    )
    seed = "the run of the first seed stands for each" if several else ""
    words = ", ".join(each for each in (first, seed) if each) or f"{count} runs, one over the other"
    return f"{words[0].upper()}{words[1:]}."


def _sides_table(sides: Sequence[RunSet], folder: Path) -> ReportTable:
    """Return a row for each side: its verdicts and the figures that matter, as means over its runs."""
    rows = []
    for side in sides:
        summaries = [run.summary for run in side.runs.values()]
        words = [verdict_word(summary) for summary in summaries]
        passed = sum(word in _PASSED for word in words)
        shown = words[0] if len(words) == 1 else f"{passed} of {len(words)} passed"
        report = next(iter(side.runs.values())).folder / REPORT
        rows.append(
            ReportRow(
                [
                    ReportCell(_short(side.name), link=_link(report, folder)),
                    *(_mean(summaries, key) for key in MAIN),
                    ReportCell(shown, strong=True),
                ],
                "passed" if passed == len(words) else "failed",
            )
        )
    return ReportTable("Side by side", ["run", *MAIN.values(), "verdict"], rows)


def _mean(summaries: Sequence[Mapping[str, Any]], key: str) -> str:  # Any: JSON
    found = (value_at(key, summary) for summary in summaries)
    values = [value for value in found if isinstance(value, int | float)]
    return value_text(key, sum(values) / len(values) if values else None)


def _link(report: Path, folder: Path) -> str:
    """Return the address of a report beside the page; empty if there is none below its folder."""
    if not report.is_file() or not report.resolve().is_relative_to(folder.resolve()):
        return ""
    return report.resolve().relative_to(folder.resolve()).as_posix()


def _short(name: str) -> str:
    return Path(name).name or name
