"""Tables and figures as files: every format holds the same, and a paper can take it as it is."""

import re
import shutil
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from xml.etree import ElementTree as Xml

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.exports.chart import Chart, ChartPanel, ChartSeries
from emulator.exports.figure_file import to_plotly, write_figure
from emulator.exports.printed_table import IntervalCell, PrintedTable, latex_text, number_text
from emulator.exports.table_file import write_table
from wire.errors import InputError

TIDY = pa.table({"policy": ["peel", "a & b"], "mean": [0.5, None]})
PRINTED = PrintedTable(
    "NDCG@20 of 50 % & more ±: 95 %",
    "policy",
    ["1KiB", "1%"],
    {"peel": [IntervalCell(0.5, 0.01), IntervalCell(12.3456)], "a_b|c": [IntervalCell(None)] * 2},
)
CURVES = Chart(
    "bytes",
    [
        ChartPanel(
            "bytes stored",
            "NDCG@20",
            [
                ChartSeries("full", [256_000], [0.4], [0.01], level=True),
                ChartSeries("peel", [1024, 4096], [0.3, 0.39], [0.01, None]),
            ],
        )
    ],
    "±: over 5 seeds",
)
NAMES = Chart(
    "names", [ChartPanel("variant", "NDCG@10", [ChartSeries("", ["lean", "b = 1"], [1, 2], [0.1, 0.2])])], "±"
)


def test_a_table_in_every_format(tmp_path: Path) -> None:
    for name in ("x.csv", "x.parquet", "x.md", "deeper/x.tex"):
        write_table(TIDY, [PRINTED], tmp_path / name)
    assert pc.read_csv(tmp_path / "x.csv").to_pylist() == TIDY.to_pylist()
    assert pq.read_table(tmp_path / "x.parquet") == TIDY
    assert (tmp_path / "x.md").read_text() == (
        "| policy | 1KiB | 1% |\n| --- | ---: | ---: |\n"
        "| peel | 0.5000 ± 0.0100 | 12.35 |\n| a\\_b\\|c | - | - |\n\nNDCG@20 of 50 % & more ±: 95 %\n"
    )
    assert (tmp_path / "deeper" / "x.tex").read_text() == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table}\n\\centering\n\\caption{NDCG@20 of 50 \\% \\& more $\\pm$: 95 \\%}\n"
        "\\begin{tabular}{lrr}\n\\toprule\npolicy & 1KiB & 1\\% \\\\\n\\midrule\n"
        "peel & 0.5000 $\\pm$ 0.0100 & 12.35 \\\\\na\\_b\\textbar{}c & - & - \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


WORDS = r"\\(textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar)\{\}"


@given(st.text('ab 1\\{}$&#%_^~<>|±×é"', max_size=20))
def test_no_text_breaks_out_of_its_cell_in_latex(text: str) -> None:
    bare = re.sub(WORDS, "", latex_text(text)).replace(r"$\pm$", "").replace(r"$\times$", "")
    assert re.fullmatch(r'(\\[{}$&#%_]|[^\\{}$&#%_^~<>|"])*', bare)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX is installed")
def test_the_table_compiles(tmp_path: Path) -> None:
    document = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + PRINTED.latex() + r"\end{document}"
    )
    (tmp_path / "x.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.1235"), (1.0, "1.0000"), (-23.456, "-23.46"), (123456.7, "123,457")]
)
def test_a_number_has_four_digits(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize("chart", [CURVES, NAMES], ids=["curves", "names"])
def test_a_figure_in_every_format_is_the_same_bytes_again(chart: Chart, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("x.svg", "y.svg", "x.png", "y.png"):
        write_figure(chart, tmp_path / name)
    assert (tmp_path / "x.svg").read_bytes() == (tmp_path / "y.svg").read_bytes()
    assert Xml.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "x.png").read_bytes() == (tmp_path / "y.png").read_bytes()
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_needs_no_matplotlib_and_has_every_point(tmp_path: Path) -> None:
    write_figure(CURVES, tmp_path / "x.html")
    assert "Plotly" in (tmp_path / "x.html").read_text(encoding="utf-8")
    level, curve = to_plotly(CURVES).data
    assert (list(level.x), list(level.y)) == ([1024, 256_000], [0.4, 0.4])
    assert (list(curve.x), list(curve.y), list(curve.error_y.array)) == ([1024, 4096], [0.3, 0.39], [0.01, 0])
    (dots,) = to_plotly(NAMES).data
    assert (list(dots.y), list(dots.x)) == (["lean", "b = 1"], [1, 2])


def test_another_ending_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.pdf: a figure must end in \.svg, \.png, \.html"):
        write_figure(CURVES, tmp_path / "x.pdf")
    with pytest.raises(InputError, match=r"x\.xls: a table must end in \.csv, \.parquet, \.tex, \.md"):
        write_table(TIDY, [], tmp_path / "x.xls")
    assert list(tmp_path.iterdir()) == []


class WithoutMatplotlib(MetaPathFinder):
    """Finds no matplotlib."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def test_without_matplotlib_a_figure_for_print_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [WithoutMatplotlib(), *sys.meta_path])
    line = "a figure in SVG needs matplotlib, which is not installed: pip install 'peelfleet[plot]'"
    with pytest.raises(InputError) as caught:
        write_figure(CURVES, tmp_path / "x.svg")
    assert str(caught.value) == line
    write_figure(CURVES, tmp_path / "x.html")
