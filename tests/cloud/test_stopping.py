"""How the service ends: with what it took, in its time, and also where the broker is not there to help."""

import asyncio
import itertools
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from broker_config import mosquitto
from cloud.service.model_versions import ModelVersions
from cloud.service.mqtt_service import Service, ServiceConfig
from cloud.service.outcomes import MessageOutcome
from cloud.service.responder import Responder
from cloud.service.statistics import ServiceStatistics
from tests.cloud.services import FLEET, PATIENCE_S, STORE, Cloud, Fleet, World, a_report, a_world, wait_for
from wire.mqtt import backoff
from wire.mqtt.connection import Connection

needs_mosquitto = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as found:
        yield found


def a_service(port: int, counts: ServiceStatistics) -> Service:
    draws = itertools.cycle([1.0])
    versions = ModelVersions([Responder(STORE)])
    return Service(
        versions, Connection("127.0.0.1", port, "c"), ServiceConfig(FLEET), counts, lambda: next(draws)
    )


async def flood_until_it_ends(fleet: Fleet, cloud: Cloud) -> list[str]:
    """Ask for more and more devices, and end *cloud* meanwhile; return the devices that asked."""
    devices: list[str] = []
    for batch in itertools.count():
        more = [f"d{batch}-{number}" for number in range(50)]
        devices += more
        ended = cloud.process.poll() is not None
        await fleet.ask_all(more)
        if batch == 2:
            cloud.process.send_signal(signal.SIGTERM)
        if ended:
            break
    assert cloud.process.returncode == 0
    return devices


async def stopped_when(service: Service, is_time: Callable[[], Awaitable[object]]) -> None:
    """Let it serve, and stop it when it is time; it ends long before it would by itself."""
    serving = asyncio.create_task(service.serve())
    async with asyncio.timeout(PATIENCE_S):
        await is_time()
    service.stop()
    async with asyncio.timeout(5):
        await serving


def test_it_ends_at_once_while_it_waits_to_connect_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_RETRY_S", 1000.0)
    monkeypatch.setattr(backoff, "LAST_RETRY_S", 1000.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # does not listen
        counts = ServiceStatistics()

        async def refused() -> None:
            while not counts.refused:
                await asyncio.sleep(0.01)

        asyncio.run(stopped_when(a_service(nobody.getsockname()[1], counts), refused))
    assert (counts.connected, counts.refused) == (0, 1)


def test_it_ends_at_once_while_a_broker_takes_the_connection_and_says_nothing() -> None:
    async def story() -> None:
        spoke, gone, closed = (asyncio.Event() for _ in range(3))

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            spoke.set()
            await gone.wait()
            writer.close()
            await writer.wait_closed()
            closed.set()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
            await stopped_when(a_service(silent.sockets[0].getsockname()[1], ServiceStatistics()), spoke.wait)
            gone.set()
            await closed.wait()

    asyncio.run(story())


class TestBesideARealBroker:
    pytestmark = needs_mosquitto

    def test_it_finishes_what_it_took_and_its_next_start_answers_the_rest(self, world: World) -> None:
        async def story() -> None:
            async with Fleet(world) as fleet:
                first = world.cloud().ready()
                devices = await flood_until_it_ends(fleet, first)
                by_the_first = len(fleet.answered)
                (last,) = first.said("stopped: ")
                assert last["received"] == last["sent"] == by_the_first
                second = world.cloud().ready()
                await fleet.hears_all(devices)
                assert fleet.answered == Counter({(device, 1): 1 for device in devices})
                assert second.send(signal.SIGTERM) == 0
                assert second.said("stopped: ")[0]["sent"] == len(devices) - by_the_first > 0

        asyncio.run(story())

    def test_a_replica_that_stops_leaves_the_rest_to_the_others(self, world: World) -> None:
        async def story() -> None:
            async with Fleet(world) as fleet:
                one, two = [world.cloud("--replica", name).ready() for name in ("one", "two")]
                devices = await flood_until_it_ends(fleet, one)
                await fleet.hears_all(devices)
                assert two.send(signal.SIGTERM) == 0
                lasts = [cloud.said("stopped: ")[0] for cloud in (one, two)]
                sums = [sum(last[word] for last in lasts) for word in ("received", "sent")]
                assert sums == [len(devices)] * 2

        asyncio.run(story())

    def test_it_ends_in_its_grace_while_the_broker_confirms_nothing(self, world: World) -> None:
        async def story() -> None:
            async with Fleet(world) as fleet:
                cloud = world.cloud("--grace", "500 ms").ready()
                cloud.process.send_signal(signal.SIGSTOP)
                for number in range(100):
                    await fleet.ask(f"d{number}", a_report())
                world.mosquitto().suspend()
                try:
                    cloud.process.send_signal(signal.SIGCONT)
                    wait_for(
                        lambda: cloud.metric("peelfleet_cloud_messages_received_total") == 100, "all taken"
                    )
                    cloud.process.send_signal(signal.SIGTERM)
                    assert cloud.process.wait(8) == 0
                finally:
                    world.mosquitto().resume()
                (last,) = cloud.said("stopped: ")
                assert (last["received"], last["sent"], last["failed"]) == (100, 0, 100)
                assert cloud.said("stay unanswered")[0]["reports"] == 36

        asyncio.run(story())

    def test_it_ends_while_the_broker_is_dead(self, world: World) -> None:
        cloud = world.cloud().ready()
        world.mosquitto().kill()
        wait_for(lambda: cloud.metric("peelfleet_cloud_connect_fail_total") >= 2, "tried in vain")
        assert cloud.send(signal.SIGTERM) == 0

    def test_it_comes_back_to_a_broker_that_was_killed(self, world: World) -> None:
        async def story() -> None:
            cloud = world.cloud().ready()
            world.mosquitto().kill()
            wait_for(lambda: world.broker.exit_report() is not None, "dead")
            wait_for(lambda: cloud.metric("peelfleet_cloud_ready") == 0, "noticed")
            world.broker.restart()
            async with Fleet(world) as fleet:
                wait_for(lambda: cloud.metric("peelfleet_cloud_reconnect_succ_total") == 1, "connected again")
                cloud.ready()
                await fleet.ask("d1", a_report())
                await fleet.hears_all(["d1"])
                # The device may have the answer before the cloud has its confirmation.
                wait_for(lambda: cloud.became() == {("model_new", MessageOutcome.SENT.value): 1}, "confirmed")

        asyncio.run(story())
