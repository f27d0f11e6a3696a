"""Verdicts: each kind of rule on a small story, and runs that a broken rule ends."""

import msgspec
import pytest

from emulator.metrics.histogram import RELATIVE_ERROR
from emulator.metrics.measure import selections_of
from emulator.metrics.thresholds import judge_rule
from emulator.run_directory.layout import read_summary
from scenarios.language.thresholds import rules_of
from tests.emulator.event_logs import event_rows
from tests.emulator.metrics.test_compute import TIMELINE, TWO
from tests.emulator.scenarios import TINY, Runner
from tests.emulator.worlds import budget, selected_of, state, update
from wire.errors import InputError
from wire.units import NS_PER_S

STORY = {
    "quality": [
        state(0, 0, 100, 50, 0.3, full_ndcg_at_10=0.5, best_ndcg_at_10=0.4),
        state(10, 0, 40, 50, 0.4, full_ndcg_at_10=0.5, best_ndcg_at_10=0.4),
        state(11, 0, 40, 40, 0.4, full_ndcg_at_10=0.5, best_ndcg_at_10=0.4),
        state(0, 1, 100, 50, 0.5, full_ndcg_at_10=0.5, best_ndcg_at_10=0.5),
    ],
    "update": [
        update(0, (0, 0, 1, 1, 1, 2, 2), update_bytes=100, used_bytes=60, lost_bytes=10),
        update(1, (6, 6, 7, 7, 7, 10, 10), update_bytes=100, used_bytes=100),
    ],
    "budget": [budget(0, 0, 100), budget(10, 0, 40, before=50, after=50), budget(0, 1, 100)],
}


@pytest.mark.parametrize(
    ("metric", "rule", "value", "passed"),
    [
        ("update_latency_seconds", "p(50)<2.02s", 2.0, True),
        ("update_latency_seconds", "max<4s", 4.0, False),
        ("update_latency_seconds", "avg==3s", 3.0, True),
        ("update_latency_seconds", "count>=2", 2, True),
        ("update_latency_seconds", "sum < 1 min", 6.0, True),
        ("update_latency_seconds{group=phone}", "max<3s", 2.0, True),
        ("update_latency_seconds{stage=storm, group=tv}", "p(99.9)>3.9s", 4.0, True),
        ("update_latency_seconds{stage=storm, group=phone}", "max<1h", None, False),  # nothing to judge by
        ("update_latency_seconds{stage=storm, group=phone}", "count==0", 0, True),
        ("over_budget_device_seconds", "rate<2%", 1 / 40, False),
        ("over_budget_device_seconds", "total<=1s", 1.0, True),
        ("over_budget_device_seconds{group=phone}", "rate<=5%", 0.05, True),
        ("time_to_fit_seconds", "p(95)<3s", 1.0, True),
        ("update_bytes{kind=wasted}", "share<15%", 0.15, False),
        ("update_bytes{kind=wasted,group=phone}", "share==0.3", 0.3, True),
        ("update_bytes{group=phone}", "share==50%", 0.5, True),
        ("update_bytes", "rate<80 bps", 10.0, False),
        ("budget_reports", "rate<0.2/s", 0.1, True),
        ("budget_reports{stage=calm}", "rate<=0.2/s", 0.2, True),
        ("budget_changes{direction=down}", "count==1", 1, True),
        ("ndcg_at_10", "time_weighted_mean>0.84*full", 0.425, True),
        ("ndcg_at_10{group=phone}", "mean>0.71*full", 0.35, False),
        ("ndcg_at_10{group=phone}", "mean>0.87*oracle", 0.35, True),
        ("ndcg_at_10", "min>=0.3", 0.3, True),
        ("quality_ratio_to_full", "value>84%", 0.85, True),
        ("budget_bytes", "max<=100 B", 100.0, True),
        ("over_budget_bytes_max", "value<=10 B", 10, True),
        ("pressure_seconds{level=critical}", "rate==0", 0.0, True),
        ("pressure_seconds{level=normal,group=tv}", "share==100%", 1.0, True),
        ("ndcg_at_10{user_group=7}", "mean>0.1", None, False),
    ],
)  # fmt: skip
def test_rules_and_what_comes_of_them(metric: str, rule: str, value: float | None, passed: bool) -> None:
    (wanted,) = rules_of({metric: [rule]})
    verdict = judge_rule(wanted, selected_of(TWO, TIMELINE, selections_of([wanted]), **STORY))
    assert (verdict.metric, verdict.rule, verdict.passed) == (metric, rule, passed)
    assert verdict.value == (None if value is None else pytest.approx(value, rel=RELATIVE_ERROR))


def test_what_was_before_the_warm_up_does_not_count(runner: Runner) -> None:
    """Devices start within the first minute, and only then have something to confirm at once."""
    rule = "thresholds={connects: [count==0]}"
    assert not runner.run(TINY, rule).passed
    assert runner.run(TINY, rule, "warmup=2 min").passed


def test_the_summary_has_the_verdicts_in_the_order_of_the_file(runner: Runner) -> None:
    finished = runner.run(
        TINY, "thresholds={update_bytes: [value<1 B, value>1 B], ndcg_at_10: [mean>0.01*full]}"
    )
    verdicts = finished.summary["thresholds"]
    assert isinstance(verdicts, list)
    assert [(each["metric"], each["rule"], each["passed"]) for each in verdicts] == [
        ("update_bytes", "value<1 B", False),
        ("update_bytes", "value>1 B", True),
        ("ndcg_at_10", "mean>0.01*full", True),
    ]
    assert verdicts[0]["value"] == finished.summary["update_bytes"]
    assert not finished.passed


ABORTING = (
    "thresholds={updates_applied: [{threshold: count<40, abort_on_fail: true, delay_abort_eval: DELAY}]}"
)


def test_a_run_that_is_ended_early_is_whole_and_the_same_under_every_clock(runner: Runner) -> None:
    """After a fiftieth of 20 minutes, 24 s, few were applied; it is broken at a multiple of that."""
    rule = ABORTING.replace("DELAY", "0 s")
    virtual, again = runner.run(TINY, rule), runner.run(TINY, rule)
    lockstep = runner.run(TINY, rule, "clock=lockstep", "broker=amqtt")
    at = virtual.summary["aborted_at_seconds"]
    assert isinstance(at, float)
    assert 24 < at < 1200
    assert at % 24 == 0
    assert virtual.summary["simulated_seconds"] == at
    assert not virtual.passed
    hashes = {each.summary["event_log_sha256"] for each in (virtual, again, lockstep)}
    assert len(hashes) == 1
    assert lockstep.summary["aborted_at_seconds"] == at
    assert {path.name for path in virtual.folder.iterdir()} >= {"report.html", "metrics.parquet", "events"}
    assert msgspec.json.encode(read_summary(virtual.folder)) == msgspec.json.encode(virtual.summary)


def test_what_an_ended_run_has_logged_is_how_the_whole_one_began(runner: Runner) -> None:
    """The rule itself changes nothing: a rule that never breaks gives the log of a run without it."""
    whole = runner.run(TINY)
    kept = runner.run(TINY, ABORTING.replace("DELAY", "0 s").replace("count<40", "count<40000"))
    assert kept.summary["event_log_sha256"] == whole.summary["event_log_sha256"]
    assert kept.summary["aborted_at_seconds"] is None
    ended = runner.run(TINY, ABORTING.replace("DELAY", "0 s"))
    at = ended.summary["aborted_at_seconds"]
    assert isinstance(at, float)
    for name in ("budget", "update", "quality", "connection"):
        rows = [event_rows(each.folder, name) for each in (ended, whole)]
        assert rows[0] == [row for row in rows[1] if row["t_ns"] < at * NS_PER_S]


def test_a_rule_is_not_judged_before_its_time(runner: Runner) -> None:
    late = runner.run(TINY, ABORTING.replace("DELAY", "15 min")).summary["aborted_at_seconds"]
    assert late == 912  # the first multiple of 24 s from 900 s on


def test_shards_cannot_judge_the_whole_fleet(runner: Runner) -> None:
    with pytest.raises(InputError, match=r"shards\(=2\) must be 1: a threshold that can end the run"):
        runner.run(TINY, ABORTING.replace("DELAY", "0 s"), shards=2)
