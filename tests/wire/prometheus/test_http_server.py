"""Metrics and health over a real port; slow clients do not block it."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tests.cloud.services import read, wait_for
from wire.errors import InputError
from wire.prometheus.http_server import MOST_CONNECTIONS, Health, is_responsive, serve_metrics

WELL = Health(alive=lambda: True, ready=lambda: True)


class Nothing(Collector):
    def collect(self) -> Iterable[Metric]:
        return ()


@contextmanager
def on_a_port(health: Health = WELL) -> Iterator[int]:
    with serve_metrics("127.0.0.1", 0, Nothing(), health) as port:
        yield port


def test_ready_and_alive_are_two_things() -> None:
    answers = {"alive": True, "ready": False}
    health = Health(alive=lambda: answers["alive"], ready=lambda: answers["ready"])
    with on_a_port(health) as port:
        ask = partial(read, port)
        assert ask("/healthz") == (200, "alive\n")
        assert ask("/readyz") == (503, "not ready\n")
        answers.update(alive=False, ready=True)
        assert ask("/healthz") == (503, "stuck\n")
        assert ask("/readyz") == (200, "ready\n")
        assert ask("/") == (404, "/metrics, /healthz or /readyz\n")


def test_an_event_loop_that_is_stuck_is_not_alive() -> None:
    loop, stuck, go_on = asyncio.new_event_loop(), threading.Event(), threading.Event()

    def hold_up() -> None:
        stuck.set()
        go_on.wait()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    health = Health(alive=lambda: is_responsive(loop, 0.2 if stuck.is_set() else 20.0), ready=lambda: True)
    with on_a_port(health) as port:
        assert read(port, "/healthz")[0] == 200
        loop.call_soon_threadsafe(hold_up)
        stuck.wait()
        assert read(port, "/healthz")[0] == 503
        go_on.set()
        stuck.clear()
        assert read(port, "/healthz")[0] == 200
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        assert read(port, "/healthz")[0] == 503


def test_clients_that_say_nothing_hold_nobody_up() -> None:
    with on_a_port() as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
        assert read(port, "/healthz") == (200, "alive\n")
        for client in silent:
            client.close()


@pytest.mark.slow
def test_clients_that_go_away_or_dawdle_leave_no_word(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wire.prometheus.http_server._RequestHandler.timeout", 0.2)
    monkeypatch.setattr("wire.prometheus.http_server.LONGEST_S", 0.5)
    with on_a_port() as port:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3 * MOST_CONNECTIONS)]
        for at, client in enumerate(clients):
            with suppress(OSError):
                client.sendall([b"", b"GET /metrics HTTP/1.0\r\n", b"GET /metrics HTTP/1.0\r\n\r\n"][at % 3])
            if at % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()  # a reset
        assert threading.active_count() <= MOST_CONNECTIONS + 10
        assert not ends(clients[0])
        wait_for(lambda: answers(port), "room for one more")
        for client in clients:
            client.close()
    assert capfd.readouterr() == ("", "")


def ends(client: socket.socket) -> bool:
    """Wait until the server has hung up; return whether it has not."""
    client.settimeout(10)
    with suppress(OSError):
        return client.recv(1) != b""
    return False


def answers(port: int) -> bool:
    with suppress(OSError):
        return read(port, "/healthz") == (200, "alive\n")
    return False


def test_it_listens_on_the_other_kind_of_address_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no such addresses")
    collector = Nothing()
    with (
        serve_metrics("::1", 0, collector, WELL) as port,
        socket.create_connection(("::1", port), 20) as client,
    ):
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"alive\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "no..name"])
def test_a_port_that_cannot_be_had_is_the_users_mistake(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        collector = Nothing()
        with pytest.raises(InputError, match=rf"--metrics-port {port}: cannot listen on {host}: "):  # noqa: SIM117
            with serve_metrics(host, port, collector, WELL):
                pass
