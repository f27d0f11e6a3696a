"""Figures as files: SVG and PNG for print by matplotlib, an extra; a page of HTML by plotly."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emulator.exports.chart import Chart, ChartPanel, ChartSeries
from wire.errors import InputError
from wire.extras import needs_extra
from wire.output_files import atomic_file, naming
from wire.units import BYTE_UNITS, approximate_bytes

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS: Final = (".svg", ".png", ".html")
COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
"""Okabe and Ito's colours, which people with any colour vision tell apart, and one more."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_LEVEL_COLOR: Final = "#777777"
_LEVEL_DASHES: Final = (("--", "dash"), (":", "dot"), ("-.", "dashdot"), ("-", "solid"))
"""Of lines to compare with, for matplotlib and for plotly."""
_DASHES: Final = ("-", "--", "-.", ":")
"""With the markers they tell curves apart in black and white."""
_SYMBOLS: Final = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star",
)  # fmt: skip
_PANEL_INCHES: Final = (3.4, 2.6)
"""Width of a column of most two-column papers, and a height that suits it."""
_DOTS_PER_INCH: Final = 300
_SETTINGS: Final = {
    "font.size": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "peelfleet",
    "axes.linewidth": 0.6,
}
_HANDLE_CHARACTERS: Final = 8
_LEGEND_CHARACTERS: Final = 60
"""Characters of a legend's line below one panel, a name's line and the space beside it counted as
`_HANDLE_CHARACTERS`."""
_LEGEND_LINE_INCHES: Final = 0.17
_CAPTION_CHARACTERS: Final = 72
"""Characters of a caption's line below one panel."""
_FEW_TICKS: Final = 4
"""Most ticks of an axis of numbers that may be long."""
_TICKS: Final = 7
"""Most ticks of an axis of bytes."""


def check_figure_file(file: Path) -> None:
    """Check the ending of *file*, and that it can be drawn.

    Raises:
        InputError: it is none of a figure, or matplotlib is not installed.
    """
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{file}: a figure must end in {', '.join(ENDINGS)}")
    if ending != ".html":
        with needs_extra("plot", ("matplotlib",), f"a figure in {ending[1:].upper()}"):
            import matplotlib  # noqa: F401


def write_figure(chart: Chart, file: Path) -> None:
    """Draw *chart* into *file*, whole or not at all; its ending decides how.

    Raises:
        InputError: the ending is none of a figure, or matplotlib is not installed.
        OSError: it cannot be written.
    """
    check_figure_file(file)
    ending = file.suffix.lower()
    with naming(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as draft:
            if ending == ".html":
                draft.write_text(to_plotly(chart).to_html(include_plotlyjs=True), encoding="utf-8")
            else:
                _print(chart, draft, ending[1:])


def to_plotly(chart: Chart) -> "go.Figure":
    """Return *chart* as a figure for a page or a notebook."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=max(len(chart.panels), 1), horizontal_spacing=0.1)
    for column, panel in enumerate(chart.panels, start=1):
        for number, series in _numbered(panel):
            figure.add_trace(_trace(chart, panel, series, number, legend=column == 1), row=1, col=column)
        values, names = panel.y_label, panel.x_label
        if chart.kind == "bytes":
            figure.update_xaxes(type="log", title_text=names, row=1, col=column)
            figure.update_yaxes(title_text=values, row=1, col=column)
        else:
            figure.update_xaxes(title_text=values, row=1, col=column)
            figure.update_yaxes(autorange="reversed", row=1, col=column)
    figure.update_layout(
        template="plotly_white",
        height=460,
        legend={"orientation": "h", "y": -0.25},
        title={"text": chart.caption, "font": {"size": 13}},
        showlegend=chart.kind == "bytes",
    )
    return figure


def _numbered(panel: ChartPanel) -> Iterator[tuple[int, ChartSeries]]:
    """Yield each series with the number by which it is styled; levels have numbers of their own."""
    for level in (True, False):
        yield from enumerate(series for series in panel.series if series.level is level)


def _trace(
    chart: Chart, panel: ChartPanel, series: ChartSeries, number: int, *, legend: bool
) -> "go.Scatter":
    import plotly.graph_objects as go

    color = COLORS[number % len(COLORS)]
    if series.level:
        sizes = [size for each in panel.series for size in each.x if not each.level or each is series]
        return go.Scatter(
            x=[min(sizes), max(sizes)],
            y=[series.y[0]] * 2,
            mode="lines",
            line={"color": _LEVEL_COLOR, "dash": _LEVEL_DASHES[number % len(_LEVEL_DASHES)][1], "width": 1},
            name=series.name,
            legendgroup=series.name,
            showlegend=legend,
        )
    error = {"type": "data", "array": [width or 0.0 for width in series.half_widths], "thickness": 1.2}
    style = {
        "marker": {"color": color, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
        "line": {"color": color},
        "name": series.name,
        "legendgroup": series.name,
        "showlegend": legend,
    }
    if chart.kind == "names":
        return go.Scatter(x=series.y, y=series.x, error_x=error, mode="markers", **style)
    return go.Scatter(x=series.x, y=series.y, error_y=error, mode="lines+markers", **style)


def _print(chart: Chart, draft: Path, ending: str) -> None:
    """Draw *chart* with matplotlib, without its global state; the same chart gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        width, height = _PANEL_INCHES
        lines = max((len(panel.series[0].x) for panel in chart.panels if panel.series), default=0)
        height = height if chart.kind == "bytes" else max(1.2, 0.25 * lines + 0.8)
        figure = Figure((width * max(len(chart.panels), 1), height), layout="constrained")
        axes = figure.subplots(1, max(len(chart.panels), 1), squeeze=False, sharey=chart.kind == "names")[0]
        for at, panel in zip(axes, chart.panels, strict=False):
            for number, series in _numbered(panel):
                _draw(chart, at, series, number)
            _label(chart, at, panel.x_label, panel.y_label)
        if chart.kind == "names":
            axes[0].invert_yaxis()
        _add_words(chart, figure, axes[0])
        metadata = {"Date": None} if ending == "svg" else {"Software": None}
        figure.savefig(draft, format=ending, dpi=_DOTS_PER_INCH, metadata=metadata)


def _draw(chart: Chart, axes: "Axes", series: ChartSeries, number: int) -> None:
    if series.level:
        dashes = _LEVEL_DASHES[number % len(_LEVEL_DASHES)][0]
        axes.axhline(series.y[0], color=_LEVEL_COLOR, linewidth=0.8, linestyle=dashes, label=series.name)
        return
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    widths = [width or 0.0 for width in series.half_widths]
    style = {"color": color, "marker": marker, "markersize": 3.5, "capsize": 1.5, "elinewidth": 0.8}
    if chart.kind == "names":
        axes.errorbar(series.y, list(series.x), xerr=widths, linestyle="none", **style)
        return
    dashes = _DASHES[number % len(_DASHES)] if len(series.x) > 1 else "none"
    axes.errorbar(
        list(series.x), series.y, yerr=widths, linestyle=dashes, linewidth=1, label=series.name, **style
    )


def _label(chart: Chart, axes: "Axes", names: str, values: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.grid(visible=True, linewidth=0.3, color="#cccccc")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.kind == "names":
        axes.margins(y=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(_FEW_TICKS))
        axes.set_xlabel(values)
        return
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=_TICKS))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _size(value)))
    axes.set_xlabel(names)
    axes.set_ylabel(values)


def _size(value: float) -> str:
    """Return a power of two bytes as text, such as ``64 KiB``."""
    return f"{value:g} B" if value < BYTE_UNITS["KiB"] else approximate_bytes(value)


def _add_words(chart: Chart, figure: "Figure", first: "Axes") -> None:
    panels = max(len(chart.panels), 1)
    caption = "\n".join(textwrap.wrap(chart.caption, _CAPTION_CHARACTERS * panels))
    if chart.kind == "names":
        figure.supxlabel(caption, fontsize=6, color="#444444")
        return
    handles, names = first.get_legend_handles_labels()
    # A column has the width of the longest name, and that of its line.
    width = max(map(len, names), default=0) + _HANDLE_CHARACTERS
    columns = max(1, min(len(names), _LEGEND_CHARACTERS * panels // width))
    rows = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE_INCHES * max(rows - 1, 0))
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(handles, names, title=caption, title_fontsize=6, **place)
