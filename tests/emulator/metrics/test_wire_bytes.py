"""What is logged as on the wire, against the MQTT packets between a fleet and a real broker."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker_config.endpoint import Credentials
from broker_config.launch import launch_broker
from tests.emulator.scenarios import TINY, Runner
from wire.mqtt_bytes import wire_bytes
from wire.topics import Role

PUBLISH = 3


class Counting:
    """A proxy before a broker that counts the PUBLISH packets of each connection, by direction and topic.

    Args:
        port: of the broker.
    """

    def __init__(self, port: int) -> None:
        self.counts: list[Counter[tuple[str, str]]] = []
        """Of each connection, by direction (``up`` is toward the broker) and the topic's last level.

        Bytes on the wire, each packet with its own TCP/IP headers; and payload, as ``payload up`` and so on.
        """
        self._broker = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @contextmanager
    def running(self) -> Iterator[None]:
        threading.Thread(target=self._serve, daemon=True).start()
        try:
            yield
        finally:
            self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far, counts = socket.create_connection(("127.0.0.1", self._broker)), Counter[tuple[str, str]]()
            self.counts.append(counts)
            for ends, direction in (((near, far), "up"), ((far, near), "down")):
                threading.Thread(target=self._pass_on, args=(*ends, direction, counts), daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, direction: str, counts: Counter[tuple[str, str]]
    ) -> None:
        read = source.makefile("rb").read
        while first := read(1):
            header, remaining, shift = first, 0, 0
            while True:
                header += read(1)
                remaining |= (header[-1] & 127) << shift
                shift += 7
                if header[-1] < 128:
                    break
            packet = header + read(remaining)
            target.sendall(packet)
            if first[0] >> 4 == PUBLISH:
                self._count(packet, len(header), direction, counts)
        target.close()

    def _count(self, packet: bytes, at: int, direction: str, counts: Counter[tuple[str, str]]) -> None:
        end = at + 2 + int.from_bytes(packet[at : at + 2], "big")
        kind = packet[at + 2 : end].decode().rpartition("/")[2]
        payload = packet[end + (2 if packet[0] & 6 else 0) :]
        if kind == "status" and (not payload or b"end of run" in payload):
            return  # of the emulator, which clears what the broker retains
        counts[direction, kind] += wire_bytes(len(packet))
        counts[f"payload {direction}", kind] += len(payload)


@pytest.mark.broker
def test_bytes_of_every_kind_are_what_is_between_the_fleet_and_the_broker(runner: Runner) -> None:
    """Nothing is lost or cut off, so that all that is logged as sent is there, and nothing else."""
    calm = "networks.flaky={uplink: {latency: 80 ms, deviation: 30 ms}, downlink: {bandwidth: 100 kbps}}"
    login = Credentials("_emulator", "secret")
    with launch_broker("auto", credentials={Role.EMULATOR: login}) as broker:
        proxy = Counting(broker.endpoint.port)
        with proxy.running():
            url = f"mqtt://_emulator:secret@127.0.0.1:{proxy.port}"
            found = runner.run(TINY, "clock=lockstep", calm, "stop_time=5 min", broker=url).summary
            sums = [found[f"{name}_bytes"] for name in ("quality", "status")]
            deadline = time.monotonic() + 10
            fleet: Counter[tuple[str, str]] = Counter()
            while (
                time.monotonic() < deadline
                and [fleet["payload up", "quality"], fleet["payload up", "status"]] != sums
            ):
                time.sleep(0.05)
                fleet = next(each for each in proxy.counts if ("up", "budget") in each)
    counted = {
        f"{name}{ending}_bytes": fleet[f"{way}{direction}", kind]
        for name, direction, kind in (
            ("report", "up", "budget"),
            ("update", "down", "pee"),
            ("quality", "up", "quality"),
            ("status", "up", "status"),
        )
        for way, ending in (("", "_wire"), ("payload ", ""))
    }
    assert {name: found[name] for name in counted} == counted
    assert found["reports_sent_again"] == 0
