"""Every scenario file that ships, at a reduced scale: one log, whatever runs it, in any order of groups."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from cloud.data.sources import Synthetic
from emulator.replay.replay import read_replay
from emulator.runner.runner import RunOptions, RunResult, run
from scenarios.language.load import load, shipped
from scenarios.language.scenario import Scenario
from tests.emulator.event_logs import event_table
from tests.emulator.metrics.ranges import assert_equal_from_any_ranges
from tests.emulator.scenarios import RecordingObserver, number
from wire.errors import InputError

QUICK = (
    "model.training.epochs=4",
    "model.training.dim=16",
    "model.layers=16",
)

DEVICES = 24
"""About so many devices are left of a fleet."""

SLOWER: Mapping[str, tuple[str, ...]] = {
    "reconnect-storm": ("cloud.service_time=1 s", "cloud.workers=1"),
    "flash-crowd": ("cloud.service_time=1 s",),
    "cloud-outage": ("cloud.service_time=300 ms",),
    "broker-restart": ("cloud.service_time=500 ms",),
}
"""A cloud that is as small for the few devices that are left as the file's is for its whole fleet."""


QUICKEST = ("reconnect-storm", "squeeze")
"""The others are run in the slow set."""


def reduced(path: Path) -> Scenario:
    """Return the scenario in *path* as it is run here: with a few devices of each group, trained briefly."""
    fleet = load(path).fleet
    most = max(3, DEVICES // len(fleet))
    counts = (f"fleet[{place}].count={min(most, group.count)}" for place, group in enumerate(fleet))
    return load(path, [*QUICK, *counts, "clock=virtual", *SLOWER.get(path.stem, ())])


def data_of(path: Path) -> Path | None:
    """Return where the scenario's data are; skip where they are absent."""
    data = load(path).data
    if isinstance(data, Synthetic):
        return None
    root = Path(os.environ.get("PEELFLEET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (root / data.path).exists():
        pytest.skip(f"{root / data.path} is absent: these data may not be redistributed")
    return root / data.path


def log_of(finished: RunResult) -> object:
    return finished.summary["event_log_sha256"]


class Station:
    """Runs reduced scenarios; those with the same data and model share one training."""

    def __init__(self, stores: Path, folder: Path, data: Path | None = None) -> None:
        self.stores = stores
        self.folder = folder
        self.data = data

    def run(self, scenario: Scenario, shards: int = 1) -> RunResult:
        options = RunOptions(
            self.folder / "runs", data=self.data, store=self.stores, shards=shards, report=False
        )
        return run(scenario, options, RecordingObserver())

    def replay(self, recording: Path) -> RunResult:
        scenario, playback, warnings = read_replay(recording, ())
        assert warnings == []
        options = RunOptions(self.folder / "replays", data=self.data, store=self.stores, report=False)
        return run(scenario, options, RecordingObserver(), playback)


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shipped-stores")


@pytest.mark.data
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICKEST else [pytest.mark.slow])
        for path in shipped()
    ],
)
def test_a_shipped_scenario_gives_one_log_whatever_runs_it(path: Path, stores: Path, tmp_path: Path) -> None:
    station, scenario = Station(stores, tmp_path, data_of(path)), reduced(path)
    # The same run a second time, in another order of groups where there are several.
    backwards = msgspec.structs.replace(scenario, fleet=scenario.fleet[::-1])
    lockstep = msgspec.structs.replace(scenario, clock="lockstep")

    once = station.run(scenario)
    assert log_of(station.run(backwards)) == log_of(once)
    assert log_of(station.run(lockstep)) == log_of(once)
    if scenario.interactions is None:
        assert log_of(station.replay(once.folder)) == log_of(once)
    else:
        with pytest.raises(InputError, match="a replay cannot play"):
            station.replay(once.folder)
    if scenario.shared:
        with pytest.raises(InputError, match=re.escape(f"shards(=4) must be 1: {scenario.shared_by}")):
            station.run(scenario, shards=4)
    else:
        assert log_of(station.run(scenario, shards=4)) == log_of(once)
    shows_what_its_header_says(path.stem, once)
    assert_equal_from_any_ranges(once.folder)


def shows_what_its_header_says(name: str, finished: RunResult) -> None:
    """Check what a header claims where it holds for a few devices too."""

    def figure(key: str) -> float:
        return number(finished, key)

    def least(**counts: int) -> None:
        found = {key: figure(key) for key in counts}
        assert {key: value for key, value in found.items() if value < counts[key]} == {}

    assert figure("over_budget_share") == 0  # in all of them devices evict by themselves
    if name in ("reconnect-storm", "flash-crowd", "broker-restart"):
        assert longest_wait_s(finished) > 5
    elif name == "flaky-network":
        least(updates_lost=10, updates_rejected=5, wasted_bytes=100_000)
        assert latency_s(finished, "max") > 30  # the time that a device waits before it asks again
    elif name == "cloud-outage":
        assert 0.1 < figure("updates_superseded") / figure("budget_reports") < 0.4
        assert latency_s(finished, "max") > 60
    elif name == "rollout-under-pressure":
        steps = event_table(finished.folder, "rollout")["step"].to_pylist()
        assert sorted(set(steps)) == ["offered", "updated"]
        assert steps.count("updated") == figure("devices")
    elif name == "trace-replay":
        assert figure("budget_reports") < 0.6 * figure("budget_changes")
    elif name == "day-in-the-life":
        assert latency_s(finished, "p50") < 0.2
        assert latency_s(finished, "max") > 60


def latency_s(finished: RunResult, percentile: str) -> float:
    found = finished.summary["update_latency_seconds"]
    assert isinstance(found, dict)
    return float(found[percentile])


def longest_wait_s(finished: RunResult) -> float:
    """Return how long the report that waited longest was in the cloud's queue."""
    updates = event_table(finished.folder, "update").select(["arrived_ns", "begun_ns"])
    waits = [row["begun_ns"] - row["arrived_ns"] for row in updates.to_pylist() if row["begun_ns"] >= 0]
    return float(max(waits) / 1e9)
