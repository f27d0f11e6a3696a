"""Metrics of a cloud service, for Prometheus."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cloud.service.rollout_progress import RolloutFigures
from cloud.service.statistics import PREFIX, ServiceStatistics
from wire.prometheus.families import histogram_families, with_old_names

_CONNECTION = ("connect_succ", "connect_fail", "reconnect_succ", "connect_duration_seconds")
_TRAFFIC = ("messages_received", "bytes_received", "messages_sent", "bytes_sent")
_UPDATES = ("updates", "update_bytes", "update_wire_bytes", "update_e2e_seconds")
OLD_NAMES = {PREFIX + name: name for name in (*_CONNECTION, *_TRAFFIC)} | {
    PREFIX + name: f"fleet_{name}" for name in _UPDATES
}
"""The old name of each family that had no prefix; both are shown for one version."""


class CloudCollector(Collector):
    """Yields the metrics of a service at each request.

    Args:
        statistics: of the service.
        queued: returns the number of reports that wait.
        in_flight: returns the number of answers that are being sent.
        labels: returns the labels of the service: fleet, replica and model version.
        rollout: returns the figures of the rollout; None: there was none.
    """

    def __init__(
        self,
        statistics: ServiceStatistics,
        queued: Callable[[], int],
        in_flight: Callable[[], int],
        labels: Callable[[], Mapping[str, str]],
        rollout: Callable[[], RolloutFigures | None],
    ) -> None:
        self._statistics = statistics
        self._queued = queued
        self._in_flight = in_flight
        self._labels = labels
        self._rollout = rollout

    def collect(self) -> Iterable[Metric]:
        """Yield every metric. The service runs in another thread meanwhile."""
        yield from with_old_names(self._families(), OLD_NAMES)

    def _families(self) -> Iterable[Metric]:
        yield from self._connection_metrics()
        yield from self._update_metrics()
        yield GaugeMetricFamily(PREFIX + "queue_length", "Reports that wait", value=self._queued())
        yield GaugeMetricFamily(
            PREFIX + "in_flight", "Reports whose answers are being sent", value=self._in_flight()
        )
        yield GaugeMetricFamily(
            PREFIX + "ready", "1 while it takes reports", value=int(self._statistics.ready)
        )
        yield InfoMetricFamily(PREFIX + "model", "What is served", value=dict(self._labels()))
        if (figures := self._rollout()) is not None:
            yield from _rollout_families(figures)

    def _connection_metrics(self) -> Iterable[Metric]:
        counts, again = self._statistics, max(self._statistics.connected - 1, 0)
        yield CounterMetricFamily(
            PREFIX + "connect_succ", "Connections that the broker accepted", counts.connected
        )
        yield CounterMetricFamily(
            PREFIX + "connect_fail", "Attempts to connect that came to nothing", counts.refused
        )
        yield CounterMetricFamily(PREFIX + "reconnect_succ", "Accepted connections but the first", again)
        yield CounterMetricFamily(PREFIX + "disconnections", "Connections that broke", counts.broken)
        yield from histogram_families(counts.latencies.connecting)
        yield CounterMetricFamily(PREFIX + "messages_received", "From devices", counts.received.messages)
        yield CounterMetricFamily(PREFIX + "bytes_received", "Their payload", counts.received.bytes)
        yield CounterMetricFamily(PREFIX + "messages_sent", "Confirmed by the broker", counts.sent.messages)
        yield CounterMetricFamily(PREFIX + "bytes_sent", "Their payload", counts.sent.bytes)

    def _update_metrics(self) -> Iterable[Metric]:
        counts = self._statistics
        updates = CounterMetricFamily(
            PREFIX + "updates", "Messages of devices that wait no more", labels=["reason", "result"]
        )
        for reason_and_result, count in list(counts.updates.items()):
            updates.add_metric(reason_and_result, count)
        yield updates
        errors = CounterMetricFamily(PREFIX + "errors", "Errors to devices", labels=["reason", "result"])
        for reason_and_result, count in list(counts.errors.items()):
            errors.add_metric(reason_and_result, count)
        yield errors
        payload = CounterMetricFamily(PREFIX + "update_bytes", "Payload", labels=["direction", "kind"])
        payload.add_metric(["up", "control"], counts.received.bytes)
        for kind, size in list(counts.update_bytes.items()):
            payload.add_metric(["down", kind], size)
        yield payload
        wire = CounterMetricFamily(
            PREFIX + "update_wire_bytes", "With MQTT, TCP and IP", labels=["direction"]
        )
        wire.add_metric(["up"], counts.received_wire_bytes)
        wire.add_metric(["down"], counts.update_wire_bytes)
        yield wire
        yield from histogram_families(counts.latencies.parts, counts.latencies.answers)


def _rollout_families(figures: RolloutFigures) -> Iterable[Metric]:
    notice = figures.notice
    labels = {"version": notice.version, "previous": notice.previous, "state": notice.state.value}
    yield InfoMetricFamily(PREFIX + "rollout", "The last rollout", value=labels)
    yield GaugeMetricFamily(PREFIX + "rollout_groups", "Groups of devices", value=notice.groups)
    yield GaugeMetricFamily(PREFIX + "rollout_groups_started", "Groups that started", value=notice.started)
    devices = GaugeMetricFamily(
        PREFIX + "rollout_devices",
        "Devices that take part, while it is under way",
        labels=["group", "result"],
    )
    for group, status in enumerate(figures.groups):
        offered = status.devices if group < notice.started else 0
        for result, count in (
            ("offered", offered), ("updated", status.updated), ("failed", status.failed)
        ):  # fmt: skip
            devices.add_metric([str(group), result], count)
    yield devices
