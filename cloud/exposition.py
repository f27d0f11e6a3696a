"""A cloud service's figures for Prometheus, and whether it is well, over HTTP."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cloud.counts import BUCKETS_S, Counts, Times
from wire.errors import InputError

PREFIX = "peelfleet_cloud_"

Environ = dict[str, Any]  # Any: as WSGI has it
StartResponse = Callable[..., Any]


class CloudCollector(Collector):
    """Reads a service's counts whenever somebody asks.

    Args:
        counts: of the service.
        queued: how many reports wait now.
        labels: what does not change: fleet, replica and model version.
    """

    def __init__(self, counts: Counts, queued: Callable[[], int], labels: Mapping[str, str]) -> None:
        self._counts = counts
        self._queued = queued
        self._labels = dict(labels)

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        counts = self._counts
        yield _counter("reports_received", "Messages of devices, whatever came of them", counts.received)
        yield _counter("reports_answered", "Reports with an answer that the broker has", counts.answered)
        yield _counter("reports_unanswered", "Reports whose answer did not get through", counts.unanswered)
        yield _counter("reports_superseded", "Reports replaced by a newer one", counts.superseded)
        yield _by_reason("reports_refused", "Messages that are no reports", counts.refused)
        yield _by_reason("reports_dropped", "Reports that there was no room for", counts.dropped)
        yield _counter("update_parts", "Update parts that the broker has", counts.parts)
        yield _counter("update_bytes", "Their payload", counts.part_bytes)
        yield _counter("connections", "Connections to the broker", counts.connected)
        yield _counter("disconnections", "Connections that broke or did not come about", counts.broken)
        yield _gauge("queue_length", "Reports that wait", self._queued())
        yield _gauge("in_flight", "Reports whose answers are being sent", counts.flying)
        yield _gauge("ready", "1 while connected and subscribed", int(counts.ready))
        yield _histogram("selection_seconds", "To work out an answer", counts.selection)
        yield _histogram(
            "answer_seconds", "From a report's arrival to its answer at the broker", counts.answers
        )
        yield InfoMetricFamily(PREFIX + "model", "What is served", value=self._labels)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, meaning, value=value)


def _by_reason(name: str, meaning: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, meaning, labels=["reason"])
    for reason, count in sorted(counts.items()):
        family.add_metric([reason], count)
    return family


def _histogram(name: str, meaning: str, times: Times) -> Metric:
    seen, buckets = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], list(times.counts), strict=True):
        seen += count
        buckets.append((bound, seen))
    return HistogramMetricFamily(PREFIX + name, meaning, buckets=buckets, sum_value=times.sum_s)


@contextmanager
def exposed(host: str, port: int, collector: CloudCollector, ready: Callable[[], bool]) -> Iterator[int]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` from a thread of its own; give the port.

    Args:
        host: where to listen.
        port: likewise; 0: a free one.
        collector: of the service.
        ready: whether it is connected and subscribed.

    Raises:
        InputError: nobody can listen there.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server = make_server(host, port, _app(make_wsgi_app(registry), ready), WSGIServer, _Quiet)
    except OSError as error:
        raise InputError(f"--metrics-port {port}: cannot listen on {host}: {error.strerror}") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True, name="metrics")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


def _app(metrics: Any, ready: Callable[[], bool]) -> Any:  # Any: WSGI applications
    def answer(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/healthz":
                return _say(start, "200 OK", b"alive\n")
            case "/readyz" if ready():
                return _say(start, "200 OK", b"ready\n")
            case "/readyz":
                return _say(start, "503 Service Unavailable", b"not connected\n")
        return _say(start, "404 Not Found", b"/metrics, /healthz or /readyz\n")

    return answer


def _say(start: StartResponse, status: str, words: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(words)))])
    return [words]
