"""The report of a run: one self-contained HTML page, made from the run directory alone.

The page loads nothing: it contains the script that draws, and its content security policy allows only its own
scripts, by their hashes. The same directory gives the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from emulator.executors.executor import Executor
from emulator.executors.in_process import InProcessExecutor
from emulator.metrics.shown_figures import main_figures
from emulator.report import sections, tables
from emulator.report.costs_section import costs_section
from emulator.report.dimension_section import dimensions_section
from emulator.report.figure_sums import FigureSums
from emulator.report.figures import ReportFigure
from emulator.report.fleet_views import FleetViews
from emulator.report.load import load_figures
from emulator.report.page_parts import (
    PAGES,
    STYLE,
    ReportPart,
    ReportSection,
    ReportText,
    environment,
    page_scripts,
)
from emulator.report.recommended import Recommender, read_recommended, write_recommended
from emulator.report.report_figures import report_figures
from emulator.report.rollout_section import rollout_section
from emulator.report.sample_section import sample_section
from emulator.report.verdict import judgement, verdict_numbers, verdict_word
from emulator.report.visits_section import visits_section
from emulator.run_directory.layout import REPORT, SCENARIO
from emulator.run_directory.run_files import RunFiles
from scenarios.language.yaml_tree import read_tree
from wire.output_files import write_atomically

SCRIPT: Final = PAGES / "report.js"
_HEADLINE: Final = "quality"
"""The figure that stands on the first screen."""
_FOLDED: Final = ("devices", "elasticity")


def write_report(
    folder: Path, executor: Executor | None = None, recommend: Recommender | None = None
) -> Path:
    """Write ``report.html`` into the run directory *folder*, finished or a draft, and return its path.

    Args:
        folder: of the run.
        executor: measures the ranges of devices for figures; None: this process does.
        recommend: names what is recommended to the users of example devices; it is kept in the folder, for
            a report that is made again. None: as it was kept, if it was.
    """
    run = RunFiles(folder)
    views, sums = load_figures(run, executor or InProcessExecutor())
    if recommend is not None:
        numbers = {each.device: number for number, each in sums.examples.trajectories.items()}
        shown = {each.device: numbers[each.device] for each in sums.examples.chosen()}
        write_recommended(folder, recommend(shown))
    page = render(run.summary, run.scenario, views, sums, run.metrics, read_recommended(folder))
    write_atomically(folder / REPORT, page.encode())
    return folder / REPORT


def render(
    summary: dict[str, object],
    scenario: str,
    views: FleetViews,
    sums: FigureSums,
    measured: pa.Table | None = None,
    titles: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the page.

    Args:
        summary: of the run.
        scenario: the text of the resolved scenario.
        views: the sets of devices that a figure shows.
        sums: of all devices.
        measured: the metrics by every dimension, if the run has them.
        titles: of items that are recommended to the users of example devices, by device.
    """
    drawn = {figure.name: figure for figure in report_figures(views, sums, summary, titles or {})}
    scripts = page_scripts(SCRIPT)
    return environment().get_template("report.html").render(
        style=STYLE.read_text(encoding="utf-8"),
        scripts=scripts.texts,
        policy=scripts.policy,
        title=str(summary.get("scenario", "")),
        description=describe(scenario),
        terms=tables.run_terms(summary),
        word=verdict_word(summary),
        judgement=judgement(summary),
        numbers=verdict_numbers(summary),
        warnings=tables.list_warnings(summary),
        rules=tables.thresholds_table(summary),
        figures=main_figures(summary),
        headline=drawn.pop(_HEADLINE),
        sections=[*_sections(drawn, views, sums, summary, measured), *_files(summary, scenario)],
    )  # fmt: skip


def _sections(
    figures: Mapping[str, ReportFigure],
    views: FleetViews,
    sums: FigureSums,
    summary: dict[str, object],
    measured: pa.Table | None,
) -> Iterator[ReportSection]:
    """Yield the sections of a run in their order: what happened, how it went, and the parts of it."""
    latency: list[ReportPart] = [
        tables.latency_table(sums.updates.distributions(views)), *sections.latency_parts(summary)
    ]  # fmt: skip
    yield from sections.list_sections(
        sample_section(summary),
        rollout_section(summary, figures.get("rollout")),
        sections.faults_section(summary),
        visits_section(summary, measured),
        costs_section(summary),
        _figure_section(figures["budget"]),
        _figure_section(figures["traffic"]),
        sections.peaks_section(summary),
        _figure_section(figures["latency"], latency),
        _figure_section(figures["elasticity"]),
        _figure_section(figures["devices"]),
        sections.pressure_section(summary),
        dimensions_section(measured),
    )


def _figure_section(figure: ReportFigure, parts: Sequence[ReportPart] = ()) -> ReportSection:
    """Return a section with a figure, whose finding is that of the section."""
    return ReportSection(
        figure.name, figure.topic, figure.finding, "", [figure, *parts], folded=figure.name in _FOLDED
    )


def _files(summary: Mapping[str, object], scenario: str) -> Iterator[ReportSection]:
    """Yield the sections with all that the run's files say: every key, and the scenario."""
    yield tables.figures_section(summary)
    keys = tables.summary_table(summary)
    finding = f"The {len(keys.rows)} keys of summary.json, with units and meanings."
    yield ReportSection("keys", "All keys", finding, "", [keys], folded=True, search=True)
    file = ReportText([scenario], code=True)
    finding = "The file scenario.yaml, with every default."
    yield ReportSection("scenario", "The scenario", finding, "", [file], folded=True)


def describe(scenario: str) -> str:
    """Return the description in the text of a scenario."""
    # The YAML tree, not the scenario: a run of an older version may have keys that do not exist any more.
    value = read_tree(scenario, SCENARIO).value
    description = value.get("description") if isinstance(value, dict) else None
    return description if isinstance(description, str) else ""
