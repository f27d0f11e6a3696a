"""A finished run: its summary, its tables, its report and its plots."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from emulator.executors.in_process import InProcessExecutor
from emulator.metrics.shown_figures import main_figures
from emulator.report.load import load_figures
from emulator.report.page import write_report
from emulator.report.recommended import read_recommended
from emulator.report.report_figures import report_figures
from emulator.report.verdict import verdict_text
from emulator.run_directory.event_reader import read_described_table
from emulator.run_directory.layout import PARTIAL, REPORT, SCENARIO
from emulator.run_directory.run_files import RunFiles
from peelfleet.arguments import Name, to_path
from peelfleet.html import html_tiles
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from wire.errors import InputError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from emulator.report.figures import ReportFigure


class Run:
    """A finished run. `run` and `replay` return one, and a run directory of any earlier run can be opened.

    Args:
        path: a finished run directory.

    Raises:
        InputError: it is none, or it is damaged.
    """

    def __init__(self, path: Name) -> None:
        self._folder = to_path(path)
        if self._folder.name.endswith(PARTIAL):
            raise InputError(f"{self._folder}: this run did not finish")
        self._files = RunFiles(self._folder)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._folder

    @property
    def summary(self) -> Mapping[str, Any]:  # Any: JSON
        """The figures of ``summary.json``, by their names there (docs/metrics.md)."""
        return dict(self._files.summary)

    @property
    def passed(self) -> bool:
        """True if no threshold is broken."""
        return all(rule["passed"] for rule in self.thresholds)

    @property
    def thresholds(self) -> Sequence[Mapping[str, Any]]:  # Any: JSON
        """The verdicts on thresholds: metric, rule, value and passed of each."""
        listed: Any = self._files.summary["thresholds"]
        return [dict(rule) for rule in listed]

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario of the run, with every default: running it again gives the same run."""
        return parse(self._files.scenario, str(self._folder / SCENARIO))

    def events(self, table: str) -> pa.Table:
        """Return a table of the event log, in the order of time; its columns are described in the schema.

        All rows are in memory at once. For very large runs let DuckDB or polars read the Parquet files in
        ``events/`` (docs/events.md).

        Args:
            table: budget, update, quality, connection, fault or rollout.

        Raises:
            InputError: there is no such table, or it is damaged.
        """
        return read_described_table(self._folder, table)

    @property
    def devices(self) -> pa.Table:
        """The devices: group, class, user and others, a row for each."""
        reader = self._files.devices()
        return pa.concat_tables(map(reader.read, reader.ranges))

    @property
    def metrics(self) -> pa.Table:
        """Every metric by every dimension, a row for each figure (docs/metrics.md)."""
        table = self._files.metrics
        if table is None:
            raise InputError(
                f"{self._folder}: an older version of peelfleet wrote this run: it has no metrics"
            )
        return table

    @property
    def plots(self) -> tuple[str, ...]:
        """The names of the plots that `plot` draws."""
        return tuple(figure.name for figure in self._figures)

    def plot(self, name: str, view: str | None = None) -> "Figure":
        """Return a plot of the report as a figure of plotly.

        Args:
            name: one of `plots`: budget, quality, devices, traffic, latency or elasticity.
            view: the part of the run that it shows, such as a group of devices; None: the first, which is
                the whole fleet where there is one.

        Raises:
            InputError: there is no such plot or view; the message lists those that there are.
        """
        from emulator.report.plotly_figures import to_plotly  # imports plotly

        figure = next((figure for figure in self._figures if figure.name == name), None)
        if figure is None:
            raise InputError(f"plot(={name!r}) must be one of {', '.join(self.plots)}")
        views = {each.label: each for each in figure.views}
        if view is not None and view not in views:
            raise InputError(f"view(={view!r}) of the plot {name} must be one of {', '.join(views)}")
        return to_plotly(figure, views[view] if view is not None else figure.views[0])

    def report(self) -> Path:
        """Return the path of the report, a page that needs no network; write it if it is not there."""
        path = self._folder / REPORT
        return path if path.exists() else write_report(self._folder)

    @cached_property
    def _figures(self) -> "tuple[ReportFigure, ...]":
        views, sums = load_figures(self._files, InProcessExecutor())
        return report_figures(views, sums, self._files.summary, read_recommended(self._folder))

    def __fspath__(self) -> str:
        return os.fspath(self._folder)

    def __repr__(self) -> str:
        return f"<Run {str(self._folder)!r}: {verdict_text(self._files.summary)}>"

    def _repr_html_(self) -> str:
        summary = self._files.summary
        tiles = [(figure.text, figure.label) for figure in main_figures(summary)]
        report, name = self._folder / REPORT, f"{summary['scenario']}, seed {summary['seed']}"
        link = f' · <a href="{escape(os.path.relpath(report))}">report</a>' if report.exists() else ""
        return (
            f"<p><b>{escape(name)}</b>: {escape(verdict_text(summary))}</p>{html_tiles(tiles)}"
            f"<p><code>{escape(str(self._folder))}</code>{link}</p>"
        )
