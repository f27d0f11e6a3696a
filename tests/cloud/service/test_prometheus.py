"""Metrics and health over a real port; slow clients do not block it."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud.service.outcomes import REASONS, MessageOutcome, UpdateContent
from cloud.service.prometheus import MOST_CONNECTIONS, CloudCollector, Health, is_responsive, serve_metrics
from cloud.service.statistics import ServiceStatistics
from tests.cloud.services import read, wait_for
from wire.errors import InputError

LABELS = {"fleet": "f", "replica": "", "version": "v1"}
WELL = Health(alive=lambda: True, ready=lambda: True)


@contextmanager
def on_a_port(
    counts: ServiceStatistics, health: Health = WELL, queued: int = 0, flying: int = 0
) -> Iterator[int]:
    collector = CloudCollector(counts, lambda: queued, lambda: flying, LABELS)
    with serve_metrics("127.0.0.1", 0, collector, health) as port:
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
    assert {name: value for name, value in samples.items() if value and name[0].endswith("_total")} == {
        ("connect_succ_total",): 3, ("connect_fail_total",): 2, ("reconnect_succ_total",): 2,
        ("peelfleet_cloud_disconnections_total",): 1, ("messages_received_total",): 1,
        ("bytes_received_total",): 100, ("messages_sent_total",): 1, ("bytes_sent_total",): 30,
        ("fleet_updates_total", "budget_up", "sent"): 1, ("fleet_updates_total", "rate", "dropped"): 2,
        ("fleet_update_bytes_total", "up", "control"): 100, ("fleet_update_bytes_total", "down", "delta"): 20,
        ("fleet_update_wire_bytes_total", "down"): 70,
        ("process_cpu_seconds_total",): samples["process_cpu_seconds_total",],
    }  # fmt: skip
    gauges = [samples[f"peelfleet_cloud_{name}",] for name in ("queue_length", "in_flight", "ready")]
    assert gauges == [7, 4, 1]
    assert samples["peelfleet_cloud_model_info", "f", "", "v1"] == 1
    bounds = ("0.0005", "0.002", "0.005", "10.0", "+Inf")
    queue = [samples["fleet_update_e2e_seconds_bucket", bound, "queue"] for bound in bounds]
    assert queue == [1, 1, 2, 2, 3]


def test_all_that_can_happen_has_a_series_from_the_start() -> None:
    with on_a_port(ServiceStatistics()) as port:
        labels = [name[1:] for name in scraped(port) if name[0] == "fleet_updates_total"]
    assert sorted(labels) == sorted((why, result) for result, reasons in REASONS.items() for why in reasons)


def test_ready_and_alive_are_two_things() -> None:
    answers = {"alive": True, "ready": False}
    health = Health(alive=lambda: answers["alive"], ready=lambda: answers["ready"])
    with on_a_port(ServiceStatistics(), health) as port:
        ask = partial(read, port)
        assert ask("/healthz") == (200, "alive\n")
        assert ask("/readyz") == (503, "takes no reports\n")
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
    with on_a_port(ServiceStatistics(), health) as port:
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
    with on_a_port(ServiceStatistics()) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
        assert read(port, "/healthz") == (200, "alive\n")
        for client in silent:
            client.close()


@pytest.mark.slow
def test_clients_that_go_away_or_dawdle_leave_no_word(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.service.prometheus._RequestHandler.timeout", 0.2)
    monkeypatch.setattr("cloud.service.prometheus.LONGEST_S", 0.5)
    with on_a_port(ServiceStatistics()) as port:
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
    collector = CloudCollector(ServiceStatistics(), int, int, LABELS)
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
        collector = CloudCollector(ServiceStatistics(), int, int, LABELS)
        with pytest.raises(InputError, match=rf"--metrics-port {port}: cannot listen on {host}: "):  # noqa: SIM117
            with serve_metrics(host, port, collector, WELL):
                pass
