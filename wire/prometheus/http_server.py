"""Metrics and health over HTTP, for Prometheus and for a supervisor."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from wire.errors import InputError

LOG = logging.getLogger("peelfleet.metrics")

STUCK_S = 5.0
"""An event loop that does not run a callback within this time is stuck."""
IDLE_S = 5.0
"""A client that sends no request within this time is disconnected."""
LONGEST_S = 30.0
"""A longer connection is ended: a client may send a byte now and then."""
MOST_CONNECTIONS = 64
"""Further connections are refused: each takes a thread."""

Environ = dict[str, Any]  # Any: as WSGI has it
StartResponse = Callable[..., Any]


@dataclass(frozen=True)
class Health:
    """Health checks of a process, called from another thread."""

    alive: Callable[[], bool]
    """Tells whether the event loop runs; may take `STUCK_S`."""
    ready: Callable[[], bool]
    """Tells whether the process does its work now."""


def is_responsive(loop: asyncio.AbstractEventLoop, within_s: float = STUCK_S) -> bool:
    """Tell whether *loop*, which runs in another thread, runs a new callback within *within_s* seconds."""
    called = threading.Event()
    try:
        loop.call_soon_threadsafe(called.set)
    except RuntimeError:  # it has ended
        return False
    return called.wait(within_s)


@contextmanager
def serve_metrics(host: str, port: int | None, collector: Collector, health: Health) -> Iterator[int]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` from threads of their own; log and yield the port.

    Args:
        host: address to listen on.
        port: port to listen on; 0: a free one; None: nothing is served, and 0 is yielded.
        collector: the metrics.
        health: health checks.

    Raises:
        InputError: the port or the address cannot be used.
    """
    if port is None:
        yield 0
        return
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
    LOG.info("metrics on http://%s:%d/metrics", host, server.server_port, extra={"port": server.server_port})
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _server(host: str, port: int) -> "_Server":
    """Return a server that listens on *host*: an IPv4 or IPv6 address, or a name."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

    class Listening(_Server):
        address_family = family

    return Listening((host, port), _RequestHandler)


class _Server(ThreadingMixIn, WSGIServer):
    """A server that slow clients do not block, with a limited number of connections."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._started: dict[socket.socket, float] = {}
        super().__init__(address, handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own looks up our name, which may take long
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # Any: as the server has it
        """Tell whether one more connection is allowed."""
        if len(self._started) >= MOST_CONNECTIONS:
            return False
        self._started[request] = time.monotonic()
        return True

    def service_actions(self) -> None:
        """End connections that last too long; the server calls this now and then."""
        for request, begun_s in list(self._started.items()):
            if time.monotonic() - begun_s > LONGEST_S:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:  # Any: as above
        """End a connection."""
        self._started.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # Any: as above
        """Log a client that left or was too slow at debug level: Python's own method writes tracebacks."""
        LOG.debug("a connection to the metrics port ended early", exc_info=True)


class _Response(ServerHandler):
    """Ignores clients that leave before they have the response."""

    def log_exception(self, exc_info: Any) -> None:  # Any: as the handler has it
        """Log a bug of ours as one line, with its traceback inside."""
        if not issubclass(exc_info[0], OSError):
            LOG.error("the metrics could not be served", exc_info=exc_info)


class _RequestHandler(WSGIRequestHandler):
    timeout = IDLE_S

    def handle(self) -> None:
        """Answer one request; disconnect a client that sends none in time."""
        with suppress(OSError):  # a time-out, a reset
            self.raw_requestline = self.rfile.readline(65_537)
            if len(self.raw_requestline) > 65_536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(414)
            elif self.raw_requestline and self.parse_request():
                errors = self.get_stderr()
                handler = _Response(self.rfile, self.wfile, errors, self.get_environ(), multithread=False)  # type: ignore[arg-type]  # as the class above does
                handler.request_handler = self  # type: ignore[attr-defined]
                handler.run(self.server.get_app())  # type: ignore[attr-defined]  # it is a WSGIServer

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: Python would write a line for each request."""


def _app(metrics: Any, health: Health) -> Any:  # Any: WSGI applications
    def answer(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                body: Iterable[bytes] = metrics(environ, start)
                return body
            case "/healthz" if health.alive():
                return _respond(start, "200 OK", b"alive\n")
            case "/healthz":
                return _respond(start, "503 Service Unavailable", b"stuck\n")
            case "/readyz" if health.ready():
                return _respond(start, "200 OK", b"ready\n")
            case "/readyz":
                return _respond(start, "503 Service Unavailable", b"not ready\n")
        return _respond(start, "404 Not Found", b"/metrics, /healthz or /readyz\n")

    return answer


def _respond(start: StartResponse, status: str, text: bytes) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
    return [text]
