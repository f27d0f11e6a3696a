"""A cloud service's figures for Prometheus, and whether it is well, over HTTP."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

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

from cloud.service.statistics import BUCKETS_S, LatencyHistogram, ServiceStatistics
from wire.errors import InputError

LOG = logging.getLogger("peelfleet.cloud")

PREFIX = "peelfleet_cloud_"
"""What the field has no name for begins with this."""
STUCK_S = 5.0
"""An event loop that does not come round for so long is stuck."""
IDLE_S = 5.0
"""A client that says nothing for so long is hung up on."""
LONGEST_S = 30.0
"""A connection that lasts longer is ended: a client may say a byte now and then."""
MOST_CONNECTIONS = 64
"""More at once are hung up on: each takes a thread."""

Environ = dict[str, Any]  # Any: as WSGI has it
StartResponse = Callable[..., Any]


class CloudCollector(Collector):
    """Reads a service's counts whenever somebody asks.

    Args:
        counts: of the service.
        queued: how many reports wait now.
        flying: how many answers are on their way now.
        labels: what does not change: fleet, replica and model version.
    """

    def __init__(
        self,
        counts: ServiceStatistics,
        queued: Callable[[], int],
        flying: Callable[[], int],
        labels: Mapping[str, str],
    ) -> None:
        self._counts = counts
        self._queued = queued
        self._flying = flying
        self._labels = dict(labels)

    def collect(self) -> Iterable[Metric]:
        """Yield every metric. The service goes on meanwhile, in another thread."""
        yield from self._connection_metrics()
        yield from self._update_metrics()
        counts = self._counts
        yield GaugeMetricFamily(PREFIX + "queue_length", "Reports that wait", value=self._queued())
        yield GaugeMetricFamily(
            PREFIX + "in_flight", "Reports whose answers are being sent", value=self._flying()
        )
        yield GaugeMetricFamily(PREFIX + "ready", "1 while it takes reports", value=int(counts.ready))
        yield InfoMetricFamily(PREFIX + "model", "What is served", value=self._labels)

    def _connection_metrics(self) -> Iterable[Metric]:
        counts, again = self._counts, max(self._counts.connected - 1, 0)
        yield CounterMetricFamily("connect_succ", "Connections that the broker accepted", counts.connected)
        yield CounterMetricFamily("connect_fail", "Attempts to connect that came to nothing", counts.refused)
        yield CounterMetricFamily("reconnect_succ", "Accepted connections but the first", again)
        yield CounterMetricFamily(PREFIX + "disconnections", "Connections that broke", counts.broken)
        connecting = HistogramMetricFamily(
            "connect_duration_seconds", "From the attempt to the broker's word"
        )
        yield _with(connecting, [], counts.connecting)
        yield CounterMetricFamily("messages_received", "From devices", counts.received.messages)
        yield CounterMetricFamily("bytes_received", "Their payload", counts.received.bytes)
        yield CounterMetricFamily("messages_sent", "Confirmed by the broker", counts.sent.messages)
        yield CounterMetricFamily("bytes_sent", "Their payload", counts.sent.bytes)

    def _update_metrics(self) -> Iterable[Metric]:
        counts = self._counts
        updates = CounterMetricFamily(
            "fleet_updates", "Messages of devices that wait no more", labels=["reason", "result"]
        )
        for reason_and_result, count in list(counts.updates.items()):
            updates.add_metric(reason_and_result, count)
        yield updates
        payload = CounterMetricFamily("fleet_update_bytes", "Payload", labels=["direction", "kind"])
        payload.add_metric(["up", "control"], counts.received.bytes)
        for kind, size in list(counts.update_bytes.items()):
            payload.add_metric(["down", kind], size)
        yield payload
        wire = CounterMetricFamily("fleet_update_wire_bytes", "With MQTT, TCP and IP", labels=["direction"])
        wire.add_metric(["up"], counts.received_wire_bytes)
        wire.add_metric(["down"], counts.update_wire_bytes)
        yield wire
        spans = HistogramMetricFamily(
            "fleet_update_e2e_seconds", "What the cloud sees of it", labels=["part"]
        )
        for part, times in (
            ("queue", counts.queue), ("selection", counts.selection), ("downlink", counts.downlink)
        ):  # fmt: skip
            _with(spans, [part], times)
        yield spans
        answers = HistogramMetricFamily(
            PREFIX + "answer_seconds", "From a report's arrival to its sent answer"
        )
        yield _with(answers, [], counts.answers)


def _with(family: HistogramMetricFamily, labels: list[str], times: LatencyHistogram) -> HistogramMetricFamily:
    seen, buckets = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], list(times.counts), strict=True):
        seen += count
        buckets.append((bound, seen))
    family.add_metric(labels, buckets, sum_value=times.sum_s)
    return family


@dataclass(frozen=True)
class Health:
    """How a service is, asked from another thread."""

    alive: Callable[[], bool]
    """Whether its event loop comes round; may take `STUCK_S`."""
    ready: Callable[[], bool]
    """Whether it takes reports."""


def is_responsive(loop: asyncio.AbstractEventLoop, within_s: float = STUCK_S) -> bool:
    """Tell whether *loop*, which runs in another thread, still gets to what it is given."""
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:  # it has ended
        return False
    return turned.wait(within_s)


@contextmanager
def serve_metrics(host: str, port: int, collector: CloudCollector, health: Health) -> Iterator[int]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` from threads of their own; give the port.

    Args:
        host: where to listen.
        port: likewise; 0: a free one.
        collector: of the service.
        health: of the service.

    Raises:
        InputError: nobody can listen there.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server = _server(host, port)
    except (OSError, UnicodeError, OverflowError) as error:  # UnicodeError: no name of a host
        what = getattr(error, "strerror", None) or error
        raise InputError(f"--metrics-port {port}: cannot listen on {host}: {what}") from None
    server.set_app(_app(make_wsgi_app(registry), health))
    thread = threading.Thread(target=server.serve_forever, daemon=True, name="metrics")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _server(host: str, port: int) -> "_Server":
    """Return a server that listens on *host*, which may be an address of either kind, or a name."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

    class Listening(_Server):
        address_family = family

    return Listening((host, port), _Quiet)


class _Server(ThreadingMixIn, WSGIServer):
    """One that a client which says nothing, or too little, does not hold up, and none can fill."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._begun: dict[socket.socket, float] = {}
        super().__init__(address, handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks the name service who we are, which may take long
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # Any: as the server has it
        """Tell whether there is room for one more."""
        if len(self._begun) >= MOST_CONNECTIONS:
            return False
        self._begun[request] = time.monotonic()
        return True

    def service_actions(self) -> None:
        """End what lasts too long; called now and then."""
        for request, begun_s in list(self._begun.items()):
            if time.monotonic() - begun_s > LONGEST_S:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:  # Any: as above
        """End a connection."""
        self._begun.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # Any: as above
        """Say nothing of a client that went away or was too slow: Python's own writes tracebacks."""
        LOG.debug("a connection to the metrics port ended early", exc_info=True)


class _Answering(ServerHandler):
    """Says nothing of clients that go away while they are answered."""

    def log_exception(self, exc_info: Any) -> None:  # Any: as the handler has it
        """A mistake of ours is one line of the log, with its traceback inside."""
        if not issubclass(exc_info[0], OSError):
            LOG.error("the metrics could not be told", exc_info=exc_info)


class _Quiet(WSGIRequestHandler):
    timeout = IDLE_S

    def handle(self) -> None:
        """Answer one request; a client that says none in time is let go."""
        with suppress(OSError):  # a time-out, a reset
            self.raw_requestline = self.rfile.readline(65_537)
            if len(self.raw_requestline) > 65_536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(414)
            elif self.raw_requestline and self.parse_request():
                errors = self.get_stderr()
                handler = _Answering(self.rfile, self.wfile, errors, self.get_environ(), multithread=False)  # type: ignore[arg-type]  # as the class above does
                handler.request_handler = self  # type: ignore[attr-defined]
                handler.run(self.server.get_app())  # type: ignore[attr-defined]  # it is a WSGIServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


def _app(metrics: Any, health: Health) -> Any:  # Any: WSGI applications
    def answer(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/healthz" if health.alive():
                return _say(start, "200 OK", b"alive\n")
            case "/healthz":
                return _say(start, "503 Service Unavailable", b"stuck\n")
            case "/readyz" if health.ready():
                return _say(start, "200 OK", b"ready\n")
            case "/readyz":
                return _say(start, "503 Service Unavailable", b"takes no reports\n")
        return _say(start, "404 Not Found", b"/metrics, /healthz or /readyz\n")

    return answer


def _say(start: StartResponse, status: str, words: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(words)))])
    return [words]
