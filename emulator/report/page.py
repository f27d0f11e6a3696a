"""The report of a run: one self-contained HTML page, made from the run directory alone.

The page loads nothing: it contains the script of plotly, and its content security policy allows only its two
scripts, by their hashes. The same directory gives the same bytes.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

import msgspec
import pyarrow as pa
from plotly.offline import get_plotlyjs

from emulator.executors.executor import Executor
from emulator.executors.in_process import InProcessExecutor
from emulator.report import figures, sections, tables
from emulator.report.costs_section import costs_section
from emulator.report.figure_sums import FigureSums
from emulator.report.fleet_views import FleetViews
from emulator.report.load import load_figures
from emulator.report.recommended import Recommender, read_recommended, write_recommended
from emulator.report.report_figures import report_figures
from emulator.report.sample_section import sample_section
from emulator.report.verdict import verdict_text
from emulator.report.visits_section import visits_section
from emulator.run_directory.layout import REPORT, SCENARIO
from emulator.run_directory.run_files import RunFiles
from scenarios.language.yaml_tree import read_tree
from wire.output_files import write_atomically

_PAGE = Path(__file__).with_name("page.html")
_SCRIPT = Path(__file__).with_name("page.js")


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
    plotly, script = get_plotlyjs(), _SCRIPT.read_text(encoding="utf-8")
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        policy=" ".join(f"'{_sha256(text)}'" for text in (plotly, script)),
        plotly=plotly,
        script=script,
        name=escape(str(summary.get("scenario", ""))),
        description=escape(describe(scenario)),
        identity=tables.run_terms(summary),
        headline=tables.headline_tiles(summary),
        doubts=tables.warnings_section(summary)
        + sample_section(summary)
        + costs_section(summary)
        + visits_section(summary, measured),
        thresholds=tables.thresholds_section(summary),
        summary=tables.summary_table(summary),
        scenario=escape(scenario),
        verdict=escape(verdict_text(summary)),
        rollout=sections.rollout_section(summary),
        accounts=sections.faults_section(summary),
        latency_parts=sections.latency_parts_table(summary),
        pressure=sections.pressure_section(summary),
        splits=sections.dimensions_section(measured),
        **draw_figures(views, sums, summary, titles or {}),
    )


def draw_figures(
    views: FleetViews, sums: FigureSums, summary: dict[str, object], titles: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return the figures and the tables beside them, by their names in the page."""
    return {
        **{
            f"{figure.name}_figure": figure_section(figure)
            for figure in report_figures(views, sums, summary, titles)
        },
        "latency_table": tables.latency_table(sums.updates.distributions(views)),
    }


def figure_section(figure: figures.ReportFigure) -> str:
    """Return the HTML of a figure: heading, caption, empty plot, and its data for the page's script."""
    return (
        f'<h2 id="{figure.name}"><span class="topic">{figure.topic}</span> {escape(figure.finding)}</h2>'
        f'<p class="caption">{escape(figure.caption)}</p>'
        f"{_selector(figure)}"
        f'<div class="plot" id="{figure.name}-plot" role="img" aria-label="{figure.topic}: '
        f'{escape(figure.finding)} {escape(figure.caption)}" style="height:{figure.height}px"></div>'
        f'<script type="application/json" id="{figure.name}-data">{embed_json(figure.views)}</script>'
    )


def _selector(figure: figures.ReportFigure) -> str:
    if len(figure.views) < 2:
        return ""
    options = "".join(
        f'<option value="{number}">{escape(view.label)}</option>' for number, view in enumerate(figure.views)
    )
    return f'<label class="choose">{figure.choose} <select id="{figure.name}-view">{options}</select></label>'


def embed_json(views: Sequence[figures.View]) -> str:
    """Return *views* as JSON without ``<``, so that it cannot end a script in the page."""
    return msgspec.json.encode(views).decode().replace("<", "\\u003c")


def describe(scenario: str) -> str:
    """Return the description in the text of a scenario."""
    # The YAML tree, not the scenario: a run of an older version may have keys that do not exist any more.
    value = read_tree(scenario, SCENARIO).value
    description = value.get("description") if isinstance(value, dict) else None
    return description if isinstance(description, str) else ""


def _sha256(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
