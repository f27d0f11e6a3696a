"""A run from Python: what comes back, what is shown, and how mistakes are said."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from plotly.graph_objects import Figure

import peelfleet as pf
from devices.event_log import COLUMNS
from emulator.run_directory.event_reader import read_tables
from scenarios.language.load import dump


def test_a_run_gives_its_summary_its_scenario_and_its_verdicts(tiny: Path, finished: pf.Run) -> None:
    again = pf.Run(finished.path)
    assert again.summary == finished.summary
    assert (again.passed, again.thresholds) == (True, [])
    assert dump(again.scenario, ["data"]) == dump(pf.load(tiny), ["data"])
    assert repr(again).startswith(f"<Run '{finished.path}': Finished: the run set no thresholds. The fleet ")
    page = again._repr_html_()
    assert page.startswith("<p><b>tiny, seed 5</b>: Finished: the run set no thresholds.")
    assert page.count("<td") == 5
    assert page.endswith('report.html">report</a></p>')


def test_a_broken_threshold_is_no_error(tiny: Path, stores: Path, tmp_path: Path) -> None:
    broken = pf.run(
        tiny, {"thresholds": {"ndcg_at_10": ["value>0.99"]}, "stop_time": "1 min"},
        out=tmp_path, store=stores, report=False,
    )  # fmt: skip
    assert not broken.passed
    assert [(rule["metric"], rule["passed"]) for rule in broken.thresholds] == [("ndcg_at_10", False)]
    assert not (broken.path / "report.html").exists()
    assert broken.report().read_text().startswith("<!")


def test_event_tables_have_ids_labels_and_described_columns(finished: pf.Run) -> None:
    logged = read_tables(finished.path / "events")
    for name in COLUMNS:
        table = finished.events(name)
        assert table.num_rows == logged[name].num_rows
        assert all({b"description", b"unit"} <= (field.metadata or {}).keys() for field in table.schema)
    updates = finished.events("update")
    assert set(updates["device"].to_pylist()) <= set(finished.devices["device"].to_pylist())
    never = pc.sum(pc.equal(logged["update"]["applied_ns"], -1)).as_py()
    assert updates["applied_ns"].null_count == never > 0
    assert finished.metrics.column_names == ["metric", "dimension", "value", "statistic", "number"]


def test_pandas_and_polars_take_the_tables(finished: pf.Run) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.from_arrow(finished.events("budget"))
    assert frame["budget_bytes"].to_list() == finished.events("budget")["budget_bytes"].to_pylist()


def test_plots_are_those_of_the_report(finished: pf.Run) -> None:
    assert finished.plots == ("budget", "quality", "devices", "traffic", "latency", "elasticity")
    for name in finished.plots:
        drawn = finished.plot(name)
        assert isinstance(drawn, Figure)
        assert drawn.data
        assert drawn.layout.title.text
    whole, phones = finished.plot("latency"), finished.plot("latency", "phone")
    assert sum(phones.data[0].y) < sum(whole.data[0].y)


def test_a_changed_key_is_that_of_the_command_line(tiny: Path) -> None:
    changed = pf.load(tiny, {"fleet[phone].count": 3, "updates.retry_after": "5 s"}, seed=9, name="other")
    assert (changed.name, changed.seed, changed.fleet[0].count) == ("other", 9, 3)
    keys = {"fleet[0].count": 3, "updates.retry_after": "5 s", "seed": 9, "name": "other"}
    assert changed == pf.load(pf.load(tiny), keys)
    mapping = {"version": 1, "name": "made", "stop_time": "1 min", "fleet": [{"name": "phone", "count": 2}]}
    assert pf.load(mapping).fleet[0].count == 2
    assert "quickstart" in pf.scenarios()


MISTAKES: dict[str, tuple[Callable[[Path, pf.Run], object], str]] = {
    "a key": (
        lambda tiny, _: pf.run(tiny, {"fleet[0].cuont": 3}),
        r"^--set fleet\[0\].cuont=3: fleet\[0\]: unknown key 'cuont'; did you mean 'count'",
    ),
    "a value": (
        lambda tiny, _: pf.load(tiny, seed=object()),
        r"^seed\(=<object .*>\) must be text, a number, a list or a mapping$",
    ),
    "a name": (lambda *_: pf.run("quickstrat"), "did you mean 'quickstart'"),
    "workers": (lambda tiny, _: pf.run(tiny, workers=0), r"^workers\(=0\) must be a whole number above 0$"),
    "executor": (
        lambda tiny, _: pf.run(tiny, executor="ray", clock="lockstep"),
        r"^executor\(=ray\) must be left out: the clock is lockstep$",
    ),
    "seeds": (lambda tiny, _: pf.sweep(tiny, seeds="x"), r"^seeds\(='x'\) must be seeds such as"),
    "an axis": (
        lambda tiny, _: pf.sweep(tiny, over={"cloud.workers": "2"}),
        r"^over: cloud.workers\(='2'\) must be a list of values$",
    ),
    "an executor": (lambda tiny, _: pf.sweep(tiny, seeds=[1], executor="x"), r"^executor\(='x'\) must"),
    "a folder": (lambda tiny, _: pf.Run(tiny.parent), r"no run directory: summary.json: "),
    "a table": (lambda _, run: run.events("updates"), r"^events\(='updates'\) must be one of budget, "),
    "a plot": (lambda _, run: run.plot("x"), r"^plot\(='x'\) must be one of budget, quality, "),
    "a view": (lambda _, run: run.plot("quality", "x"), r"must be one of whole fleet, phone, tvbox$"),
    "a side": (lambda _, run: pf.compare(run), "compare needs two sides"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_of_one_class(mistake: str, tiny: Path, finished: pf.Run) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(pf.InputError, match=message) as raised:
        call(tiny, finished)
    assert "\n" not in str(raised.value)
    assert raised.value._render_traceback_()[0] == f"InputError: {raised.value.lines[0]}"


def test_what_memory_will_not_hold_is_refused_unless_it_is_forced(
    tiny: Path, stores: Path, finished: pf.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has no free memory here."""
    monkeypatch.setattr("emulator.space.check_space.free_memory_bytes", lambda: 1)
    calls: list[Callable[[bool], pf.Run | pf.Sweep]] = [
        lambda force: pf.run(tiny, out=tmp_path / "run", store=stores, force=force),
        lambda force: pf.replay(finished, out=tmp_path / "replay", store=stores, force=force),
        lambda force: pf.sweep(tiny, seeds=[1], out=tmp_path / "sweep", store=stores, force=force),
    ]
    for call in calls:
        with pytest.raises(pf.InputError, match=r"of memory, .*; --force starts it all the same$"):
            call(False)
        with pytest.warns(pf.PeelfleetWarning, match="of memory"):
            assert call(True).passed


DOUBTFUL = {
    "fleet[0].count": 40, "fleet[1].count": 20, "sample": "5 %", "cloud.workers": 20, "stop_time": "2 min",
}  # fmt: skip
"""A sample of a fleet whose reports wait for workers: the waits are upper bounds, which a warning says."""


def test_nothing_is_printed_and_a_warning_shows_the_line_of_the_program(
    tiny: Path, stores: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pf.run(tiny, DOUBTFUL, out=tmp_path, store=stores, report=False)
    assert capfd.readouterr() == ("", "")
    assert {warning.filename for warning in caught} == {__file__}
    assert {warning.category for warning in caught} == {pf.PeelfleetWarning}


def test_a_warning_that_is_an_error_is_raised_when_the_run_is_there(
    tiny: Path, stores: Path, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(pf.PeelfleetWarning, match="sample"):
            pf.run(tiny, DOUBTFUL, out=tmp_path, store=stores, report=False)
    (folder,) = tmp_path.iterdir()
    assert pf.Run(folder).summary["sampled_devices"] == 3
