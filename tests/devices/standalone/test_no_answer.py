"""A device that is not answered, or not alone: it says so, and why that may be, and waits with a bound."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from broker_config import mosquitto
from cloud.blocks.store import save_store
from cloud.service.responder import notice_of
from devices.standalone.device import RealDevice
from devices.standalone.settings import DeviceSettings
from tests.cloud.services import FLEET, STORE, Cloud
from tests.devices.standalone.test_device import a_device, holding
from tests.foreign import ForeignBroker, foreign_broker, silent_broker
from tests.served import Listener
from wire.messages import BudgetReport, decode, encode
from wire.mqtt.connection import Connection

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
PATIENCE_S = 30.0


@dataclass
class Foreign:
    """A broker that is not ours, and a cloud beside it."""

    broker: ForeignBroker
    folder: Path

    def agent(self, *words: str, user: str = "3") -> "subprocess.Popen[str]":
        """Start a device of fleet ``f``."""
        return an_agent(self.broker.url, "--user", user, *words)


def an_agent(url: str, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "emulator.cli", "agent", "--fleet", FLEET, "--device", "d1"]
    command += ["--budget", "64KiB", *words]
    environment = os.environ | {"PEELFLEET_BROKER": url, "COLUMNS": "400"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@contextmanager
def beside_a_cloud(folder: Path, *lines: str) -> Iterator[Foreign]:
    save_store(STORE, folder / "store")
    with foreign_broker(folder, *lines) as broker:
        world = Foreign(broker, folder)
        cloud = Cloud(world, url=broker.url)  # type: ignore[arg-type]  # it asks for the folder only
        try:
            cloud.ready()
            yield world
        finally:
            cloud.process.kill()
            cloud.process.wait()


def words_of(agent: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    """Wait for an agent's end; return its exit status and what it said."""
    _, said = agent.communicate(timeout=PATIENCE_S)
    return agent.returncode, said.splitlines()


def test_a_payload_limit_ends_a_device_that_is_to_live_once_and_it_says_what_came(tmp_path: Path) -> None:
    with beside_a_cloud(tmp_path, "message_size_limit 400") as world:
        once = world.agent("--once", "--retry-after", "500ms", "--give-up-after", "4s")
        status, said = words_of(once)
        assert world.broker.count("Dropped too large PUBLISH") > 0
    assert status == 1
    unanswered = [line for line in said if " has no answer after " in line]
    assert len(unanswered) >= 2
    assert said[-1].startswith("peelfleet: ")
    assert "reports published; 0 parts of updates came" in said[-1]
    assert "message_size_limit" in said[-1]


@pytest.mark.parametrize(
    ("fleet", "user", "words"),
    [
        (FLEET, "9999", "user(=9999) must be below 6, the users of model"),
        (
            "elsewhere",
            "3",
            "no model notice came on peel/1/elsewhere/model: does a cloud serve fleet 'elsewhere'?",
        ),
    ],
)
def test_a_device_that_nobody_knows_says_so(tmp_path: Path, fleet: str, user: str, words: str) -> None:
    with beside_a_cloud(tmp_path) as world:
        status, said = words_of(world.agent("--once", "--give-up-after", "2s", "--fleet", fleet, user=user))
    assert status == 1
    assert words in said[-1]
    errors = [line for line in said if "by an error: unknown_user: user(=9999) of 6 (change; " in line]
    assert len(errors) == (fleet == FLEET)


def test_two_devices_with_one_name_say_so_and_give_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "does somebody else connect as device 'd1' of fleet 'f'?"

    async def story(port: int) -> None:
        settings = DeviceSettings("f", "d1", 3, None)
        connection = Connection("127.0.0.1", port, "d1")
        devices = [
            RealDevice(settings, connection, lambda: 1000, draw) for draw in (lambda: 0.0, lambda: 0.9)
        ]
        lives = [asyncio.create_task(each.run()) for each in devices]
        async with asyncio.timeout(PATIENCE_S):
            while words not in caplog.text:
                await asyncio.sleep(0.05)
        for each in devices:
            each.stop()
        await asyncio.gather(*lives)

    with caplog.at_level(logging.WARNING), foreign_broker(tmp_path) as broker:
        asyncio.run(story(broker.port))
    assert "the broker closed the connection" in caplog.text
    assert "[code:" not in caplog.text


def test_a_silent_broker_does_not_hold_a_device_that_is_told_to_stop() -> None:
    """Those who look after processes kill after ten seconds."""
    with silent_broker() as listener:
        agent = an_agent(f"mqtt://127.0.0.1:{listener.getsockname()[1]}", "--user", "3")
        try:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1)  # it waits for the broker's word
                agent.send_signal(signal.SIGTERM)
                _, said = agent.communicate(timeout=8)
        finally:
            agent.kill()
    assert agent.returncode == 0, said


def test_what_it_did_is_said_in_words(tmp_path: Path) -> None:
    with beside_a_cloud(tmp_path) as world:
        status, said = words_of(world.agent("--once"))
    assert status == 0
    assert said[-1].endswith(
        "1 report, 0 unanswered, 2 parts of updates (1 applied, 1 progress), 0 evictions, 1 connection, "
        "0 lost or not made"
    )


@pytest.mark.parametrize("budget", [0, 400])
def test_who_starts_again_with_less_drops_it_before_it_says_a_word(tmp_path: Path, budget: int) -> None:
    device = a_device(tmp_path, lambda: budget)
    device.poll_budget()
    report = decode(device.agent.report(), BudgetReport)
    assert device.agent.resident_bytes <= budget
    assert (report.budget_bytes, report.held) == (budget, holding(budget).held)
    assert device.counts.evictions == 1


def test_of_the_notices_that_a_session_has_missed_only_the_last_one_counts(tmp_path: Path) -> None:
    notice, budgets = notice_of(STORE), "peel/1/f/d1/budget"

    async def story(port: int) -> int:
        settings, connection = (
            DeviceSettings("f", "d1", 3, None),
            Connection("127.0.0.1", port, "d1", persistent=True),
        )

        def device() -> RealDevice:
            return RealDevice(settings, connection, lambda: 1000, lambda: 0.0)

        async with Listener(Connection("127.0.0.1", port, "cloud"), budgets) as heard:

            async def reports(alive: RealDevice, version: str) -> int:
                """Let it live until it knows of *version* and has reported; return how often it did."""
                life, before = asyncio.create_task(alive.run()), len(heard.heard.get(budgets, ()))
                async with asyncio.timeout(PATIENCE_S):
                    while len(heard.heard.get(budgets, ())) == before:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(0.5)  # were there more, they would have left by now
                alive.stop()
                await life
                assert alive.notice is not None
                assert alive.notice.version == version
                return len(heard.heard[budgets]) - before

            async with aiomqtt.Client(**Connection("127.0.0.1", port, "models").client_options()) as models:

                async def announce(version: str) -> None:
                    said = encode(msgspec.structs.replace(notice, version=version))
                    await models.publish("peel/1/f/model", said, qos=1, retain=True)

                await announce("v0")
                assert await reports(device(), "v0") == 1
                for number in range(1, 6):
                    await announce(f"v{number}")
                return await reports(device(), "v5")

    with foreign_broker(tmp_path) as broker:
        assert asyncio.run(story(broker.port)) == 1
