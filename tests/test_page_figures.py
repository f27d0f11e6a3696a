"""Pages with figures: what a page shows is what its command gives today, so no figure outlives its code."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import clocks_page, selection, traffic
from benchmarks.quality import page
from benchmarks.quality.catalogue import SHARES
from benchmarks.quality.sources import open_source
from benchmarks.quality.tables import percent
from emulator.run_directory.layout import read_summary
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from emulator.simulation.model_cache import train_once
from emulator.sweep.run_sweep import SweepObserver, SweepOptions, run_sweep
from scenarios.language.load import load, parse
from scenarios.language.sweep_expansion import load_plan
from wire.codecs import Codec

ROOT = Path(__file__).parents[1]
REALTIME = ROOT / "docs" / "realtime.md"
METHOD = ROOT / "docs" / "method.md"
SELECTIONS = ROOT / "docs" / "selections.md"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page-stores")


def rows_between(page: Path, name: str) -> list[list[str]]:
    """Return the cells of a table of a page, the heading first."""
    table = traffic.table_pattern(name).search(page.read_text(encoding="utf-8"))
    assert table is not None, f"{page.name} must hold the table {name}"
    lines = [line for line in table[0].splitlines() if not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_realtime_shows_the_run_under_the_virtual_clock_of_today(tmp_path: Path, store: Path) -> None:
    scenario = parse(clocks_page.scenario_text(), "both-clocks.yaml", ["clock=virtual"])
    finished = run(scenario, RunOptions(tmp_path, None, None, store, 1), RunObserver())
    shown = {row[0]: row[1] for row in rows_between(REALTIME, clocks_page.NAME)[1:]}
    today = clocks_page.cells(read_summary(finished.folder))
    assert list(shown) == list(clocks_page.ROWS)
    for heading in clocks_page.WALL:
        del shown[heading], today[heading]
    assert shown == today, "run make docs-realtime"


def test_realtime_counts_as_many_changes_and_reports_under_both_clocks() -> None:
    rows = {row[0]: row[1:] for row in rows_between(REALTIME, clocks_page.NAME)}
    for heading in ("`budget_changes`, `budget_reports`", "uplink, p50 and p95 of that"):
        virtual, realtime = rows[heading]
        assert virtual == realtime


@pytest.mark.slow
def test_the_readme_says_what_the_quickstart_comes_to_today(tmp_path: Path, store: Path) -> None:
    scenario = load(ROOT / "scenarios" / "quickstart.yaml", ["clock=virtual"])
    summary = read_summary(run(scenario, RunOptions(tmp_path, None, None, store, 1), RunObserver()).folder)
    quality, traffic_share = summary["quality_ratio_to_full"], summary["delta_ratio"]
    assert isinstance(quality, float)
    assert isinstance(traffic_share, float)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"keeps {100 * quality:.1f} % of the recommendation quality of the whole embedding table" in readme
    assert f"on {100 * traffic_share:.1f} % of the bytes that full pushes would cost" in readme
    assert summary["over_budget_device_seconds"] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "only"),
    [("thrash", ()), ("policy-matrix", ("full", "delta", "debounce-15", "headroom-10", "levels-2"))],
)
def test_traffic_shows_the_sweeps_of_today(
    name: str, only: tuple[str, ...], tmp_path: Path, store: Path
) -> None:
    plan = load_plan(ROOT / "scenarios" / f"{name}.yaml")
    chosen = tuple(each for each in plan.combinations if not only or each.name in only)
    run_sweep(
        replace(plan, combinations=chosen), SweepOptions(out=tmp_path, jobs=2, store=store), SweepObserver()
    )
    today = traffic.markdown(traffic.read_figures(tmp_path)).splitlines()[2:]
    shown = {row[0]: row for row in rows_between(traffic.PAGE, name)[1:]}
    for line in today:
        row = [cell.strip() for cell in line.strip("|").split("|")]
        assert shown[row[0]] == row, "run make docs-traffic"


def test_method_compares_members_and_newcomers_at_the_budgets_of_today() -> None:
    tables = traffic.table_pattern(page.NAME).search(METHOD.read_text(encoding="utf-8"))
    assert tables is not None
    titles = [line for line in tables[0].splitlines() if line.startswith("### ")]
    for users in ("members", "newcomers", "one cut in time"):
        assert any(users in title for title in titles)
    end = f"| {' | '.join(map(percent, SHARES))} |"
    quality = [line for line in tables[0].splitlines() if line.startswith("| NDCG@20, as a share of")]
    assert len(quality) == len(titles)
    assert all(line.endswith(end) for line in quality), "run make bench-quality docs-quality"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_method_shows_what_the_rankings_are_worth_today(store: Path) -> None:
    source = open_source(None, selection.QUICKSTART)
    training = source.model.training
    trained, _ = train_once(source.interactions, training, store, lambda *_: None)
    narrow, model = selection.cut_into_slices(trained, training, Codec.CODED)
    compared, _ = selection.compare(source.interactions, narrow, model, selection.SHARES)
    full = selection.full_ndcg(trained)
    today = {row.policy: [f"{mean:.3f}" for mean in row.ndcg.mean(axis=1) / full] for row in compared}
    assert selection_rows() == today, "run make bench-selection and change the page"


def selection_rows() -> dict[str, list[str]]:
    """Return the rows of the page's first table of rankings: quickstart's data, blocks coded."""
    text = SELECTIONS.read_text(encoding="utf-8")
    part = text[text.index("| `coded` |") :]
    part = part[: part.index("| *MovieLens-100K*")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[3:]]
    shares = {row[0].replace("`", ""): row[1 : 1 + len(selection.SHARES)] for row in rows}
    return {name: [re.sub(r"^\.", "0.", cell) for cell in row] for name, row in shares.items()}
