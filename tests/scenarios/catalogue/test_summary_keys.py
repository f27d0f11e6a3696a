"""Thresholds on keys of the summary that are no metrics, what they may have meant, and values as written."""

import pytest

from devices.event_log import COLUMNS
from emulator.metrics.realtime_measurements import KEYS as REAL
from emulator.metrics.thresholds import number_at
from scenarios.catalogue.event_columns import EVENT_COLUMNS, TABLES, part_column
from scenarios.catalogue.metrics import METRICS, Kind
from scenarios.catalogue.summary_keys import KEYS, REALTIME_KEYS, STATISTICS, key_of, number_keys
from scenarios.language.thresholds import Threshold, rules_of, shown_value
from scenarios.reference import metrics_page

SUMMARY = {
    "broker_egress_bytes": 700,
    "update_latency_seconds": {"n": 2, "p95": 1.5, "max": None},
    "budget_reports_by_cause": {"retry": {"lost": 3}},
    "faults": [{"type": "loss", "devices_not_whole": 4}],
    "reports_sent_again": None,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("broker_egress_bytes", 700),
        ("update_latency_seconds.p95", 1.5),
        ("update_latency_seconds.n", 2),
        ("update_latency_seconds.max", None),
        ("budget_reports_by_cause.retry.lost", 3),
        ("budget_reports_by_cause.retry.applied", 0),
        ("budget_reports_by_cause.start.applied", 0),
        ("faults.0.devices_not_whole", 4),
        ("faults.1.devices_not_whole", None),
        ("reports_sent_again", None),
        ("schedule_lag_seconds.p99", None),
    ],
)
def test_every_number_of_the_summary_can_be_demanded_something_of(key: str, value: float | None) -> None:
    (rule,) = rules_of({key: ["value<1h" if "seconds" in key and ".n" not in key else "value<5"]
                        if "bytes" not in key else ["value<1 MB"]})  # fmt: skip
    assert rule.of_summary
    assert number_at(rule.metric.name, SUMMARY) == value


@pytest.mark.parametrize(
    ("selector", "rule", "said"),
    [
        ("broker_egress_bites", "value<1 B", "did you mean 'broker_egress_bytes'?"),
        ("egress_bytes", "value<1 B", "did you mean 'cloud_egress_bytes', 'broker_egress_bytes'?"),
        ("latency", "value<1s", "did you mean 'update_latency_seconds', 'connected_latency_seconds'"),
        ("cost", "value<1", "; docs/metrics.md lists them"),
        ("scenario", "value<1", "must name a metric, or a number in summary.json"),
        ("update_latency_seconds.p94", "value<1s", "must name a metric, or a number in summary.json"),
        ("faults.0.type", "value<1s", "must name a metric, or a number in summary.json"),
        ("broker_egress_bytes{group=phone}", "value<1 B", "must have no filters"),
        ("broker_egress_bytes", "rate<1 kB/s", "must be value: broker_egress_bytes is one number"),
        ("broker_egress_bytes", "value<1s", "with a size such as 64KiB"),
    ],
)
def test_what_is_no_number_is_refused_with_what_may_be_meant(selector: str, rule: str, said: str) -> None:
    with pytest.raises(ValueError, match="must") as error:
        rules_of({selector: [rule]})
    assert said in str(error.value)


def test_a_key_that_is_there_only_at_the_end_cannot_end_a_run() -> None:
    with pytest.raises(ValueError, match="must not abort: the summary exists only at the end"):
        rules_of({"broker_egress_bytes": [Threshold(threshold="value<1 B", abort_on_fail=True)]})


@pytest.mark.parametrize(
    ("selector", "rule", "value", "shown"),
    [
        ("over_budget_device_seconds", "rate<0.01%", 0.0895219, "8.952 %"),
        ("quality_ratio_to_full", "value>0.95", 0.98094, "0.9809"),
        ("quality_ratio_to_full", "value>95 %", 0.98094, "98.09 %"),
        ("update_latency_seconds", "p(95)<250ms", 28.5, "28,500 ms"),
        ("update_latency_seconds", "p(95)<2 min", 28.5, "0.475 min"),
        ("update_latency_seconds", "p(95)<1 min 3 s", 28.5, "28.5 s"),
        ("quality_recovery_seconds", "p(50)<60s", 60.0003, "60.0003 s"),  # not 60 s, which would not pass
        ("update_latency_seconds", "p(95)>0", 28.5, "28.5 s"),
        ("broker_egress_bytes", "value<500MB", 612345678, "612.3 MB"),
        ("update_bytes", "rate<200kB/s", 612345.0, "612.3 kB/s"),
        ("update_bytes", "rate<80 bps", 10.0, "80 bps"),
        ("budget_reports", "rate<0.2/s", 0.25, "0.25 /s"),
        ("budget_reports", "count<5", 1234567, "1,234,567"),
        ("ndcg_at_10", "mean>0.9*full", 0.4, "0.4"),
        ("update_latency_seconds", "p(95)<1s", None, "no data"),
        ("of_another_version", "value<1", 0.5, "0.5"),
    ],
)
def test_values_are_shown_in_the_unit_of_the_rule(
    selector: str, rule: str, value: float | None, shown: str
) -> None:
    assert shown_value(selector, rule, value) == shown


def test_every_key_is_on_the_page() -> None:
    page = metrics_page.page()
    assert set(REAL) <= set(REALTIME_KEYS)
    for name in (*KEYS, *REALTIME_KEYS, *METRICS):
        assert f"| `{name}` |" in page
        assert key_of(name) is not None
    for name in number_keys():
        assert rules_of({name: ["value<0"]})[0].of_summary
    trends = [name for name, metric in METRICS.items() if metric.kind is Kind.TREND]
    assert all(key_of(f"{name}.{statistic}") for name in trends for statistic in STATISTICS)


def test_every_column_of_the_event_tables_is_described() -> None:
    assert {name: list(columns) for name, columns in EVENT_COLUMNS.items()} == {
        name: [part_column(name, column) for column in columns] for name, columns in COLUMNS.items()
    }
    assert set(TABLES) == set(COLUMNS)
