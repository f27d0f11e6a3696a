"""A run whose broker throws away what it has confirmed ends, and says how much was published and came."""

import asyncio
import re
from pathlib import Path

import pytest

from broker_config import mosquitto
from emulator.runner.runner import RunResult
from tests.cable import Cable
from tests.emulator.scenarios import TINY, RecordingObserver, Runner, number
from tests.foreign import foreign_broker
from wire.errors import NoAnswerError, RunError

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
REAL = (
    "clock=realtime", "realtime.speed=20", "realtime.max_lag=30 s", "stop_time=10 s",
    "updates.retry_after=5 s", "fleet[0].start_within=0 s",
)  # fmt: skip
LOCKSTEP = "clock=lockstep", "stop_time=10 s", "fleet[0].start_within=0 s"
CALM = TINY.replace("    network: flaky\n", "")
LIMIT = "message_size_limit 300"
"""The notice of 180 bytes gets through, and no part of an answer."""


@pytest.mark.slow
@pytest.mark.parametrize("connections", ["per_device", pytest.param("pooled", marks=pytest.mark.slow)])
def test_a_run_in_real_time_ends_where_no_update_ever_comes(
    runner: Runner, tmp_path: Path, connections: str
) -> None:
    with (
        foreign_broker(tmp_path, LIMIT) as broker,
        pytest.raises(NoAnswerError) as caught,
    ):
        runner.run(CALM, *REAL, f"realtime.connections={connections}", broker=broker.url)
    words = str(caught.value)
    assert "reports published; " in words
    assert "had no complete answer within updates.retry_after; the cloud received" in words
    assert "message_size_limit" in words


@pytest.mark.slow
def test_a_run_of_which_some_updates_never_come_counts_them_and_warns(runner: Runner, tmp_path: Path) -> None:
    """Devices of which the first half has budgets for little only."""
    observer = RecordingObserver()
    with foreign_broker(tmp_path, "message_size_limit 900") as broker:
        finished = runner.run(CALM, *REAL, broker=broker.url, observer=observer)
    assert number(finished, "reports_unanswered") > 0
    assert number(finished, "reports_answered") > 0
    (warned,) = [warning for warning in observer.warnings if "Usual causes" in warning]
    assert f"{number(finished, 'reports_unanswered'):,} of them had no complete answer" in warned


def test_lockstep_says_what_was_published_and_what_the_cloud_warned_of(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulator.simulation.clocks.GIVE_UP_S", 4.0)
    with foreign_broker(tmp_path, LIMIT) as broker, pytest.raises(RunError) as caught:
        runner.run(CALM, *LOCKSTEP, broker=broker.url)
    words = str(caught.value)
    assert words.startswith("no answer from the cloud for 4 s; ")
    assert re.search(r"reports published; \d+ parts of updates came", words)
    assert "the cloud received" in words
    assert "message_size_limit" in words


@pytest.mark.slow
def test_lockstep_says_that_a_client_id_is_used_twice(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulator.simulation.simulation.NOTICE_TIMEOUT_S", 8.0)
    monkeypatch.setattr("emulator.simulation.clocks.GIVE_UP_S", 8.0)
    with (
        foreign_broker(tmp_path, "use_username_as_clientid true") as broker,
        pytest.raises(RunError, match=r"client id"),
    ):
        runner.run(CALM, *LOCKSTEP, broker=broker.url.replace("//", "//u:p@"))


def test_a_broker_that_is_slow_times_the_speed_is_doubted(runner: Runner, tmp_path: Path) -> None:
    """Four ways of 20 ms are .4 s of the fleet's time at speed 5, and the links take .1 s there and back."""
    observer = RecordingObserver()

    async def story(port: int) -> RunResult:
        async with Cable(port, delay_s=0.02).laid() as cable:
            url = f"mqtt://127.0.0.1:{cable.in_port}"
            few = "fleet[0].count=4", "fleet[1].count=2"
            settings = (*REAL, "realtime.connections=pooled", "realtime.speed=5", *few)
            return await asyncio.to_thread(runner.run, CALM, *settings, broker=url, observer=observer)

    with foreign_broker(tmp_path) as broker:
        summary = asyncio.run(story(broker.port)).summary
    doubts = summary["realtime_doubts"]
    assert isinstance(doubts, list)
    assert doubts[0].startswith("at speed 5 a round trip to broker and cloud (p95) is ")
    assert "the links' own delays" in doubts[0] or "updates.retry_after" in doubts[0]
    assert observer.warnings[: len(doubts)] == doubts
    real, simulated = summary["round_trip_seconds"], summary["round_trip_simulated_seconds"]
    assert isinstance(real, dict)
    assert isinstance(simulated, dict)
    assert {key: value / 5 for key, value in simulated.items() if key != "count"} == pytest.approx(
        {key: value for key, value in real.items() if key != "count"}
    )
