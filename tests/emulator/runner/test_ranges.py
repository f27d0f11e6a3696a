"""Ranges of devices: one hash, and the same parts, whatever simulates them."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from devices.simulated.roster import split_ranges
from emulator.executors.open_executor import read_executor
from emulator.run_directory.event_reader import EventReader, read_tables
from emulator.run_directory.layout import METRICS, REPORT
from emulator.runner.ranges import check_executor
from emulator.runner.runner import RunResult
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY, RecordingObserver, Runner
from wire.errors import InputError

TWO_RANGES = (
    "fleet[phone].count=2060", "fleet[tvbox].count=5", "stop_time=40 s", "fleet[phone].start_within=20 s",
)  # fmt: skip


def parts(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "events").rglob("*.*"))
    }


WALL = ("wall_seconds", "device_hours_per_wall_minute")
WALL_ROWS = (
    *(f"<code>{name}</code>" for name in WALL),
    "time that it took",
    "device hours per minute of real time",
)


def results(run: RunResult) -> tuple[dict[str, object], bytes, str]:
    """Return the results of a run without wall times: its summary, its metrics, and its report."""
    summary = {name: value for name, value in run.summary.items() if name not in WALL}
    row = rf'<tr><th scope="row">({"|".join(map(re.escape, WALL_ROWS))})</th><td>[^<]*<'
    page = re.sub(row, "", (run.folder / REPORT).read_text())
    return summary, (run.folder / METRICS).read_bytes(), page


def test_workers_write_the_same_parts_and_have_one_hash(runner: Runner) -> None:
    runs = []
    for workers in (1, 2, 3):
        runner.workers = workers
        observer = RecordingObserver()
        runs.append(runner.run(TINY, *TWO_RANGES, observer=observer))
        assert observer.measured == pytest.approx([0.075, 0.15, 0.575, 1.0])
    assert {each.summary["event_log_sha256"] for each in runs} == {EventReader(runs[0].folder).sha256()}
    assert results(runs[0]) == results(runs[1]) == results(runs[2])
    written = [parts(each.folder) for each in runs]
    assert written[0] == written[1] == written[2]
    assert [name for name in written[0] if "quality" in name] == [
        "events/quality/00000.parquet", "events/quality/00001.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("clock=lockstep", "the clock is lockstep"),
        ("clock=realtime", "the clock is realtime"),
        ("cloud.workers=3", "all devices share a cloud with few workers"),
    ],
)
def test_an_executor_is_refused_where_one_process_has_all_devices(change: str, reason: str) -> None:
    scenario = parse(TINY, "tiny", [change])
    check_executor(scenario, None)
    message = f"executor(=ray:10.0.0.1:6379) must be left out: {reason}"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_executor(scenario, read_executor("ray:10.0.0.1:6379"))


@dataclass(frozen=True)
class Way:
    """A way to run one scenario."""

    changes: tuple[str, ...] = ("engine=kernel",)
    workers: int | None = None
    executor: str | None = None


WAYS = {
    "one worker": Way(workers=1),
    "two workers": Way(workers=2),
    "three workers": Way(workers=3),
    "in process": Way(executor="in-process"),
    "processes": Way(executor="processes"),
    "Ray": Way(executor="ray", workers=2),
    "SimPy": Way(("engine=simpy",)),
    "SimPy, on Ray": Way(("engine=simpy",), executor="ray", workers=3),
    "lockstep": Way(("clock=lockstep", "broker=amqtt")),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_way_to_run_a_scenario_has_one_hash_and_the_same_figures(runner: Runner) -> None:
    """Under lockstep all devices write one draft, which is split into ranges."""
    found = {}
    for name, way in WAYS.items():
        if way.executor == "ray" and find_spec("ray") is None:
            continue
        runner.workers = way.workers
        runner.executor = None if way.executor is None else read_executor(way.executor)
        run = runner.run(TINY, *TWO_RANGES, "fleet[phone].count=4100", *way.changes)
        found[name] = run.summary["event_log_sha256"], (run.folder / METRICS).read_bytes()
    assert {name: each == found["one worker"] for name, each in found.items()} == dict.fromkeys(found, True)


def test_a_range_is_read_alone(runner: Runner) -> None:
    folder = runner.run(TINY, *TWO_RANGES).folder
    reader, whole = EventReader(folder), read_tables(folder / "events")
    ranges = split_ranges(2065)
    assert (reader.ranges, len(ranges)) == (ranges, 2)
    read = [reader.read_range(each) for each in ranges]
    assert {name: sum(len(tables[name]["t_ns"]) for tables in read) for name in whole} == {
        name: table.num_rows for name, table in whole.items()
    }
    for devices, tables in zip(ranges, read, strict=True):
        for columns in tables.values():
            numbers = columns["device"]
            assert all((devices.first <= numbers) & (numbers < devices.stop))


def kill_a_worker(died: list[int]) -> None:
    """Kill one worker process once it is there and busy."""
    while not died:
        for each in psutil.Process().children():
            if "spawn_main" in " ".join(each.cmdline()) and each.cpu_times().user > 1:
                os.kill(each.pid, signal.SIGKILL)
                died.append(each.pid)
                return


@pytest.mark.slow
def test_the_ranges_of_a_worker_that_dies_are_simulated_again(runner: Runner) -> None:
    longer = (*TWO_RANGES, "stop_time=3 min")
    once = runner.run(TINY, *longer)
    runner.workers, died = 2, list[int]()
    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill_a_worker, died)
        again = runner.run(TINY, *longer)
        killer.result()
    assert len(died) == 1
    assert again.summary["event_log_sha256"] == once.summary["event_log_sha256"]
    assert parts(again.folder) == parts(once.folder)
