"""Whole runs: the same log whatever the clock, the shards and the order of groups; figures that add up."""

from pathlib import Path

import msgspec
import pytest
import yaml

from broker_config.daemons import BrokerKind
from broker_config.launch import is_installed, launch_broker
from devices.event_log import COLUMNS
from emulator.metrics.realtime_measurements import KEYS as REALTIME_KEYS
from emulator.processes.cloud_process import url_with_password
from emulator.run_directory.layout import PARTIAL
from scenarios.catalogue.metrics import METRICS
from scenarios.language.load import load
from tests.emulator.event_logs import event_rows, part
from tests.emulator.scenarios import TINY, RecordingObserver, Runner, number
from wire.errors import InputError, RunError
from wire.topics import Role

KEYS = [
    "scenario", "seed", "clock", "devices", "model_version", "simulated_seconds", "wall_seconds",
    "device_hours_per_wall_minute", "budget_changes", "budget_reports", "updates_applied",
    "updates_confirmed", "updates_superseded", "updates_rejected", "updates_lost", "update_bytes",
    "update_wire_bytes", "full_update_bytes", "delta_ratio", "report_bytes", "wasted_bytes", "lost_bytes",
    "over_budget_device_seconds", "over_budget_share", "ndcg_at_10", "recall_at_20", "hit_rate_at_10",
    "quality_ratio_to_full", "quality_regret", "update_latency_seconds",
]  # fmt: skip
LATER_KEYS = [
    "budget_changes_by_direction", "update_bytes_by_kind", "pressure_seconds_by_level", "connects_by_why",
    "disconnections_by_why", "messages_harmed_by_harm", "budget_reports_by_cause",
    "pressure_transitions_by_level", "worst", "stages", "faults", "actions", "warmup_seconds",
    "aborted_at_seconds", "event_log_sha256", "thresholds", "cloud_egress_bytes",
    "broker_egress_bytes", "rollout", "reports_sent_again", *REALTIME_KEYS,
]  # fmt: skip


def log_of(runner: Runner, *overrides: str, text: str = TINY, shards: int = 1) -> object:
    return runner.run(text, *overrides, shards=shards).summary["event_log_sha256"]


def test_a_run_leaves_what_the_design_promises(runner: Runner) -> None:
    finished = runner.run()
    files = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*.*")}
    tables = {part(name) for name in COLUMNS if name not in ("rollout", "interaction")}
    others = {
        "devices.parquet", "manifest.json", "metrics.parquet", "report.html", "scenario.yaml", "summary.json",
    }  # fmt: skip
    assert files == others | tables
    measured = [name for name in METRICS if name not in KEYS]
    assert list(finished.summary) == [*KEYS, *measured, *LATER_KEYS]
    assert msgspec.json.decode((finished.folder / "summary.json").read_bytes()) == finished.summary
    assert [path.name for path in runner.out.iterdir()] == [finished.folder.name]


def test_twice_the_same_scenario_gives_the_same_log_and_another_seed_does_not(runner: Runner) -> None:
    once = log_of(runner)
    assert log_of(runner) == once
    assert log_of(runner, "seed=6") != once


def test_shards_and_the_order_of_groups_change_nothing(runner: Runner) -> None:
    once = log_of(runner)
    assert log_of(runner, shards=4) == once
    turned = yaml.safe_load(TINY)
    turned["fleet"].reverse()
    assert log_of(runner, text=yaml.safe_dump(turned, sort_keys=False)) == once


def test_another_device_changes_no_other_device(runner: Runner) -> None:
    few, more = (runner.run(TINY, f"fleet[phone].count={count}").folder for count in (20, 21))
    for name in COLUMNS:
        before = event_rows(few, name)
        after = event_rows(more, name)
        assert [row for row in after if row["device"] != "phone-00020"] == before


def test_the_resolved_scenario_gives_the_same_run(runner: Runner) -> None:
    finished = runner.run(TINY, "fleet[0].count=5")
    again = runner.run((finished.folder / "scenario.yaml").read_text())
    assert again.summary["event_log_sha256"] == finished.summary["event_log_sha256"]


def test_a_model_is_trained_once(runner: Runner, tmp_path: Path) -> None:
    fresh, observer = Runner(tmp_path / "stores", tmp_path), RecordingObserver()
    fresh.run(observer=observer)
    fresh.run(observer=observer)
    fresh.run(TINY, "model.layers=8", observer=observer)
    assert [model.trained for model in observer.models] == [True, False, False]
    assert len({model.folder for model in observer.models}) == 2


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mosquitto", marks=pytest.mark.broker),
        "amqtt",
        pytest.param("nats", marks=pytest.mark.slow),
        pytest.param("rabbitmq", marks=pytest.mark.slow),
    ],
)
def test_through_a_real_broker_the_log_is_the_same(runner: Runner, kind: BrokerKind) -> None:
    if not is_installed(kind):
        pytest.skip(f"{kind} is not installed")
    virtual, lockstep = runner.run(), runner.run(TINY, "clock=lockstep", f"broker={kind}")
    assert lockstep.summary["event_log_sha256"] == virtual.summary["event_log_sha256"]
    assert lockstep.summary["reports_sent_again"] == 0


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (
            "name=a.fleet",
            r"name\(=a.fleet\) must have no '\.' on broker nats: it writes the levels of a topic",
        ),
        ("fleet[1].name=tv.box", r"fleet\[1\].name\(=tv.box\) must have no '\.' on broker nats"),
        (
            "updates.max_payload=16 MiB",
            r"max_payload\(=16 MiB\) must be at most 8 MiB on broker nats",
        ),
    ],
)
def test_what_a_broker_lacks_is_refused_with_the_key_that_needs_it(
    runner: Runner, change: str, refusal: str
) -> None:
    if not is_installed("nats"):
        pytest.skip("nats-server is not installed")
    with pytest.raises(InputError, match=refusal):
        runner.run(TINY, "clock=lockstep", "broker=nats", change)


def test_every_device_ends_with_the_pee_for_its_last_budget(runner: Runner) -> None:
    finished = runner.run()
    rows = event_rows(finished.folder, "quality")
    last = {row["device"]: row for row in rows}
    assert len(last) == 30
    assert all(row["layer"] == row["best_layer"] for row in last.values())
    assert all(row["resident_bytes"] <= row["budget_bytes"] for row in last.values())
    assert finished.summary["over_budget_device_seconds"] == 0
    assert number(finished, "updates_lost") > 0  # the flaky network lost some: all were made up for


def test_the_counts_add_up(runner: Runner) -> None:
    finished = runner.run()
    ends = ("applied", "confirmed", "superseded", "rejected", "lost")
    reports = number(finished, "budget_reports")
    assert sum(number(finished, f"updates_{end}") for end in ends) == reports
    assert reports > number(finished, "budget_changes")  # some were repeated


def test_time_over_budget_is_counted_when_the_cloud_evicts(runner: Runner, tmp_path: Path) -> None:
    """Three devices, checked by hand.

    Device a falls from 4000 to 300 bytes at 100 s, device b falls so at 100 s and 300 s and recovers
    between, device c only grows. Evicting only on the cloud's answer, a and b are over budget from each
    fall until the answer is through: 50 ms up, 5 ms of service, 50 ms down, and a few hundred bytes at
    1 ns each on the way up and down. So 3 x 105 ms, and at most 3 x 1 us.
    """
    traces = {
        "a": [(0, 4000), (100, 300)],
        "b": [(0, 4000), (100, 300), (200, 4000), (300, 300)],
        "c": [(0, 300), (100, 4000)],
    }
    groups = []
    for name, rows in traces.items():
        file = tmp_path / f"{name}.csv"
        file.write_text("t_s,mem_available_bytes\n" + "".join(f"{t},{free}\n" for t, free in rows))
        groups.append(
            {
                "name": name,
                "count": 1,
                "budget": {"share": "100 %"},
                "network": "fast",
                "memory": {"type": "trace", "file": str(file), "on_end": "hold"},
            }
        )
    end = {"latency": "50 ms", "bandwidth": "8 Gbps"}
    scenario = yaml.safe_load(TINY) | {
        "stop_time": "10 min", "fleet": groups, "networks": {"fast": {"uplink": end, "downlink": end}},
    }  # fmt: skip
    text = yaml.safe_dump(scenario, sort_keys=False)
    over = runner.run(text, "updates.local_eviction=false").summary
    assert over["over_budget_device_seconds"] == pytest.approx(0.315, abs=3e-6)
    assert over["over_budget_share"] == pytest.approx(0.315 / 1800, rel=1e-4)
    assert runner.run(text).summary["over_budget_device_seconds"] == 0


def test_a_password_is_not_written_down(runner: Runner) -> None:
    with launch_broker("amqtt") as broker:
        url = url_with_password(broker.endpoint, Role.FLEET)
        # one login serves both ends of an external broker: the fleet's may not publish as the cloud
        with pytest.raises(InputError, match="does not answer"):
            runner.run(TINY, "clock=lockstep", f"broker={url.replace(str(broker.endpoint.port), '1')}")
    finished = runner.run(TINY, f"broker='{url}'")
    resolved = load(finished.folder / "scenario.yaml")
    assert resolved.broker == broker.endpoint.url


def test_a_failed_run_does_not_look_whole(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("emulator.runner.results.write_device_rows", full_disk)
    with pytest.raises(RunError, match="No space left"):
        runner.run()
    assert [path.suffix for path in runner.out.iterdir()] == [PARTIAL]
