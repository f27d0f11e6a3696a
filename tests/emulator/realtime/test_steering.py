"""A run in real time that is steered: its deeds are recorded, its summary says so, and it replays."""

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from broker_config import mosquitto
from devices.simulated.roster import DeviceNames
from emulator.live.deeds import DEEDS, read_deeds
from emulator.live.live_folder import LIVE, LiveCommand, LiveFolder
from emulator.realtime.wall_clock import WallClock
from emulator.report.verdict import verdict_text
from emulator.run_directory.event_reader import EventReader
from emulator.runner.observer import RunObserver
from emulator.runner.replay_run import replay_run
from emulator.runner.runner import RunOptions, RunResult, run
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY
from wire.units import NS_PER_S

CALM = TINY.replace("    network: flaky\n", "").replace(
    "high_for: 2 min}", "high_for: 2 min}\n    start_within: 1 min"
)
REAL = ("clock=realtime", "realtime.speed=20", "stop_time=3 min", "realtime.max_lag=30 s")


def test_time_is_continuous_where_its_speed_changes() -> None:
    now_s = 10.0
    clock = WallClock(20.0, 10.0, lambda: now_s)
    assert (clock.time_at(9.0), clock.time_at(12.0)) == (-20 * NS_PER_S, 40 * NS_PER_S)
    clock.change(12.0, 0.0)
    assert clock.wall_s(NS_PER_S) == float("inf")
    clock.change(15.0, clock.speed)
    clock.change(16.0, 2.0)
    times = [clock.time_at(at_s) // NS_PER_S for at_s in (11.0, 12.0, 14.0, 15.0, 16.0, 18.0)]
    assert (times, clock.speed) == ([20, 40, 40, 40, 60, 64], 2.0)


class Hand:
    """Sends commands to a run when its simulated time has come to them."""

    def __init__(self, out: Path, commands: list[tuple[float, LiveCommand]]) -> None:
        self.states: list[dict[str, Any]] = []
        self._out, self._commands = out, commands
        self._thread = threading.Thread(target=self._steer, daemon=True)

    def __enter__(self) -> "Hand":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5)

    def _steer(self) -> None:
        for t_s, command in self._commands:
            deadline = time.monotonic() + 120
            while (state := self._state()) is None or not state["can_steer"] or state["t_s"] < t_s:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.05)
            (folder,) = self._out.glob(f"*.partial/{LIVE}")
            LiveFolder(folder.parent).send(command)
        while (state := self._state()) is not None:
            self.states.append(state)
            time.sleep(0.2)

    def _state(self) -> dict[str, Any] | None:
        for folder in self._out.glob(f"*.partial/{LIVE}"):
            try:
                return dict(json.loads(LiveFolder(folder.parent).read_state()[0]))
            except OSError:
                return None
        return None


def steered(
    tmp_path: Path, store_root: Path, commands: list[tuple[float, LiveCommand]], shards: int = 1
) -> tuple[RunResult, Hand]:
    options = RunOptions(tmp_path / "runs", store=store_root, shards=shards, report=False, watched=True)
    with Hand(options.out, commands) as hand:
        finished = run(parse(CALM, "tiny.yaml", list(REAL)), options, RunObserver())
    return finished, hand


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_a_steered_run_is_recorded_and_replays(tmp_path: Path, store_root: Path) -> None:
    sent = [
        (65.0, LiveCommand(kind="squeeze", share=0.25)),
        (75.0, LiveCommand(kind="cut_off", seconds=40.0, group="phone")),
        (80.0, LiveCommand(kind="pause")),
        (80.0, LiveCommand(kind="squeeze", share=1.0, device="tvbox-00003")),
        (80.0, LiveCommand(kind="resume")),
        (90.0, LiveCommand(kind="speed", speed=10.0)),
        (95.0, LiveCommand(kind="squeeze", share=0.5, device="nobody")),
    ]
    finished, hand = steered(tmp_path, store_root, sent, shards=2)
    deeds = read_deeds(finished.folder / DEEDS)
    assert [deed.command for deed in deeds] == [command for _, command in sent[:-1]]
    assert any("nobody" in state["refusal"] for state in hand.states)
    assert (finished.summary["steered_by_hand"], finished.summary["stopped_by_hand"]) == (6, False)
    assert "Steered by hand, 6 deeds." in verdict_text(finished.summary)
    assert not (finished.folder / LIVE).exists()

    scenario = parse(CALM, "tiny.yaml", list(REAL))
    names = list(DeviceNames(scenario.fleet, scenario.seed, scenario.sample))
    phones = [number for number, name in enumerate(names) if name.startswith("phone")]
    reader = EventReader(finished.folder)
    tables = reader.read_range(reader.ranges[0], ("budget", "connection"))
    squeeze, cut, _, give_back, *_ = deeds
    budget, connection = tables["budget"], tables["connection"]
    for shard in (0, 1):  # a shard that is late does it a little later, but to all of its devices at once
        since = (budget["t_ns"] >= squeeze.at_ns) & (budget["device"] % 2 == shard)
        (_, most), *_ = Counter(budget["t_ns"][since].tolist()).most_common(1)
        assert most >= 13
    for phone in phones:
        rows = (connection["device"] == phone) & (connection["t_ns"] >= cut.at_ns)
        assert connection["online"][rows].tolist() == [False, True]
        assert connection["t_ns"][rows][1] >= cut.at_ns + 40 * NS_PER_S
    mine = budget["device"] == names.index("tvbox-00003")
    is_after = budget["t_ns"] >= give_back.at_ns
    given, squeezed = budget["budget_bytes"][mine & is_after][0], budget["budget_bytes"][mine & ~is_after][-1]
    assert given >= 3.9 * squeezed

    again = replay_run(
        finished.folder,
        [],
        None,
        RunOptions(tmp_path / "runs", store=store_root, report=False),
        RunObserver(),
    )
    assert again.summary["replay_log_equal"] is True
    assert again.summary["steered_by_hand"] == 6
    assert read_deeds(again.folder / DEEDS) == deeds


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_a_run_that_is_stopped_is_measured_up_to_there_and_replays(tmp_path: Path, store_root: Path) -> None:
    finished, _ = steered(tmp_path, store_root, [(70.0, LiveCommand(kind="stop"))])
    (deed,) = read_deeds(finished.folder / DEEDS)
    seconds = deed.at_ns / NS_PER_S
    assert finished.summary["simulated_seconds"] == finished.summary["aborted_at_seconds"] == seconds
    assert verdict_text(finished.summary).startswith(f"Stopped by hand at {seconds:,g} s.")
    again = replay_run(
        finished.folder,
        [],
        None,
        RunOptions(tmp_path / "runs", store=store_root, report=False),
        RunObserver(),
    )
    assert again.summary["replay_log_equal"] is True
    assert again.summary["simulated_seconds"] == seconds
