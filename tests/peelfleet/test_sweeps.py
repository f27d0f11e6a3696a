"""Sweeps, comparisons, replays and models from Python."""

from pathlib import Path

import pytest
from plotly.graph_objects import Figure

import peelfleet as pf


@pytest.fixture(scope="module")
def swept(tiny: Path, stores: Path, tmp_path_factory: pytest.TempPathFactory) -> pf.Sweep:
    """Two seeds of a fleet that evicts by itself, or waits for the cloud."""
    return pf.sweep(
        tiny, {"stop_time": "10 min"}, over={"updates.local_eviction": [True, False]}, seeds=range(1, 3),
        executor="in-process", out=tmp_path_factory.mktemp("api-sweep") / "swept", store=stores,
    )  # fmt: skip


def test_a_sweep_gives_its_table_its_runs_and_means(swept: pf.Sweep) -> None:
    again = pf.Sweep(swept.path)
    assert again.table.equals(swept.table)
    assert again.combinations == ("local_eviction=true", "local_eviction=false")
    assert [(run.summary["seed"], run.scenario.updates.local_eviction) for run in again.runs] == [
        (1, True), (2, True), (1, False), (2, False),
    ]  # fmt: skip
    means = again.means(["update_bytes"]).to_pylist()
    of_first = [run.summary["update_bytes"] for run in again.runs[:2]]
    assert means[0]["mean"] == sum(of_first) / 2
    assert [row["ratio"] for row in means] == [1.0, means[1]["mean"] / means[0]["mean"]]
    again.write_table(swept.path / "means.md", ["update_bytes"])
    assert "| updates.local\\_eviction=true |" in (swept.path / "means.md").read_text()
    assert repr(again) == f"<Sweep '{again.path}': 4 runs of 2 combinations, passed>"
    assert again._repr_html_().count("<tr>") == 3


def test_a_sweep_is_plotted_with_every_run(swept: pf.Sweep) -> None:
    drawn = swept.plot("update_bytes")
    assert isinstance(drawn, Figure)
    runs, means = drawn.data
    assert list(runs.y) == swept.table["update_bytes"].to_pylist()
    assert list(means.y) == swept.means(["update_bytes"])["mean"].to_pylist()
    with pytest.raises(pf.InputError, match="metric"):
        swept.plot("update_byte")


def test_a_comparison_is_a_table_with_verdicts(swept: pf.Sweep) -> None:
    of_sweep = swept.compare()
    of_lists = pf.compare(swept.runs[:2], swept.runs[2:])
    values = ("metric", "baseline_value", "compared_value", "low", "high", "verdict")
    assert of_lists.table.select(values).equals(of_sweep.table.select(values))
    rows = {row["metric"]: row for row in of_sweep.table.to_pylist()}
    assert rows["over_budget_share"]["baseline_value"] == 0 < rows["over_budget_share"]["compared_value"]
    assert of_sweep.differs
    lines = str(of_sweep).splitlines()
    assert "  updates.local_eviction: true -> false" in lines
    assert lines[-1].startswith("verdict: differs in ")
    assert lines[-1] in repr(of_sweep)
    assert of_sweep._repr_html_().count("<tr>") == len(rows) + 1


def test_a_replay_has_the_log_of_its_recording(finished: pf.Run, stores: Path, tmp_path: Path) -> None:
    again = pf.replay(finished, out=tmp_path, store=stores, workers=1)
    assert again.summary["replay_log_equal"] is True
    assert again.summary["event_log_sha256"] == finished.summary["event_log_sha256"]


def test_a_trained_model_stands_where_a_folder_can(tiny: Path, stores: Path, tmp_path: Path) -> None:
    model = pf.train(tiny, store=stores)
    assert model.facts["model_version"] == model.version
    assert str(model).splitlines()[-1] == f"store: {model.path}"
    assert model.version in model._repr_html_()
    named = pf.run(tiny, {"stop_time": "1 min", "model": {"store": model}}, out=tmp_path, report=False)
    assert named.summary["model_version"] == model.version
