"""A real broker, real cloud services in processes of their own, and a fleet that asks them."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import psutil
from prometheus_client.parser import text_string_to_metric_families

from broker_config.endpoint import Credentials
from broker_config.launch import RunningBroker, launch_broker
from cloud.blocks.store import save_store
from emulator.processes.cloud_process import BROKER_VARIABLE, url_with_password
from tests.worlds import a_store
from wire.messages import BudgetReport, encode
from wire.mqtt.client import Message
from wire.mqtt.connection import Connection
from wire.mqtt.direct_queue import direct_queue
from wire.topics import MessageKind, Role, device_topic, parse, subscription
from wire.update_part import decode_part

FLEET = "f"
STORE = a_store(users=6)
PASSWORD = "swordfish"
PATIENCE_S = 30.0


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read(port: int, path: str) -> tuple[int, str]:
    """Return the status and the words of a page of a service."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Cloud:
    """A `peelfleet cloud` of its own process, whose log is JSON."""

    def __init__(self, world: "World", *options: str, url: str = "") -> None:
        self.log = world.folder / f"cloud-{time.monotonic_ns()}.log"
        words = ["--store", str(world.folder / "store"), "--fleet", FLEET, "--metrics-port", "0", *options]
        command = [sys.executable, "-m", "emulator.cli", "cloud", "--log-format", "json", *words]
        url = url or url_with_password(world.broker.endpoint, Role.CLOUD)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | {BROKER_VARIABLE: url}, stdout=log, stderr=log
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has said, whole lines only."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]

    def said(self, words: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if words in line["message"]]

    @property
    def port(self) -> int:
        wait_for(lambda: bool(self.said("metrics on")), "a port")
        return int(self.said("metrics on")[0]["port"])

    def ready(self) -> "Cloud":
        wait_for(lambda: read(self.port, "/readyz")[0] == 200, "ready")
        return self

    def metric(self, name: str) -> float:
        return sum(value for (found, *_), value in self.samples() if found == name)

    def samples(self) -> Iterable[tuple[tuple[str, ...], float]]:
        for family in text_string_to_metric_families(read(self.port, "/metrics")[1]):
            for sample in family.samples:
                yield (sample.name, *sample.labels.values()), sample.value

    def became(self) -> dict[tuple[str, str], int]:
        """Return what became of how many messages, by reason and result."""
        found = {
            words[1:]: int(value)
            for words, value in self.samples()
            if words[0] == "peelfleet_cloud_updates_total"
        }
        return {(words[0], words[1]): count for words, count in found.items() if count}

    def send(self, number: signal.Signals) -> int:
        """Send a signal that ends it; return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@dataclass
class World:
    """A broker, a store, and the services that a test has started."""

    broker: RunningBroker
    folder: Path
    clouds: list[Cloud] = field(default_factory=list)

    def cloud(self, *options: str, url: str = "") -> Cloud:
        self.clouds.append(Cloud(self, *options, url=url))
        return self.clouds[-1]

    def connection(self, role: Role, name: str) -> Connection:
        return self.broker.endpoint.connection(role, name)

    def mosquitto(self) -> psutil.Process:
        """The broker's process."""
        ours = psutil.Process().children(recursive=True)
        return next(each for each in ours if each.name() == "mosquitto")


@contextmanager
def a_world(folder: Path) -> Iterator[World]:
    save_store(STORE, folder / "store")
    login = {role: Credentials(f"_{role}", PASSWORD) for role in (Role.CLOUD, Role.FLEET, Role.EMULATOR)}
    with launch_broker("mosquitto", credentials=login) as broker:
        world = World(broker, folder)
        try:
            yield world
        finally:
            for cloud in world.clouds:
                cloud.process.kill()
                cloud.process.wait()


def a_report(seq: int = 1, **fields: Any) -> bytes:
    return encode(BudgetReport(**({"seq": seq, "budget_bytes": 10**6, "user": seq % 6} | fields)))


class Fleet:
    """Devices that share a connection, ask, and hear what is answered.

    Args:
        world: where.
        name: of its connection.
    """

    def __init__(self, world: World, name: str = "fleet") -> None:
        self.answered: Counter[tuple[str, int]] = Counter()
        """How often the last part of the answer to (device, report) has come."""
        options = world.connection(Role.FLEET, name).client_options()
        self._client = aiomqtt.Client(**options, queue_type=direct_queue(self._take))
        self._heard = asyncio.Event()

    async def __aenter__(self) -> "Fleet":
        await self._client.__aenter__()
        self._client.pending_calls_threshold = 10_000
        await self._client.subscribe(subscription(MessageKind.PEE, FLEET), qos=1)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(None, None, None)

    async def ask(self, device: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        topic = device_topic(MessageKind.BUDGET, FLEET, device)
        await self._client.publish(topic, payload, qos=1, retain=retain, timeout=PATIENCE_S)

    async def ask_all(self, devices: Sequence[str], seq: int = 1) -> None:
        """Ask for each device."""
        await asyncio.gather(*(self.ask(device, a_report(seq)) for device in devices))

    async def hears(self, wanted: Callable[[], bool]) -> None:
        """Wait until what was answered is as wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while not wanted():
                self._heard.clear()
                await self._heard.wait()

    async def hears_all(self, devices: Sequence[str], seq: int = 1) -> None:
        """Wait until each device has the answer to its report *seq*."""
        await self.hears(lambda: all(self.answered[device, seq] for device in devices))

    def _take(self, message: Message) -> None:
        part = decode_part(message.payload)
        if part.layout.part == part.layout.parts:
            self.answered[parse(message.topic.value).device or "", part.seq] += 1
            self._heard.set()
