"""The sections on a sweep: a small chart for each metric, with a point for each variant, and their table."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from emulator.exports.chart import ChartPanel
from emulator.report.axes import HELD, Json
from emulator.report.figures import ReportFigure, View
from emulator.report.page_parts import ReportRow, ReportSection, ReportTable
from emulator.sweep.exports import SweepMeans, sweep_means
from emulator.sweep.table import Row, read_sweep_table, variant_of
from wire.units import approximate_bytes

_ROW_PX: Final = 24
_MARGIN_PX: Final = 110
_CAPTION: Final = (
    "A point is a mean, a line through it its deviation. Look for variants whose lines do not overlap."
)


def sweep_sections(folder: Path) -> Iterator[ReportSection]:
    """Yield the sections on the sweep in *folder*.

    Raises:
        InputError: the folder is no sweep, or the table is damaged.
    """
    rows = read_sweep_table(folder).to_pylist()
    means = sweep_means(rows)
    finding = f"{means.caption}."
    figures = sweep_figures(means, rows)
    yield ReportSection("variants", "Variants", finding, _CAPTION, figures, beside=True)
    table = _means_table(means, rows)
    yield ReportSection("means", "Means of all variants", finding, "", [table], folded=True)


def sweep_figures(means: SweepMeans, rows: Sequence[Row]) -> list[ReportFigure]:
    """Return a figure for each metric of a sweep, of which *rows* are the table."""
    names = _short_names(rows)
    return [_figure(number, panel, names) for number, panel in enumerate(means.chart().panels)]


def _short_names(rows: Sequence[Row]) -> Mapping[str, str]:
    """Return the names of combinations, by variant: they are as short as they can be."""
    return {variant_of(row): str(row["combination"]) for row in rows}


def _means_table(means: SweepMeans, rows: Sequence[Row]) -> ReportTable:
    names, printed = _short_names(rows), means.printed()
    return ReportTable(
        "Means of all variants",
        [printed.corner, *printed.columns],
        [
            ReportRow([names.get(variant, variant), *(cell.text() for cell in cells)])
            for variant, cells in printed.rows.items()
        ],
    )


def _figure(number: int, panel: ChartPanel, short: Mapping[str, str]) -> ReportFigure:
    (series,) = panel.series
    names = [short.get(str(name), str(name)) for name in series.x]
    data: Sequence[Json] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": list(series.y),
            "y": names,
            "marker": {"color": HELD, "size": 9},
            "error_x": {"type": "data", "array": [width or 0.0 for width in series.half_widths]},
            "showlegend": False,
        }
    ]
    low, high = (pick(range(len(series.y)), key=lambda at: series.y[at]) for pick in (min, max))
    least, most = (_number(panel.y_label, series.y[at]) for at in (low, high))
    finding = (
        f"{least} in every variant."
        if series.y[low] == series.y[high]
        else f"From {least} ({names[low]}) to {most} ({names[high]})."
    )
    layout: Json = {
        "xaxis": {"automargin": True, "nticks": 5},
        "yaxis": {"automargin": True, "autorange": "reversed", "tickfont": {"size": 11}},
        "hovermode": "closest",
    }
    return ReportFigure(
        f"metric-{number}", panel.y_label, finding, "", [View("variants", data, layout)],
        height=_MARGIN_PX + _ROW_PX * len(series.x),
    )  # fmt: skip


def _number(metric: str, value: float) -> str:
    return approximate_bytes(value) if metric.endswith("bytes") and value >= 0 else f"{value:.4g}"
