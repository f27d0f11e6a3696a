"""One page over several runs: side by side with the statistics of `compare`, and over a sweep."""

import re
from pathlib import Path

import pytest

from emulator.compare.compare_runs import compare_runs
from emulator.compare.descriptions import conclusion
from emulator.runs_report.comparison_sections import comparison_sentence
from emulator.runs_report.page import is_sweep, write_runs_report
from emulator.sweep.run_sweep import SweepObserver, SweepOptions, run_sweep
from scenarios.language.sweep_expansion import load_plan
from tests.emulator.report.test_report import traces, views_of
from tests.emulator.scenarios import TINY, Runner
from wire.errors import InputError


def test_two_runs_stand_side_by_side_with_the_statistics_of_compare(runner: Runner, tmp_path: Path) -> None:
    names = [
        str(runner.run(TINY, "clock=virtual", f"updates.headroom={headroom} %").folder)
        for headroom in (0, 30)
    ]
    page = write_runs_report(names, tmp_path / "both.html").read_text(encoding="utf-8")
    (comparison,) = compare_runs(names)
    assert comparison_sentence(comparison) in page
    assert conclusion(comparison).removeprefix("verdict: ").capitalize() in page
    assert "<li>updates.headroom: 0 % -&gt; 30 %</li>" in page
    effects = page.split('id="comparison-1"')[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">(\w+)</th>', effects) == [*comparison.metrics]
    for name in ("quality", "traffic", "held", "latency", "elasticity"):
        curves = traces(views_of(page, name)[0])
        assert [each for each in curves if each != "whole table, first run"] == [
            Path(name).name for name in names
        ]
    assert len(page) < 2_000_000
    assert (
        re.search(
            r"https?:|//cdn|\bsrc=|@import|<link|<iframe", page.split("</style>")[1].split("<script>")[0]
        )
        is None
    )


@pytest.mark.slow
def test_a_sweep_has_a_page_of_its_own(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    plan = load_plan(tmp_path / "tiny.yaml", ["clock=virtual"], ["updates.headroom=0 %,20 %,40 %"], (1, 2))
    folder = tmp_path / "headroom"
    run_sweep(plan, SweepOptions(out=folder, store=store_root), SweepObserver())
    assert is_sweep(folder)
    page = write_runs_report([str(folder)], folder / "report.html").read_text(encoding="utf-8")
    assert page.count('class="card section" id="comparison-') == 2
    assert "2 of 2 passed" in page
    assert views_of(page, "metric-0")[0]["data"][0]["y"] == ["headroom=0%", "headroom=20%", "headroom=40%"]
    assert "Means of all variants" in page


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run directory, nor a folder of them"):
        write_runs_report([str(tmp_path), str(tmp_path)], tmp_path / "page.html")
