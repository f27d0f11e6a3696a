"""A new model version that comes to a fleet, and blocks that a fleet shares: whole runs."""

from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from emulator.runner.runner import RunResult
from tests.emulator.event_logs import event_rows
from tests.emulator.scenarios import TINY, Runner, number

ROLLOUT = "rollout={at: 5 min, seed: 7, groups: 3, pause: 1 min, success_threshold: 60 %}"


SHARED = "updates.delivery=shared"
Row = dict[str, Any]  # Any: numbers and words


def rows(finished: RunResult, table: str) -> list[Row]:
    return event_rows(finished.folder, table)


def last_of_each_device(finished: RunResult) -> list[Row]:
    return list({row["device"]: row for row in rows(finished, "quality")}.values())


def test_a_new_version_reaches_every_device_group_by_group(runner: Runner) -> None:
    finished = runner.run(TINY, ROLLOUT)
    steps = rows(finished, "rollout")
    counts = Counter(row["step"] for row in steps)
    assert counts == {"offered": 30, "updated": 30}
    offered = {row["group"]: row["t_ns"] for row in steps if row["step"] == "offered"}
    minute = 60 * 10**9
    assert offered[0] == 5 * minute
    assert min(offered[1] - offered[0], offered[2] - offered[1]) >= minute
    ends = last_of_each_device(finished)
    assert {row["version"] for row in ends} == {1}
    assert all(row["layer"] == row["best_layer"] for row in ends)
    devices = {row["device"]: row for row in pq.read_table(finished.folder / "devices.parquet").to_pylist()}
    for row in rows(finished, "quality"):
        device, version = devices[row["device"]], row["version"]
        assert row["user_group"] == device["user_group_by_version"][version]
        assert row["full_ndcg_at_10"] == device["full_ndcg_at_10_by_version"][version]
        assert row["best_layer"] < 16 or row["budget_bytes"] >= device["full_bytes_by_version"][version]


def test_a_version_that_does_not_arrive_is_taken_back(runner: Runner) -> None:
    """From the offer on nothing gets through: every device of the first group fails, and all go back."""
    cut = "faults=[{type: loss, at: 5 min, duration: 10 min, share: 100 %}]"
    rule = ROLLOUT.replace("pause: 1 min", "timeout: 2 min, on_error: rollback")
    finished = runner.run(TINY, rule, cut)
    counts = Counter(row["step"] for row in rows(finished, "rollout"))
    offered = counts["offered"]
    assert 0 < offered < 30
    assert counts == {"offered": offered, "failed": counts["failed"], "withdrawn": offered}
    assert counts["failed"] > 0.05 * offered
    assert {row["version"] for row in last_of_each_device(finished)} == {0}


@pytest.mark.parametrize("variant", [(ROLLOUT,), (SHARED,), (ROLLOUT, SHARED)])
def test_the_log_is_the_same_through_a_broker(runner: Runner, variant: tuple[str, ...]) -> None:
    once = runner.run(TINY, *variant)
    again = runner.run(TINY, *variant, "clock=lockstep")
    assert again.summary["event_log_sha256"] == once.summary["event_log_sha256"]
    assert all(row["layer"] == row["best_layer"] for row in last_of_each_device(once))
    assert all(row["resident_bytes"] <= row["budget_bytes"] for row in rows(once, "quality"))


def test_shared_blocks_come_from_the_broker_and_reports_only_when_there_is_something_to_learn(
    runner: Runner,
) -> None:
    finished = runner.run(TINY, SHARED, "networks.flaky={}")
    kinds = Counter((row["cause"], row["sent"]) for row in rows(finished, "update"))
    assert set(kinds) == {("start", "first"), ("introduced", "shared"), ("change", "shared")}
    assert kinds["start", "first"] == 30


def test_the_summary_says_how_each_group_fared(runner: Runner) -> None:
    groups = runner.run(TINY, ROLLOUT).summary["rollout"]
    assert isinstance(groups, list)
    assert [each["group"] for each in groups] == [0, 1, 2]
    assert sum(each["updated"] for each in groups) == 30
    assert {each["updated_share"] for each in groups} == {1.0}
    assert all(0 < each["update_seconds"]["p50"] <= each["update_seconds"]["p100"] for each in groups)
    assert runner.run(TINY).summary["rollout"] == []


def test_with_shared_delivery_the_cloud_sends_each_layer_once_however_many_devices_there_are(
    runner: Runner,
) -> None:
    calm = "networks.flaky={}"
    few, many = (runner.run(TINY, SHARED, calm, f"fleet[phone].count={count}") for count in (20, 200))
    alone = runner.run(TINY, calm).summary
    assert alone["cloud_egress_bytes"] == alone["broker_egress_bytes"] == alone["update_bytes"]
    cloud, broker = (
        [number(finished, f"{who}_egress_bytes") for finished in (few, many)] for who in ("cloud", "broker")
    )
    assert broker[1] > 3 * broker[0]  # the broker's share grows with the fleet
    assert cloud[1] - cloud[0] < 0.2 * (broker[1] - broker[0])  # the cloud's by introductions only
