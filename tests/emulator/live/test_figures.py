"""The figures of a watched run: those of ranges are those of the log; a long run takes bounded memory."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from emulator.live.live_folder import LIVE
from emulator.live.range_figures import MOMENTS
from emulator.live.status_series import MOST, StatusSeries
from emulator.metrics.live_status import LiveStatus
from emulator.run_directory.event_reader import EventReader
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY
from wire.units import NS_PER_S


class LastState(RunObserver):
    """Reads what a page would show when the simulation is over."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state: dict[str, Any] = {}

    def on_writing(self) -> None:
        deadline = time.monotonic() + 60
        while self.state.get("shown_devices") != 30 and time.monotonic() < deadline:
            (file,) = self.out.glob(f"*.partial/{LIVE}/state.json")
            self.state = json.loads(file.read_bytes())
            time.sleep(0.05)


@pytest.mark.parametrize("engine", ["simpy", pytest.param("kernel", marks=pytest.mark.slow)])
def test_the_figures_of_a_virtual_run_are_those_of_its_log(
    engine: str, tmp_path: Path, store_root: Path
) -> None:
    scenario = parse(TINY, "tiny.yaml", [f"engine={engine}"])
    page = LastState(tmp_path)
    finished = run(scenario, RunOptions(tmp_path, store=store_root, report=False, watched=True), page)
    assert not (finished.folder / LIVE).exists()
    state, reader = page.state, EventReader(finished.folder)
    tables = reader.read_range(reader.ranges[0], ("quality", "update"))
    quality, columns = tables["quality"], state["columns"]
    step_ns = int(scenario.stop_time) // MOMENTS
    for moment in (0, 7, MOMENTS - 1):
        end_ns = (moment + 1) * step_ns
        newest = [
            rows[-1]
            for device in range(30)
            if len(rows := np.flatnonzero((quality["device"] == device) & (quality["t_ns"] <= end_ns)))
        ]
        assert columns["t_s"][moment] == end_ns / NS_PER_S
        assert columns["online"][moment] == quality["online"][newest].sum()
        assert columns["budget_bytes"][moment] == quality["budget_bytes"][newest].sum()
        assert columns["held_bytes"][moment] == quality["resident_bytes"][newest].sum()
        assert columns["over_budget"][moment] == 0
        assert columns["ndcg"][moment] == pytest.approx(quality["ndcg_at_10"][newest].mean(), rel=1e-5)
        assert columns["best_ndcg"][moment] == pytest.approx(
            quality["best_ndcg_at_10"][newest].mean(), rel=1e-5
        )
    reports = sum(columns["reports_per_s"]) * step_ns / NS_PER_S
    assert reports == pytest.approx(len(tables["update"]["t_ns"]), rel=1e-4)
    latency = (tables["update"]["applied_ns"] - tables["update"]["changed_ns"])[
        tables["update"]["applied_ns"] >= 0
    ]
    assert np.median([value for value in columns["p50_s"] if value is not None]) == pytest.approx(
        np.median(latency) / NS_PER_S, rel=0.15
    )
    assert [(name, devices, online) for name, devices, online, *_ in state["groups"]] == [
        ("phone", 20, 20), ("tvbox", 10, 10),
    ]  # fmt: skip
    plain = run(scenario, RunOptions(tmp_path, store=store_root, report=False), RunObserver())
    assert plain.summary["event_log_sha256"] == finished.summary["event_log_sha256"]


def test_a_long_run_keeps_its_extent_and_its_newest_moment_in_bounded_memory() -> None:
    series = StatusSeries(by_wall=True)
    status = LiveStatus(
        t_ns=0, wall_s=0.0, devices=1, online=1, connections=1, budget_bytes=1, resident_bytes=1,
        over_budget=0, ndcg_sum=1.0, best_sum=1.0, started=1, reports=0, applied=0, lost=0, update_bytes=0,
        in_flight=0, lag_ns=-1, latency={},
    )  # fmt: skip
    for second in range(1_500):
        now = {"t_ns": second * NS_PER_S, "wall_s": float(second), "reports": 10 * second}
        series.add(msgspec.structs.replace(status, **now))
        times = series.columns()["t_s"]
        assert times[-1] == second
        assert len(times) <= MOST
    assert times[0] == 0
    assert max(np.diff([t for t in times if t is not None])) <= 8
    assert set(series.columns()["reports_per_s"][1:]) == {10.0}
