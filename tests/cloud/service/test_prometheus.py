"""Metrics of a cloud, as they are scraped."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from cloud.service.outcomes import REASONS, MessageOutcome, UpdateContent
from cloud.service.prometheus import OLD_NAMES, CloudCollector
from cloud.service.rollout_progress import RolloutFigures
from cloud.service.statistics import PREFIX, ServiceStatistics
from tests.cloud.services import read
from tests.rollouts import FIGURES, NEWER, OLDER
from wire.prometheus.http_server import Health, serve_metrics

LABELS = {"fleet": "f", "replica": "", "version": "v1"}
WELL = Health(alive=lambda: True, ready=lambda: True)


@contextmanager
def on_a_port(
    counts: ServiceStatistics, queued: int = 0, flying: int = 0, rollout: RolloutFigures | None = None
) -> Iterator[int]:
    collector = CloudCollector(counts, lambda: queued, lambda: flying, lambda: LABELS, lambda: rollout)
    with serve_metrics("127.0.0.1", 0, collector, WELL) as port:
        yield port


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """Return the samples by name and label values, in the order of the label names."""
    families = text_string_to_metric_families(read(port, "/metrics")[1])
    samples = (sample for family in families for sample in family.samples)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for sample in samples
    }


def test_it_shows_what_was_counted() -> None:
    counts = ServiceStatistics(connected=3, refused=2, broken=1, ready=True, update_wire_bytes=70)
    counts.received.add(100)
    counts.sent.add(30)
    counts.update_bytes[UpdateContent.DELTA] += 20
    counts.count("budget_up", MessageOutcome.SENT)
    counts.count("rate", MessageOutcome.DROPPED)
    counts.count("rate", MessageOutcome.DROPPED)
    for seconds in (0.0004, 0.003, 99.0):
        counts.latencies.queue.observe(seconds)
    with on_a_port(counts, queued=7, flying=4) as port:
        samples = scraped(port)
    assert {
        (name[0].removeprefix(PREFIX), *name[1:]): value
        for name, value in samples.items()
        if value and name[0].startswith(PREFIX) and name[0].endswith("_total")
    } == {
        ("connect_succ_total",): 3, ("connect_fail_total",): 2, ("reconnect_succ_total",): 2,
        ("disconnections_total",): 1, ("messages_received_total",): 1, ("bytes_received_total",): 100,
        ("messages_sent_total",): 1, ("bytes_sent_total",): 30,
        ("updates_total", "budget_up", "sent"): 1, ("updates_total", "rate", "dropped"): 2,
        ("update_bytes_total", "up", "control"): 100, ("update_bytes_total", "down", "delta"): 20,
        ("update_wire_bytes_total", "down"): 70,
    }  # fmt: skip
    gauges = [samples[f"peelfleet_cloud_{name}",] for name in ("queue_length", "in_flight", "ready")]
    assert gauges == [7, 4, 1]
    assert samples["peelfleet_cloud_model_info", "f", "", "v1"] == 1
    bounds = ("0.0005", "0.002", "0.005", "10.0", "+Inf")
    queue = [samples["peelfleet_cloud_update_e2e_seconds_bucket", bound, "queue"] for bound in bounds]
    assert queue == [1, 1, 2, 2, 3]


def test_all_that_can_happen_has_a_series_from_the_start() -> None:
    with on_a_port(ServiceStatistics()) as port:
        labels = [name[1:] for name in scraped(port) if name[0] == "peelfleet_cloud_updates_total"]
    assert sorted(labels) == sorted((why, result) for result, reasons in REASONS.items() for why in reasons)


def test_an_old_name_shows_what_the_new_one_does() -> None:
    counts = ServiceStatistics(connected=3)
    counts.count("rate", MessageOutcome.DROPPED)
    counts.latencies.queue.observe(0.003)
    with on_a_port(counts) as port:
        samples = scraped(port)
    suffixes = ("_total", "_bucket", "_sum", "_count")
    for new, old in OLD_NAMES.items():
        both = [
            {(name[0].removeprefix(family), *name[1:]): value for name, value in samples.items()
             if name[0].removeprefix(family) in suffixes}
            for family in (new, old)
        ]  # fmt: skip
        assert both[0] == both[1] != {}, new


def test_a_rollout_is_shown_group_by_group() -> None:
    with on_a_port(ServiceStatistics()) as port:
        assert not any(name[0].startswith(f"{PREFIX}rollout") for name in scraped(port))
    with on_a_port(ServiceStatistics(), rollout=FIGURES) as port:
        samples = scraped(port)
    shown = {
        (name[0].removeprefix(f"{PREFIX}rollout"), *name[1:]): value
        for name, value in samples.items()
        if name[0].startswith(f"{PREFIX}rollout")
    }
    assert shown == {
        ("_info", OLDER.version, "running", NEWER.version): 1, ("_groups",): 3, ("_groups_started",): 1,
        ("_devices", "0", "offered"): 5, ("_devices", "0", "updated"): 3, ("_devices", "0", "failed"): 1,
        ("_devices", "1", "offered"): 0, ("_devices", "1", "updated"): 0, ("_devices", "1", "failed"): 0,
        ("_devices", "2", "offered"): 0, ("_devices", "2", "updated"): 0, ("_devices", "2", "failed"): 0,
    }  # fmt: skip
