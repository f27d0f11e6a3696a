"""Metrics of a fleet for Prometheus, from statuses made up here."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from emulator.metrics.prometheus import PREFIX, FleetCollector
from emulator.metrics.timeline import RunTimeline
from scenarios.language.load import parse
from tests.emulator.realtime.test_live import CALM, FAULTS, MS, after, bucketed
from wire.units import NS_PER_S


def a_collector() -> FleetCollector:
    return FleetCollector(RunTimeline.from_scenario(parse(FAULTS, "tiny.yaml")), "tiny")


def scraped(collector: FleetCollector) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_before_the_first_status_there_is_only_the_scenario() -> None:
    collector = a_collector()
    assert scraped(collector) == {("info", "tiny"): 1}
    assert not collector.has_status


def test_what_the_fleet_is_doing_is_shown() -> None:
    collector = a_collector()
    collector.add(after(CALM, t_ns=55 * NS_PER_S, over_budget=3, lag_ns=1500 * MS))
    samples = scraped(collector)
    buckets = {
        name[1]: value for name, value in samples.items() if name[0] == "update_latency_seconds_bucket"
    }
    assert (buckets["0.05"], buckets["0.2"], buckets["+Inf"]) == (0, 9, 9)
    total_s = samples.pop(("update_latency_seconds_sum",))
    assert abs(total_s - 0.9) < 0.001
    assert {name: value for name, value in samples.items() if "bucket" not in name[0]} == {
        ("info", "tiny"): 1, ("devices",): 30, ("started",): 24, ("online",): 24, ("connections",): 23,
        ("over_budget",): 3, ("budget_bytes",): 30 * 1024, ("held_bytes",): 15 * 1024, ("in_flight",): 2,
        ("reports_total",): 100, ("applied_total",): 90, ("lost_total",): 0, ("update_bytes_total",): 50_000,
        ("ndcg_at_10",): 0.125, ("best_ndcg_at_10",): 4 / 24,
        ("simulated_seconds",): 55, ("lag_seconds",): 1.5,
        ("faults_in_force", "loss"): 1, ("faults_in_force", "cloud_slow"): 1,
        ("update_latency_seconds_count",): 9,
    }  # fmt: skip


def test_a_counter_does_not_fall_where_a_shard_starts_again() -> None:
    collector = a_collector()
    for reports in (100, 140, 3, 13):
        collector.add(after(CALM, reports=reports, latency=bucketed(100, 1)))
    samples = scraped(collector)
    assert samples["reports_total",] == 150
    assert samples["update_latency_seconds_count",] == 4
