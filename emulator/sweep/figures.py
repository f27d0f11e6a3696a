"""The plot of a sweep: a metric of every variant, its mean over seeds, and each run."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from emulator.report.axes import BUDGET, HELD, transparent
from emulator.report.plotly_figures import base_figure, with_axis_style
from emulator.sweep.table import Row, SeedStatistics, variant_of


def combinations_figure(
    rows: Sequence[Row], statistics: Mapping[str, SeedStatistics], metric: str
) -> go.Figure:
    """Return the plot of *metric*.

    Args:
        rows: of the table, a row per run.
        statistics: of the metric, by variant, in order.
        metric: its name in the table.
    """
    known = {name: figure for name, figure in statistics.items() if figure.mean is not None}
    figure = base_figure(f"{metric}: mean over seeds ± standard deviation between them", 400)
    runs = [row for row in rows if row.get(metric) is not None]
    figure.add_scatter(
        name="runs",
        mode="markers",
        x=[variant_of(row) for row in runs],
        y=[row[metric] for row in runs],
        text=[f"seed {row['seed']}" for row in runs],
        marker={"color": transparent(BUDGET, 0.5), "size": 6},
    )
    figure.add_scatter(
        name="mean over seeds",
        mode="markers",
        x=list(known),
        y=[each.mean for each in known.values()],
        error_y={"type": "data", "array": [each.deviation or 0.0 for each in known.values()]},
        marker={"color": HELD, "size": 9},
    )
    axes = {
        "xaxis": {"type": "category", "categoryorder": "array", "categoryarray": list(statistics)},
        "yaxis": {"title": {"text": metric}, "automargin": True},
    }
    figure.update_layout(with_axis_style(axes), hovermode="closest")
    return figure
