"""Sweeps: one table, the same whatever the jobs and whatever was killed; failures named, none in the way."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from emulator.run_directory.layout import read_summary, write_summary
from emulator.sweep.runs import open_sweep_folder
from emulator.sweep.table import flatten
from scenarios.language.load import load
from tests.emulator.cli.test_main import parents, peelfleet
from tests.emulator.scenarios import TINY, Runner

SWEPT = (
    TINY.replace("seed: 5", "seed: 5\nsweep: {seeds: [1, 2], grid: {model.layers: [16, 8]}}")
    .replace("count: 20", "count: 4")
    .replace("count: 10", "count: 2")
)
NAMES = ["layers=16/seed-1", "layers=16/seed-2", "layers=8/seed-1", "layers=8/seed-2"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(SWEPT)
    return path


def sweep(file: Path, store: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return peelfleet("sweep", file, "--store", store, *arguments, folder=file.parent)


def tables(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "table.csv").read_bytes(), (folder / "table.parquet").read_bytes()


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "table.csv").read_text().splitlines()))


def test_a_sweep_leaves_a_run_directory_per_run_and_one_tidy_table(file: Path, store_root: Path) -> None:
    done = sweep(file, store_root)
    assert done.returncode == 0, done.stderr
    folder = file.parent / "runs" / "tiny-sweep"
    assert [row["run"] for row in rows(folder)] == NAMES
    assert [row["model.layers"] for row in rows(folder)] == ["16", "16", "8", "8"]
    for row, parquet in zip(rows(folder), pq.read_table(folder / "table.parquet").to_pylist(), strict=True):
        summary = dict(flatten(read_summary(folder / row["run"])))
        scalars = {name: value for name, value in summary.items() if "wall" not in name}
        assert {name: parquet[name] for name in scalars if name in parquet} == {
            name: value for name, value in scalars.items() if name != "reports_sent_again"
        }
        assert load(folder / row["run"] / "scenario.yaml").seed == int(row["seed"])
        assert "sweep" not in (folder / row["run"] / "scenario.yaml").read_text()
        assert not (folder / row["run"] / "report.html").exists()
    assert "update_latency_seconds.p95" in rows(folder)[0]
    assert not [name for name in rows(folder)[0] if "wall" in name]
    assert next(csv.reader((folder / "wall.csv").read_text().splitlines()))[:4] == [
        "combination",
        "seed",
        "run",
        "wall_seconds",
    ]
    *_, last, end = done.stderr.splitlines()
    assert "100 %" in last
    assert "4 of 4 runs" in last
    assert end == "4 new runs, 0 were there"
    assert "layers=16" in done.stdout
    assert "×1" in done.stdout
    assert "table: runs/tiny-sweep/table.csv" in done.stdout


@pytest.mark.slow
def test_the_table_is_the_same_whatever_the_jobs_and_the_clock_of_the_wall(
    file: Path, store_root: Path
) -> None:
    for jobs in ("1", "3"):
        assert sweep(file, store_root, "--jobs", jobs, "--out", jobs).returncode == 0
    assert tables(file.parent / "1") == tables(file.parent / "3")


def test_a_run_of_a_sweep_is_the_run_of_its_scenario(file: Path, store_root: Path, runner: Runner) -> None:
    """And a file with a sweep section runs as one without it."""
    assert sweep(file, store_root, "--out", "s").returncode == 0
    alone = runner.run(SWEPT.replace("sweep: {seeds: [1, 2], grid: {model.layers: [16, 8]}}", ""), "seed=2")
    swept = runner.run(SWEPT, "seed=2")
    hashes = {str(each.summary["event_log_sha256"]) for each in (alone, swept)}
    assert hashes == {rows(file.parent / "s")[1]["event_log_sha256"]}
    assert "sweep" not in (swept.folder / "scenario.yaml").read_text()
    ours, theirs = ((each.folder / "scenario.yaml").read_text() for each in (alone, swept))
    assert ours == theirs


@pytest.mark.slow
def test_in_lockstep_each_run_has_a_broker_of_its_own(file: Path, store_root: Path) -> None:
    for clock in ("virtual", "lockstep"):
        done = sweep(file, store_root, "--clock", clock, "--broker", "amqtt", "--jobs", "2", "--out", clock)
        assert done.returncode == 0, done.stderr
    logs = [
        [row["event_log_sha256"] for row in rows(file.parent / clock)] for clock in ("virtual", "lockstep")
    ]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_a_sweep_that_grows_runs_only_what_is_missing(file: Path, store_root: Path) -> None:
    sweep(file, store_root, "--out", "s")
    before = {name: (file.parent / "s" / name / "summary.json").stat().st_mtime_ns for name in NAMES}
    done = sweep(file, store_root, "--out", "s", "--seeds", "1-3")
    assert "2 new runs, 4 were there" in done.stderr
    assert {name: (file.parent / "s" / name / "summary.json").stat().st_mtime_ns for name in NAMES} == before
    assert [row["seed"] for row in rows(file.parent / "s")] == ["1", "2", "3"] * 2


@pytest.mark.parametrize("change", ["stop_time=30 min", "updates.retry_after=3 s", "data.seed=9"])
def test_what_was_run_with_another_scenario_is_not_taken_for_this_one(
    file: Path, store_root: Path, change: str
) -> None:
    sweep(file, store_root, "--out", "s", "--over", "model.layers=16", "--seeds", "1")
    before = tables(file.parent / "s")
    done = sweep(file, store_root, "--out", "s", "--over", "model.layers=16", "--seeds", "1", "--set", change)
    assert done.returncode == 2
    assert "s/layers=16/seed-1: was run with another scenario, data or version of the code" in done.stderr
    assert tables(file.parent / "s") == before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("victim", ["sweep", "worker"])
def test_killed_in_the_middle_it_goes_on_to_the_same_table(file: Path, store_root: Path, victim: str) -> None:
    """The sweep, then started again; or one of its workers, whose run it starts again itself."""
    arguments = ["--seeds", "1-5", "--jobs", "2", "--out"]
    assert sweep(file, store_root, *arguments, "whole").returncode == 0
    command = [sys.executable, "-m", "emulator.cli", "sweep", "x.yaml", "--store", str(store_root)]
    with subprocess.Popen([*command, *arguments, "cut"], cwd=file.parent, stderr=subprocess.PIPE) as cut:
        workers = wait_for_workers(cut.pid, file.parent / "cut")
        os.kill(cut.pid if victim == "sweep" else workers[0], signal.SIGKILL)
        _, errors = cut.communicate(timeout=120)
    if victim == "sweep":
        assert cut.returncode == -signal.SIGKILL
        assert len(list((file.parent / "cut").glob("*/seed-*"))) < 10
        wait_until_gone(workers)
        assert sweep(file, store_root, *arguments, "cut").returncode == 0
    else:
        assert (cut.returncode, b"Traceback" in errors) == (0, False)
    assert tables(file.parent / "cut") == tables(file.parent / "whole")
    assert not list((file.parent / "cut").glob(".run-*"))


def wait_for_workers(sweep_pid: int, folder: Path) -> list[int]:
    """Return the processes that run the sweep's runs, once some are done and others under way."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if list(folder.glob("*/seed-*")) and list(folder.glob(".run-*/*")):
            found = [pid for pid, parent in parents().items() if parent == sweep_pid]
            return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        time.sleep(0.01)
    raise AssertionError("the sweep has not started")


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while set(pids) & set(parents()):
        assert time.monotonic() < deadline, "workers outlive their sweep"
        time.sleep(0.05)


def test_interrupted_it_ends_soon_and_leaves_no_process(file: Path, store_root: Path) -> None:
    command = [sys.executable, "-m", "emulator.cli", "sweep", "x.yaml", "--store", str(store_root)]
    command += [
        "--set",
        "stop_time=1000 h",
        "--clock",
        "lockstep",
        "--broker",
        "amqtt",
        "--jobs",
        "2",
        "--force",
    ]
    with subprocess.Popen(command, cwd=file.parent, stderr=subprocess.PIPE) as cut:
        deadline = time.monotonic() + 120
        folder = file.parent / "runs" / "tiny-sweep"
        while len(list(folder.glob(".run-*/*/.shard-0/*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        ours = family(cut.pid)
        cut.send_signal(signal.SIGINT)
        _, errors = cut.communicate(timeout=120)
    assert (cut.returncode, b"Traceback" in errors) == (130, False), errors.decode()
    assert len(ours) >= 6  # two workers, each with a broker and a cloud
    wait_until_gone(ours)
    assert not list(folder.glob("*/seed-*"))


def family(pid: int) -> list[int]:
    """Return all descendants of a process."""
    known = parents()
    found, added = {pid}, True
    while added:
        more = {child for child, parent in known.items() if parent in found} - found
        found, added = found | more, bool(more)
    return sorted(found - {pid})


def test_a_second_sweep_into_the_same_folder_is_refused_as_long_as_the_first_lives(
    file: Path, store_root: Path
) -> None:
    folder = file.parent / "s"
    with open_sweep_folder(folder):
        (folder / ".run-of-the-first").mkdir()
        done = sweep(file, store_root, "--out", "s")
        assert (done.returncode, done.stderr) == (2, "peelfleet: s: another sweep is at work here\n")
        assert (folder / ".run-of-the-first").exists()
    with open_sweep_folder(folder):
        assert not (folder / ".run-of-the-first").exists()


@pytest.mark.slow
def test_a_doubt_is_told_once_whatever_the_number_of_runs_and_by_each_verb_alike(
    file: Path, store_root: Path
) -> None:
    stages = "stages: [{name: one, duration: 10 min}, {name: two, duration: 10 min}]"
    file.write_text(f"{SWEPT}{stages}\n")
    doubts: dict[str, list[str]] = {}
    for verb in ("validate", "train", "run", "sweep"):
        stores = [] if verb == "validate" else ["--store", str(store_root)]
        done = peelfleet(verb, file, *stores, folder=file.parent)
        assert done.returncode == 0, done.stderr
        doubts[verb] = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    (line,) = doubts["run"]
    assert line.startswith(
        "warning: stages[0].ramp: is left out, so devices connect one after the other over "
    )
    assert doubts == {verb: [line] for verb in doubts}


@pytest.mark.slow
def test_a_failing_combination_is_named_and_the_others_finish(file: Path, store_root: Path) -> None:
    file.write_text(
        SWEPT.replace(
            "grid: {model.layers: [16, 8]}",
            "cases: [{name: lost, set: {clock: lockstep, broker: 'mqtt://127.0.0.1:9'}}, {name: fine}]",
        )
    )
    done = sweep(file, store_root, "--out", "s")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "peelfleet: 2 of 4 runs failed: lost/seed-1: broker mqtt://127.0.0.1:9 does not answer"
    )
    assert "Traceback" not in done.stderr
    assert [row["run"] for row in rows(file.parent / "s")] == ["fine/seed-1", "fine/seed-2"]
    assert (file.parent / "s/lost/seed-1.partial/traceback.txt").exists()
    (file.parent / "s/other").write_text("in the way of a combination's folder")
    file.write_text(file.read_text().replace("{name: fine}", "{name: other}"))
    assert "4 of 4 runs failed: lost/seed-1" in sweep(file, store_root, "--out", "s").stderr


def test_a_broken_threshold_of_any_run_ends_with_99(file: Path, store_root: Path) -> None:
    assert sweep(file, store_root, "--out", "s").returncode == 0
    folder = file.parent / "s" / NAMES[2]
    rule = {"metric": "ndcg_at_10", "rule": "mean>0.99", "value": 0.3, "passed": False}
    write_summary(folder, read_summary(folder) | {"thresholds": [rule, rule | {"passed": True}]})
    assert sweep(file, store_root, "--out", "s").returncode == 99
    assert [row["thresholds_broken"] for row in rows(file.parent / "s")] == ["0", "0", "1", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--over", "stop_time=0"], "combination layers=16+stop_time=0: --over stop_time=0: stop_time (="),
        (["--metrics", "ndcg_at_10,,"], "--metrics(='ndcg_at_10,,') must be names of figures with commas"),
        (["--out", "x.yaml/s"], "x.yaml/s: cannot keep a sweep here: "),
        (["--data", "here"], "combination layers=16: --data here: the scenario's data are synthetic"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_runs_nothing(
    file: Path, store_root: Path, arguments: list[str], message: str
) -> None:
    done = sweep(file, store_root, *arguments)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert message in done.stderr
    assert not list(file.parent.glob("runs/*/*"))


def test_a_misspelt_metric_is_named_after_the_table_is_written(file: Path, store_root: Path) -> None:
    done = sweep(file, store_root, "--metrics", "ndcg", "--out", "s")
    assert done.returncode == 2
    assert "metric(='ndcg') must be a figure of summary.json: " in done.stderr
    assert len(rows(file.parent / "s")) == 4


def test_validate_sees_the_combinations(file: Path) -> None:
    file.write_text(SWEPT.replace("[16, 8]", "[16, 0]"))
    done = peelfleet("validate", file.name, folder=file.parent)
    assert done.returncode == 2
    assert "combination layers=0: x.yaml:5: model.layers (=0) must be a whole number" in done.stderr


def test_a_mark_says_what_a_run_is_a_run_of(file: Path, store_root: Path) -> None:
    sweep(file, store_root, "--out", "s")
    mark = msgspec.json.decode((file.parent / "s" / NAMES[2] / "combination.json").read_bytes())
    assert {**mark, "digest": ""} == {
        "combination": "layers=8",
        "seed": 1,
        "settings": {"model.layers": 8},
        "digest": "",
    }
