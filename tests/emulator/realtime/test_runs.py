"""Whole runs in real time: the same fleet as in memory, through a real broker, whatever is killed."""

from pathlib import Path

import pytest

from benchmarks.kills import VICTIMS, Killer, faults_of
from broker_config import mosquitto
from broker_config.daemons import BrokerKind
from broker_config.launch import is_installed
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.realtime_measurements import read_doubts
from emulator.run_directory.event_log import JOURNAL, EventLogWriter, read_draft
from emulator.runner.runner import RunResult
from tests.emulator.scenarios import TINY, RecordingObserver, Runner, number
from wire.errors import InputError, RunError

needs_mosquitto = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
pytestmark = needs_mosquitto

CALM = TINY.replace("    network: flaky\n", "")
"""Nothing is lost by the links: what is lost is ours."""
REAL = ("clock=realtime", "realtime.speed=20", "stop_time=2 min", "realtime.max_lag=30 s")


def check_whole(finished: RunResult) -> None:
    """Every device holds the best PEE for its last budget, and nothing was applied twice or out of order."""
    assert faults_of(finished.folder) == []
    assert finished.summary["over_budget_device_seconds"] == 0


@pytest.mark.parametrize(
    ("connections", "shards"), [("per_device", 2), pytest.param("pooled", 1, marks=pytest.mark.slow)]
)
def test_the_same_scenario_counts_the_same_as_in_memory(
    runner: Runner, connections: str, shards: int
) -> None:
    real = runner.run(CALM, *REAL, f"realtime.connections={connections}", shards=shards)
    virtual = runner.run(CALM, "stop_time=2 min")
    for key in ("devices", "budget_changes"):
        assert real.summary[key] == virtual.summary[key], key
    # On a busy machine a device may still connect, or wait for its introduction, when its budget changes.
    for key in ("budget_reports", "report_bytes", "full_update_bytes"):
        assert number(real, key) == pytest.approx(number(virtual, key), rel=0.05), key
    ends = ("updates_applied", "updates_confirmed", "updates_superseded")
    assert sum(number(real, key) for key in ends) == number(real, "budget_reports")
    assert real.summary["updates_lost"] == real.summary["updates_rejected"] == 0
    assert number(real, "ndcg_at_10") == pytest.approx(number(virtual, "ndcg_at_10"), rel=0.05)
    # Twenty times as fast, a round trip takes twenty times as much of the fleet's time.
    latency = [finished.summary["update_latency_seconds"] for finished in (real, virtual)]
    assert all(isinstance(each, dict) for each in latency)
    assert latency[0] != latency[1]
    assert number(real, "connections_made") == (30 if connections == "per_device" else 1)
    assert real.summary["shards"] == shards
    assert real.summary["broker_messages_dropped"] == 0
    assert virtual.summary["broker_messages_dropped"] is None
    check_whole(real)


@pytest.mark.slow
@pytest.mark.parametrize("connections", ["per_device", "pooled"])
def test_the_embedded_broker_carries_it_too_and_what_it_has_not_is_told(
    runner: Runner, connections: str
) -> None:
    observer = RecordingObserver()
    real = runner.run(
        CALM, *REAL, "realtime.speed=10", "stop_time=1 min", f"realtime.connections={connections}",
        broker="amqtt", observer=observer,
    )  # fmt: skip
    virtual = runner.run(CALM, "stop_time=1 min")
    for key in ("devices", "budget_changes", "budget_reports", "updates_lost"):
        assert real.summary[key] == virtual.summary[key], key
    assert real.summary["broker_messages_dropped"] is None
    wills = "broker amqtt has no last wills of devices that fall silent"
    # Whether a round trip is doubted depends on the machine.
    doubts = read_doubts(real.summary)
    warned = [warning[: len(wills)] for warning in observer.warnings if warning not in doubts]
    assert warned == [wills] * (connections == "per_device")
    check_whole(real)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "connections"), [("nats", "pooled"), ("rabbitmq", "per_device")])
def test_other_brokers_carry_it_too(runner: Runner, kind: BrokerKind, connections: str) -> None:
    if not is_installed(kind):
        pytest.skip(f"{kind} is not installed")
    real = runner.run(CALM, *REAL, "stop_time=1 min", f"realtime.connections={connections}", broker=kind)
    virtual = runner.run(CALM, "stop_time=1 min")
    for key in ("devices", "budget_changes", "updates_lost"):
        assert real.summary[key] == virtual.summary[key], key
    assert real.summary["broker_messages_dropped"] is None
    check_whole(real)


def test_what_the_embedded_broker_would_grant_and_not_do_is_refused(runner: Runner) -> None:
    with pytest.raises(InputError, match=r"replicas\(=2\) must be 1 on broker amqtt: it has no shared"):
        runner.run(CALM, *REAL, "realtime.replicas=2", broker="amqtt")
    assert not runner.out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("connections", ["per_device", "pooled"])
def test_a_broker_that_dies_again_and_again_comes_back(runner: Runner, connections: str) -> None:
    deaths = [(at, "broker") for at in range(20, 100, 15)]
    observer = Watched(*deaths)
    finished = runner.run(
        CALM, *REAL, "realtime.speed=10", "stop_time=3 min", "updates.retry_after=5 s",
        f"realtime.connections={connections}", observer=observer,
    )  # fmt: skip
    assert finished.summary["broker_restarts"] == observer.killer.killed["broker"] >= 3
    assert finished.summary["shard_restarts"] == finished.summary["cloud_restarts"] == 0
    check_whole(finished)


class Watched(RecordingObserver):
    """A killer that watches a run as all tests do."""

    def __init__(self, *deaths: tuple[float, str]) -> None:
        super().__init__()
        self.killer = Killer(iter(deaths))

    def on_status(self, pulse: LiveStatus, stop_ns: int) -> None:
        super().on_status(pulse, stop_ns)
        self.killer.on_status(pulse, stop_ns)


@pytest.mark.slow
@pytest.mark.parametrize("connections", ["per_device", "pooled"])
def test_whoever_is_killed_no_device_is_left_without_its_pee(runner: Runner, connections: str) -> None:
    deaths = (20, "shard 1"), (50, "cloud 1"), (60, "cloud 2"), (90, "broker"), (130, "shard 2")
    observer = Watched(*deaths)
    finished = runner.run(
        CALM, *REAL, "realtime.speed=10", "stop_time=4 min", "updates.retry_after=5 s", "realtime.replicas=2",
        f"realtime.connections={connections}", shards=2, observer=observer,
    )  # fmt: skip
    assert observer.killer.killed == dict.fromkeys(VICTIMS, 1)
    restarts = [finished.summary[f"{name}_restarts"] for name in ("shard", "cloud", "broker")]
    assert restarts == [2, 2, 1]
    check_whole(finished)
    connects = finished.summary["connects_by_why"]
    assert isinstance(connects, dict)
    assert 15 <= connects["resumed"] <= 30  # who had not started yet starts as usual
    assert (connects["broken"] > 0) == (connections == "per_device")


@pytest.mark.slow
def test_every_fault_of_a_scenario_comes_in_real_time_too(runner: Runner) -> None:
    text = (
        CALM
        + """
faults:
  - {type: broker_down, at: 30 s, duration: 10 s}
  - {type: cloud_down, at: 60 s, duration: 10 s}
  - {type: loss, at: 80 s, duration: 20 s, share: 30 %}
  - {type: corruption, at: 80 s, duration: 20 s, share: 30 %}
"""
    )
    finished = runner.run(text, *REAL, "updates.retry_after=5 s", "fleet[0].churn.uptime_mean=30 s")
    disconnections = finished.summary["disconnections_by_why"]
    assert isinstance(disconnections, dict)
    assert disconnections["broker_down"] > 0
    assert disconnections["churn"] > 0
    assert disconnections["broken"] == 0
    assert number(finished, "messages_harmed") > 0
    away = [each for each in faults_of(finished.folder) if "where" not in each]
    assert away == []  # who is away at the end may lack what its last budget allows


def test_a_machine_that_cannot_keep_up_fails_the_run_and_says_so(runner: Runner) -> None:
    with pytest.raises(RunError, match=r"late at .* more than realtime\.max_lag\(=1 us\).*cannot keep up"):
        runner.run(CALM, *REAL, "realtime.max_lag=1 us")
    (left,) = runner.out.iterdir()
    assert left.name.endswith(".partial")


class Onlooker(RecordingObserver):
    """Watches the fleet while it lives, as `--live` does."""

    wants_status = True


def test_a_run_that_somebody_watches_goes_on_where_the_schedule_is_late_and_warns(runner: Runner) -> None:
    observer = Onlooker()
    finished = runner.run(
        CALM, *REAL, "stop_time=20 s", "fleet[0].start_within=0 s", "realtime.max_lag=1 us", observer=observer
    )
    late = number(finished, "schedule_late_turns")
    assert late > 0
    assert f"the schedule was later than realtime.max_lag in {late:,} turns" in observer.warnings


def test_what_must_stay_together_is_not_cut_into_shards(runner: Runner) -> None:
    rollout = CALM + "\nrollout: {at: 30 s, seed: 2}\n"
    with pytest.raises(InputError, match=r"shards\(=2\) must be 1: the rollout is one for all devices"):
        runner.run(rollout, *REAL, shards=2)


def test_a_journal_that_was_cut_short_is_read_up_to_its_last_batch(tmp_path: Path) -> None:
    from devices.event_log import ConnectionRow, FleetLog
    from devices.timeline.connectivity import ConnectivityCause

    log, journal = FleetLog(lambda: 0.0), EventLogWriter(tmp_path)
    for batch in range(3):
        log.connection(
            ConnectionRow(
                batch,
                0.0,
                0,
                batch,
                online=True,
                why=ConnectivityCause.START,
                message_bytes=34,
                message_wire_bytes=120,
            )
        )
        journal.flush(log, at_least=1)
    journal.close(log)
    (tmp_path / JOURNAL).unlink()  # a process that is killed has not come to write it
    path = tmp_path / "connection.arrows"
    whole = path.read_bytes()
    assert read_draft(tmp_path, "connection").num_rows == 3
    found = []
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        found.append(read_draft(tmp_path, "connection").num_rows)
    assert found == sorted(found)
    assert set(found) == {0, 1, 2, 3}
