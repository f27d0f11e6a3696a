"""The figure: quality against bytes, every method a curve with its band. One file, nothing fetched."""

from pathlib import Path

import plotly.graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from benchmarks.quality.intervals import Curves

TITLES = {
    "ndcg_at_20": "NDCG@20",
    "recall_at_20": "Recall@20",
    "tail_recall_at_20": "Tail recall@20",
    "coverage": "Coverage",
}
FIRST_SHOWN = ("full", "peel:", "head:entropy", "head:int", "svd", "retrained:int", "uniform", "score-list")

_SURFACE = {
    "fill": "toself",
    "line": {"width": 0},
    "opacity": 0.2,
    "mode": "lines",
    "hoverinfo": "skip",
    "showlegend": False,
}


def write_figure(curves: Curves, title: str, file: Path) -> None:
    """Draw all methods; a click in the legend shows or hides one."""
    figure = make_subplots(
        rows=2, cols=2, subplot_titles=list(TITLES.values()), horizontal_spacing=0.08, vertical_spacing=0.12
    )
    palette = [*qualitative.D3, *qualitative.Set2, *qualitative.Dark2]
    for number, method in enumerate(curves.methods()):
        color = palette[number % len(palette)]
        for index, metric in enumerate(TITLES):
            cell = {"row": index // 2 + 1, "col": index % 2 + 1}
            for trace in _traces(curves, method, metric, color, legend=index == 0):
                figure.add_trace(trace, **cell)
    figure.update_xaxes(type="log", title_text="bytes stored")
    figure.update_layout(title=title, height=920, template="plotly_white", hovermode="closest")
    figure.write_html(file, include_plotlyjs=True)


def _traces(curves: Curves, method: str, metric: str, color: str, *, legend: bool) -> list[go.Scatter]:
    shares = [
        share for share in curves.shares(method) if curves.bytes[method, share] > 0
    ]  # the axis is logarithmic
    bands = [curves.bands[method, share][metric] for share in shares]
    sizes = [curves.bytes[method, share] for share in shares]
    common = {
        "legendgroup": method,
        "name": method,
        "visible": True if method.startswith(FIRST_SHOWN) else "legendonly",
    }
    if not shares:
        return []
    edge = go.Scatter(
        x=[*sizes, *reversed(sizes)],
        y=[*(band.high for band in bands), *(band.low for band in reversed(bands))],
        **_SURFACE,
        fillcolor=color,
        **common,
    )
    curve = go.Scatter(
        x=sizes,
        y=[band.mean for band in bands],
        mode="lines+markers",
        line={"color": color, "width": 3 if method.startswith("peel:") else 1.5},
        error_y=_bars(curves, method, metric) if len(shares) == 1 else None,
        showlegend=legend,
        hovertemplate="%{y:.4f} at %{x:,.0f} B",
        **common,
    )
    return [edge, curve]


def _bars(curves: Curves, method: str, metric: str) -> dict[str, object]:
    """Return the band of a method that is a single point."""
    band = curves.bands[method, curves.shares(method)[0]][metric]
    return {"array": [band.high - band.mean], "arrayminus": [band.mean - band.low], "symmetric": False}
