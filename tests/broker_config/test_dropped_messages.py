"""Dropped messages are added up over restarts of the broker; earlier ones do not count."""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from broker_config import mosquitto
from broker_config.dropped_messages import DropCounter, DropMonitor
from broker_config.endpoint import CAPABILITIES, Credentials, Endpoint, check_reachable
from broker_config.installation import CONFIGURATION, Installation, install
from broker_config.launch import launch_broker
from wire.errors import InputError
from wire.mqtt.connection import Tls
from wire.topics import MessageKind, Role, device_topic

needs_mosquitto = pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
PATIENCE_S = 30.0
TOPIC = device_topic(MessageKind.PEE, "f", "d")
QUEUE = 5
"""Messages that the broker of these tests keeps for whoever is away."""


def test_counts_are_added_up_over_restarts_from_the_first_one_on() -> None:
    drops, totals = DropCounter(), []
    for counted in (5, 5, 8, 0, 2, 2, 1):
        drops.count(counted)
        totals.append(drops.messages)
    assert totals == [0, 0, 3, 3, 5, 5, 6]


def test_who_has_heard_nothing_knows_nothing() -> None:
    assert DropCounter().messages is None


class Small:
    """A broker with TLS and a short queue."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "broker"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        accounts = install(self.directory, Installation("f", ("127.0.0.1",), ("d",), port, "127.0.0.1"))
        configuration = self.directory / CONFIGURATION
        text = configuration.read_text()
        assert "max_queued_messages 100000" in text
        configuration.write_text(text.replace("max_queued_messages 100000", f"max_queued_messages {QUEUE}"))
        roles = {account.role: Credentials(account.user, account.password) for account in accounts}
        self.endpoint = Endpoint(
            "127.0.0.1", port, "external", CAPABILITIES["external"], roles, Tls(self.directory / "ca.crt")
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        program = mosquitto.executable()
        assert program is not None
        command = [program, "-c", CONFIGURATION]
        with subprocess.Popen(command, cwd=self.directory, stderr=subprocess.DEVNULL) as process:
            try:
                self._wait()
                yield
            finally:
                process.kill()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                check_reachable(self.endpoint, 1.0)
            except InputError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    async def let_somebody_leave(self) -> None:
        device = replace(self.endpoint.connection(Role.DEVICE, "d"), persistent=True)
        async with aiomqtt.Client(**device.client_options()) as client:
            await client.subscribe(TOPIC, qos=1)

    async def send(self, count: int) -> None:
        cloud = self.endpoint.connection(Role.CLOUD, "cloud")
        async with aiomqtt.Client(**cloud.client_options()) as client:
            for _ in range(count):
                await client.publish(TOPIC, b"x", qos=1)


def wait_for(watch: DropMonitor, messages: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (dropped := watch.messages(0.1)) != messages:
        assert time.monotonic() < deadline, f"{dropped} in place of {messages}"


@pytest.mark.broker
@needs_mosquitto
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho, when its broker dies
@pytest.mark.slow
def test_a_broker_is_watched_over_its_restart() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # mosquitto is another user
        broker = Small(Path(folder))
        watch = DropMonitor(broker.endpoint)
        with watch.listening():
            with broker.running():
                wait_for(watch, 0)
                asyncio.run(broker.let_somebody_leave())
                asyncio.run(broker.send(QUEUE + 7))
                wait_for(watch, 7)
                time.sleep(2.2)  # the broker saves its queue
            with broker.running():
                asyncio.run(broker.send(3))
                wait_for(watch, 10)


@pytest.mark.broker
@needs_mosquitto
def test_what_a_broker_dropped_before_is_not_counted_and_its_last_count_is_waited_for() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        broker = Small(Path(folder))
        with broker.running():
            asyncio.run(broker.let_somebody_leave())
            asyncio.run(broker.send(QUEUE + 4))
            time.sleep(2.2)  # two counts of the broker
            watch = DropMonitor(broker.endpoint)
            with watch.listening():
                wait_for(watch, 0)
                asyncio.run(broker.send(1))
                assert watch.messages(PATIENCE_S) == 1


@pytest.mark.broker
@needs_mosquitto
def test_a_broker_that_does_not_let_us_read_it_says_nothing() -> None:
    with launch_broker("mosquitto") as running:
        cloud = running.endpoint.credentials[Role.CLOUD]
        blind = replace(running.endpoint, credentials=dict.fromkeys(Role, cloud))
        watch = DropMonitor(blind)
        with watch.listening():
            time.sleep(2.2)
            assert watch.messages(0.0) is None
