"""Comparisons print the figures of summary.json, whatever happens to users, models and links."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from emulator.cli.compare import write
from emulator.compare.compare_runs import compare_runs
from emulator.compare.descriptions import as_plain
from emulator.metrics.per_device import COMPARED_METRICS
from emulator.run_directory.layout import read_summary
from tests.emulator.event_logs import part
from tests.emulator.scenarios import TINY, Runner
from wire.errors import InputError

HANDOVERS = "actions=[{type: new_users, at: 5 min, within: 4 min, select: {share: 60 %}}]"
ROLLOUT = "rollout={at: 5 min, seed: 7, groups: 3, pause: 1 min, success_threshold: 60 %}"
FAULTS = (
    "faults=[{type: loss, at: 2 min, duration: 4 min, share: 60 %}, "
    "{type: broker_down, at: 8 min, duration: 1 min}, "
    "{type: duplicates, at: 11 min, duration: 4 min, share: 50 %}]"
)
ASK_FIRST = "updates.local_eviction=false"
TOTALS = {
    "reports": "budget_reports",
    "updates_applied": "updates_applied",
    "update_bytes": "update_bytes",
    "wire_bytes": "update_wire_bytes",
    "report_bytes": "report_bytes",
    "report_wire_bytes": "report_wire_bytes",
    "wasted_bytes": "wasted_bytes",
}


def figures(summaries: list[dict[str, Any]], hours: float) -> dict[str, float]:
    """Return what summaries say of each metric, as the mean over runs."""
    found = {}
    latencies = {"update_latency_mean_seconds": "mean", "update_latency_p95_seconds": "p95"}
    for name in (metric.name for metric in COMPARED_METRICS):
        counted = TOTALS.get(name.removesuffix("_per_device_hour"))
        each = [
            summary["update_latency_seconds"][latencies[name]]
            if name in latencies
            else summary[counted] / hours
            if counted
            else summary[name]
            for summary in summaries
        ]
        found[name] = math.fsum(each) / len(each)
    return found


def hours_of(summary: dict[str, Any]) -> float:
    """Return how long devices were there."""
    return float(summary["over_budget_device_seconds"] / summary["over_budget_share"] / 3600)


@pytest.mark.parametrize("changes", [(HANDOVERS,), (ROLLOUT,), (HANDOVERS, ROLLOUT, FAULTS)])
def test_each_side_has_the_figures_of_its_summary(runner: Runner, changes: tuple[str, ...]) -> None:
    folders = [runner.run(TINY, ASK_FIRST, *changes, f"seed={seed}").folder for seed in (1, 2)]
    (found,) = compare_runs([str(each) for each in folders])
    rows = {row["metric"]: row for row in as_plain(found)["metrics"]}
    for side, folder in zip(("baseline", "compared"), folders, strict=True):
        summary = read_summary(folder)
        expected = figures([summary], hours_of(summary))
        given = {name: row[f"{side}_value"] for name, row in rows.items() if name in expected}
        assert given == pytest.approx(expected, rel=1e-9)


def test_several_seeds_have_the_means_that_a_sweep_prints(runner: Runner, tmp_path: Path) -> None:
    changes = {"ours": ASK_FIRST, "theirs": "updates.encoding=full"}
    for name, change in changes.items():
        runner.out = tmp_path / name
        for seed in (1, 2):
            runner.run(TINY, change, "updates.local_eviction=false", f"seed={seed}")
    (found,) = compare_runs([str(tmp_path / name) for name in changes])
    for side, name in (("first", "ours"), ("second", "theirs")):
        summaries = [read_summary(folder) for folder in sorted((tmp_path / name).iterdir())]
        figure = figures(summaries, 1.0)
        for metric in ("ndcg_at_10", "quality_ratio_to_full", "delta_ratio", "update_latency_p95_seconds"):
            assert getattr(found.metrics[metric], side) == pytest.approx(figure[metric], rel=1e-9)


def test_tables_that_are_not_those_of_the_summary_are_refused(runner: Runner, tmp_path: Path) -> None:
    folder = runner.run().folder
    path = folder / part("update")
    pq.write_table(pq.read_table(path).slice(9), path)
    with pytest.raises(InputError, match=r"the run directory is damaged: .* bytes .* were written"):
        compare_runs([str(folder), str(folder)])
    (folder / "manifest.json").unlink()  # a run of an older version
    with pytest.raises(InputError, match="the run directory is damaged: the event log was changed"):
        compare_runs([str(folder), str(folder)])


def test_what_is_written_says_what_it_is_worth(runner: Runner, tmp_path: Path) -> None:
    """One seed of a fleet that a fault hits: no interval, and no word about other runs."""
    folders = [runner.run(TINY, FAULTS, f"updates.local_eviction={on}").folder for on in ("true", "false")]
    found = compare_runs([str(each) for each in folders])
    write(found, tmp_path / "c.json", tmp_path / "c.csv")
    (plain,) = msgspec.json.decode((tmp_path / "c.json").read_bytes())
    assert {key: plain[key] for key in ("enough_seeds", "seeds_needed", "shared", "seeds")} == {
        "enough_seeds": False,
        "seeds_needed": 10,
        "shared": ["faults"],
        "seeds": [[5, 5]],
    }
    verdicts = {row["metric"]: row["verdict"] for row in plain["metrics"]}
    assert verdicts["over_budget_share"] == "worse in these runs"
    assert {row["low"] for row in plain["metrics"]} == {None}
    assert not set(verdicts.values()) & {"better", "worse", "differs", "no difference"}
    assert "enough_seeds" in (tmp_path / "c.csv").read_text().splitlines()[0]
