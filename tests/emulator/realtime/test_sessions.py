"""A session per device: a real broker, real sockets, and a cable that is cut."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiomqtt
import numpy as np
import psutil
import pytest

from broker_config import mosquitto
from broker_config.launch import RunningBroker, launch_broker
from devices.mqtt.sessions import Sessions
from devices.mqtt.settings import RealtimeSettings
from tests.cable import Cable
from tests.served import Listener
from wire.errors import InputError
from wire.messages import Status, decode
from wire.mqtt.connection import Connection
from wire.topics import MessageKind, Role, device_topic

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]

FLEET = "f"
NAMES = [f"d{number}" for number in range(20)]
PATIENCE_S = 60.0
QUICK = RealtimeSettings(connect_rate=10_000)


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with launch_broker("mosquitto", devices=dict.fromkeys(NAMES, "secret")) as running:
        yield running


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


class World:
    """The sessions of some devices behind a cable, and their events."""

    def __init__(
        self, broker: RunningBroker, cable: Cable, settings: RealtimeSettings, password: str
    ) -> None:
        self.cable = cable
        self.events: list[tuple[float, str, str]] = []
        self._endpoint = broker.endpoint
        self._settings, self._password = settings, password
        self.sessions = Sessions(
            self._login,
            FLEET,
            settings,
            on_connected=lambda name: self._tell("joined", name),
            on_disconnected=lambda name: self._tell("broke", name),
            on_answer=lambda _: None,
            rng=np.random.default_rng(1),
        )

    def times(self, what: str) -> list[float]:
        return [at for at, kind, _ in self.events if kind == what]

    def story(self) -> list[tuple[str, str]]:
        return [(what, name) for _, what, name in self.events]

    async def join(self, *names: str) -> None:
        for name in names:
            self.sessions.connect(name)
        await until(lambda: all(map(self.sessions.is_up, names)))

    def _login(self, name: str) -> Connection:
        return Connection(
            "127.0.0.1", self.cable.in_port, f"{FLEET}.{name}", name, self._password,
            persistent=self._settings.persistent, keep_alive_s=5,
        )  # fmt: skip

    def _tell(self, what: str, name: str) -> None:
        self.events.append((time.monotonic(), what, name))
        if what == "joined":
            self.sessions.publish(name, MessageKind.STATUS, Status(online=True, reason="here"))


@asynccontextmanager
async def world(
    broker: RunningBroker, settings: RealtimeSettings = QUICK, password: str = "secret"
) -> AsyncIterator[World]:
    async with Cable(broker.endpoint.port).laid() as cable:
        made = World(broker, cable, settings, password)
        async with made.sessions.running():
            yield made


def observer(broker: RunningBroker) -> Connection:
    return broker.endpoint.connection(Role.OBSERVER, "observer")


def test_a_cut_device_is_told_of_by_its_last_will_and_comes_back_by_itself(broker: RunningBroker) -> None:
    topic = device_topic(MessageKind.STATUS, FLEET, "d0")

    async def story() -> None:
        async with Listener(observer(broker), topic) as listener, world(broker) as made:
            await made.join("d0")
            await until(lambda: len(listener.heard.get(topic, ())) == 1)
            made.cable.cut()
            await until(lambda: made.story() == [("joined", "d0"), ("broke", "d0"), ("joined", "d0")])
            await until(lambda: len(listener.heard[topic]) == 3)
            # A new subscriber gets only the retained status.
            async with Listener(replace(observer(broker), client_id="late"), topic) as late:
                await until(lambda: topic in late.heard)
                assert [decode(payload, Status).online for payload in late.heard[topic]] == [True]
            await made.sessions.announce_offline(["d0"], PATIENCE_S)
            await until(lambda: len(listener.heard[topic]) == 4)
            *said, cleared = listener.heard[topic]
        assert cleared == b""
        assert [decode(payload, Status) for payload in said] == [
            Status(online=True, reason="here"),
            Status(online=False, reason="connection lost"),
            Status(online=True, reason="here"),
        ]
        assert dict(made.sessions.counts) == {"connections": 2, "broken": 1}

    asyncio.run(story())


@pytest.mark.parametrize(("persistent", "arrives"), [(True, 1), (False, 0)])
def test_what_is_sent_to_a_device_that_is_away_waits_for_it_if_its_session_persists(
    broker: RunningBroker, persistent: bool, arrives: int
) -> None:
    settings = RealtimeSettings(connect_rate=10_000, persistent=persistent)
    topic = device_topic(MessageKind.PEE, FLEET, "d1")

    async def story() -> None:
        async with world(broker, settings) as made:
            await made.join("d1")
            made.cable.plugged = False
            made.cable.cut()
            await until(lambda: not made.sessions.is_up("d1"))
            cloud = broker.endpoint.connection(Role.CLOUD, "cloud")
            async with aiomqtt.Client(**cloud.client_options()) as client:
                await client.publish(topic, b"no update, but seen", qos=1)
            made.cable.plugged = True
            await until(lambda: made.sessions.is_up("d1"))
            await made.join("d2")  # a round trip to the same broker: what waited has come
            assert made.sessions.counts["refused"] == arrives

    asyncio.run(story())


def test_those_who_are_cut_off_together_do_not_come_back_together(broker: RunningBroker) -> None:
    async def story() -> None:
        async with world(broker) as made:
            await made.join(*NAMES)
            made.events.clear()
            cut_s = time.monotonic()
            made.cable.cut()
            await until(lambda: len(made.times("joined")) == len(NAMES))
            back = [at - cut_s for at in made.times("joined")]
            assert min(back) >= 0.25  # half of half a second, and what is drawn
            assert max(back) - min(back) > 0.1

    asyncio.run(story())


def test_connections_are_begun_no_faster_than_the_scenario_says(broker: RunningBroker) -> None:
    async def story() -> None:
        async with world(broker, RealtimeSettings(connect_rate=20)) as made:
            began_s = time.monotonic()
            await made.join(*NAMES)
            for index, at in enumerate(sorted(made.times("joined"))):
                assert at - began_s >= index / 20 - 0.01  # a timer may be early by its resolution

    asyncio.run(story())


def test_a_device_that_leaves_and_comes_at_once_does_not_throw_itself_out(broker: RunningBroker) -> None:
    async def story() -> None:
        async with world(broker) as made:
            for wait_s in (0.0, 0.0, 0.002, 0.005, 0.02):
                made.sessions.connect("d3")
                await asyncio.sleep(wait_s)
                made.sessions.disconnect("d3")
                assert not made.sessions.is_up("d3")
            await made.join("d3")
            assert made.times("broke") == []
            await made.join("d4")
        assert made.sessions.up == made.sessions.expected == 0

    asyncio.run(story())
    assert f"{FLEET}.d3 already connected" not in broker.log_tail()


def test_who_is_refused_is_told_at_once_and_no_reconnection_is_waited_for(broker: RunningBroker) -> None:
    async def story() -> None:
        async with world(broker, password="wrong") as made:
            made.sessions.connect("d0")
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    made.sessions.check()
                    await asyncio.sleep(0.01)

    with pytest.raises(InputError, match=r"the broker refuses device d0: .*[Nn]ot authori"):
        asyncio.run(story())


def test_a_mistake_of_ours_in_a_session_ends_the_run_instead_of_the_session(broker: RunningBroker) -> None:
    async def story() -> None:
        async with world(broker) as made:
            made.events = ()  # type: ignore[assignment]  # cannot be appended to
            made.sessions.connect("d0")
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    made.sessions.check()
                    await asyncio.sleep(0.01)

    with pytest.raises(AttributeError, match="append"):
        asyncio.run(story())


class Impatient(Connection):
    """Waits a moment for answers."""

    def client_options(self) -> dict[str, Any]:
        return {**super().client_options(), "timeout": 0.2}


def test_a_broker_that_says_nothing_costs_no_socket_for_each_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        port = mute.getsockname()[1]

        async def story() -> None:
            sessions = Sessions(
                lambda name: Impatient("127.0.0.1", port, name), FLEET, QUICK, on_connected=lambda _: None,
                on_disconnected=lambda _: None, on_answer=lambda _: None, rng=np.random.default_rng(1),
            )  # fmt: skip
            async with sessions.running():
                for name in NAMES[:5]:
                    sessions.connect(name)
                await until(lambda: sessions.counts["connects_failed"] >= 15)
                open_ = [
                    connection
                    for connection in psutil.Process().net_connections()
                    if connection.raddr[1:] == (port,)
                ]
                assert len(open_) <= 5
                assert "timed out" in sessions.last_error

        asyncio.run(story())
