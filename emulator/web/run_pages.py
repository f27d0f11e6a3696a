"""The pages of ``peelfleet ui``: runs and sweeps, from fleet to group to device, and side by side."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from emulator.compare.compare_runs import compare_runs
from emulator.compare.descriptions import metric_rows
from emulator.metrics.per_device import COMPARED_METRICS, MeasuredRun
from emulator.metrics.shown_figures import main_figures
from emulator.report import page_parts
from emulator.report.page import write_report
from emulator.report.tables import list_warnings, thresholds_table
from emulator.report.verdict import judgement, verdict_numbers
from emulator.run_directory.layout import REPORT
from emulator.run_directory.run_files import RunFiles
from emulator.runs_report.comparison_sections import comparison_sections, comparison_sentence
from emulator.runs_report.sweep_section import sweep_figures
from emulator.sweep.exports import sweep_means
from emulator.sweep.table import broken_thresholds, read_sweep_table
from emulator.web.device_charts import device_history
from emulator.web.live_library import LiveLibrary
from emulator.web.run_library import RunLibrary
from emulator.web.run_queue import RunQueue
from emulator.web.templates_of_ui import answer_with, show_page
from wire.errors import InputError
from wire.units import approximate_bytes

PAGES: Final = Path(__file__).parent / "pages"
SHOWN_DEVICES: Final = 200
GROUP_COLUMNS: Final = {
    "quality_ratio_to_full": "of full quality",
    "ndcg_at_10": "NDCG@10",
    "over_budget_share": "of time over budget",
    "update_bytes_per_device_hour": "update bytes an hour",
    "reports_per_device_hour": "reports an hour",
    "update_latency_mean_seconds": "mean latency",
}
"""The metrics of groups and devices, with their headings."""
_PLACE: Final = {metric.name: place for place, metric in enumerate(COMPARED_METRICS)}

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def run_routes(library: RunLibrary, live: LiveLibrary, queue: RunQueue) -> list[BaseRoute]:
    """Return the routes.

    Args:
        library: the runs.
        live: those under way, for the first page.
        queue: those that wait to begin.
    """
    pages = _Pages(library, live, queue)
    return [
        Route("/", answer_with(pages.index)),
        Route("/compare", answer_with(pages.compare)),
        Route("/sweeps/{name}", answer_with(pages.sweep)),
        Route("/report/{name:path}", answer_with(pages.report)),
        Route("/group/{name:path}", answer_with(pages.group)),
        Route("/device/{name:path}", answer_with(pages.device)),
        Route("/run/{name:path}", answer_with(pages.run)),
        Mount("/pages", StaticFiles(directory=PAGES)),
        Mount("/parts", StaticFiles(directory=page_parts.PAGES)),
    ]


class _Pages:
    """The pages, each a function from a request to a response; they read files, so threads run them."""

    def __init__(self, library: RunLibrary, live: LiveLibrary, queue: RunQueue) -> None:
        self._library = library
        self._live = live
        self._queue = queue

    def index(self, _: Request) -> Response:
        """All runs and sweeps."""
        runs = [
            {
                "name": run.name,
                "cells": _run_cells(run.summary),
                "passed": not broken_thresholds(run.summary),
                "finished": f"{run.finished:%Y-%m-%d %H:%M}",
            }
            for run in self._library.runs()
        ]
        return show_page(
            "index.html", title="Runs", folder=str(self._library.folder), runs=runs,
            sweeps=self._library.sweeps(), running=self._live.running(),
            waiting=[begun for begun in self._queue.started if begun.process is None or begun.failure()],
        )  # fmt: skip

    def run(self, request: Request) -> Response:
        """One run: its verdict, its figures, its groups and the devices with the lowest quality."""
        name = request.path_params["name"]
        files = RunFiles(self._library.run_folder(name))
        measured = self._library.measured(name)
        groups = files.devices().column("group").to_pylist()
        table = _group_table(measured, groups)
        if request.query_params.get("format") == "csv":
            return _csv(("group", *GROUP_COLUMNS), table, f"{_file_name(name)}-groups.csv")
        return show_page(
            "run.html", title=name, name=name, judgement=judgement(files.summary),
            numbers=verdict_numbers(files.summary), passed=not broken_thresholds(files.summary),
            warnings=list_warnings(files.summary), figures=main_figures(files.summary),
            rules=thresholds_table(files.summary), columns=GROUP_COLUMNS.values(), groups=_shown(table),
            worst=_shown(_worst_devices(measured, groups, 10)), scenario=files.scenario,
        )  # fmt: skip

    def group(self, request: Request) -> Response:
        """The devices of one group, those with the lowest quality first."""
        name, group = request.path_params["name"], request.query_params.get("group", "")
        files = RunFiles(self._library.run_folder(name))
        groups = files.devices().column("group").to_pylist()
        if group not in groups:
            raise InputError(f"group(={group!r}) is not one of {name}")
        measured = self._library.measured(name)
        rows = _worst_devices(measured, groups, len(groups), group)
        if request.query_params.get("format") == "csv":
            return _csv(("device", "group", *GROUP_COLUMNS), rows, f"{_file_name(name)}-{group}.csv")
        return show_page(
            "group.html", title=f"{group} of {name}", name=name, group=group, columns=GROUP_COLUMNS.values(),
            devices=_shown(rows[:SHOWN_DEVICES]), count=len(rows),
        )  # fmt: skip

    def device(self, request: Request) -> Response:
        """One device over time, with its exchanges."""
        name = request.path_params["name"]
        history = device_history(self._library.measured(name), request.query_params.get("device", ""))
        return show_page(
            "device.html", title=f"{history.name} of {name}", name=name, history=history, under_way=False
        )

    def report(self, request: Request) -> Response:
        """The report of a run; it is made now if the run has none."""
        folder = self._library.run_folder(request.path_params["name"])
        if not (folder / REPORT).is_file():
            write_report(folder)
        response = FileResponse(folder / REPORT)
        # The report has scripts inside, and a policy of its own that allows just these.
        response.headers["content-security-policy"] = "frame-ancestors 'none'"
        return response

    def compare(self, request: Request) -> Response:
        """Two or more runs side by side, with the statistics of `peelfleet compare`."""
        names = request.query_params.getlist("run")
        if len(names) < 2:
            raise InputError("choose two runs or more: the first is the baseline")
        order = sorted(names, key=lambda name: name != request.query_params.get("baseline"))
        comparisons = compare_runs([str(self._library.run_folder(name)) for name in order])
        if request.query_params.get("format") == "csv":
            rows = [row for each in comparisons for row in metric_rows(each)]
            return _csv(list(rows[0]), [list(row.values()) for row in rows], "compare.csv")
        return show_page(
            "compare.html", title="Side by side", names=order, sections=comparison_sections(comparisons),
            lines=[*map(comparison_sentence, comparisons)],
        )  # fmt: skip

    def sweep(self, request: Request) -> Response:
        """A sweep: a small chart for each metric, a point for each variant."""
        name = request.path_params["name"]
        table = read_sweep_table(self._library.sweep_folder(name))
        if request.query_params.get("format") == "csv":
            sink = pa.BufferOutputStream()
            pc.write_csv(table, sink)
            return _download(sink.getvalue().to_pybytes(), f"{name}.csv")
        rows = table.to_pylist()
        means = sweep_means(rows)
        charts = sweep_figures(means, rows)
        return show_page("sweep.html", title=name, name=name, caption=means.caption, charts=charts)


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]], name: str) -> Response:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return _download(text.getvalue().encode(), name)


def _download(content: bytes, name: str) -> Response:
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="text/csv", headers=disposition)


def _file_name(name: str) -> str:
    return name.replace("/", "-")


def _run_cells(summary: Mapping[str, object]) -> Sequence[str]:
    """Return the cells of a run in the list."""
    ratio, delta = summary.get("quality_ratio_to_full"), summary.get("delta_ratio")
    return [
        str(summary.get("scenario")), str(summary.get("seed")), str(summary.get("clock")),
        f"{summary.get('devices', 0):,}", _share(ratio), _share(delta),
    ]  # fmt: skip


def _share(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "–"


def _group_table(run: MeasuredRun, groups: Sequence[str]) -> list[list[object]]:
    """Return a row per group: its name and its `GROUP_COLUMNS`."""
    above, below = run.sums
    names, place = np.unique(np.array(groups), return_inverse=True)
    sums = [np.stack([np.bincount(place, column) for column in side.T], axis=1) for side in (above, below)]
    return [
        [str(name), *(_ratio(sums[0][row], sums[1][row], column) for column in GROUP_COLUMNS)]
        for row, name in enumerate(names)
    ]


def _worst_devices(
    run: MeasuredRun, groups: Sequence[str], count: int, group: str | None = None
) -> list[list[object]]:
    """Return a row per device, those of lowest quality first: id, group and `GROUP_COLUMNS`."""
    above, below = run.sums
    place = _PLACE["quality_ratio_to_full"]
    with np.errstate(divide="ignore", invalid="ignore"):
        quality = np.where(below[:, place] > 0, above[:, place] / below[:, place], np.inf)
    chosen = [number for number in np.argsort(quality, kind="stable") if group in (None, groups[number])]
    ids = run.ids
    return [
        [
            ids[number].as_py(),
            groups[number],
            *(_ratio(above[number], below[number], column) for column in GROUP_COLUMNS),
        ]
        for number in map(int, chosen[:count])
    ]


def _ratio(above: Any, below: Any, column: str) -> float | None:  # Any: rows of arrays
    place = _PLACE[column]
    return float(above[place] / below[place]) if below[place] > 0 else None


def _shown(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return rows as texts for people; the last cells are the `GROUP_COLUMNS`."""
    width = len(GROUP_COLUMNS)
    return [[*map(str, row[:-width]), *(map(_cell, GROUP_COLUMNS, row[-width:]))] for row in rows]


def _cell(column: str, value: object) -> str:
    if not isinstance(value, float):
        return "–"
    if "bytes" in column:
        return approximate_bytes(value)
    if column.endswith(("share", "to_full")):
        return _share(value)
    return f"{value:.4g} s" if column.endswith("seconds") else f"{value:.4g}"
