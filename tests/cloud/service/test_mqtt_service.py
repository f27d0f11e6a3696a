"""The service with a real broker: queued messages, floods, and log lines."""

import asyncio
import contextlib
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from broker_config import mosquitto
from emulator.processes.cloud_process import url_with_password
from tests.cable import Cable
from tests.cloud.services import (
    FLEET,
    PASSWORD,
    PATIENCE_S,
    Cloud,
    Fleet,
    World,
    a_report,
    a_world,
    read,
    wait_for,
)
from wire.mqtt.connection import PUBLISHES_AT_ONCE
from wire.topics import MessageKind, Role, fleet_topic

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


def names(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def settled(cloud: Cloud, messages: int) -> dict[tuple[str, str], int]:
    """Wait until so many messages are accounted for; return what became of them."""
    wait_for(lambda: sum(cloud.became().values()) >= messages, f"{messages} messages accounted for")
    assert cloud.metric("peelfleet_cloud_messages_received_total") == messages
    assert (cloud.metric("peelfleet_cloud_queue_length"), cloud.metric("peelfleet_cloud_in_flight")) == (0, 0)
    return cloud.became()


def test_what_was_reported_while_it_was_away_is_answered_after_its_start(world: World) -> None:
    devices = names(20)

    async def story() -> None:
        async with Fleet(world) as fleet:
            assert world.cloud().ready().send(signal.SIGTERM) == 0
            await fleet.ask_all(devices)
            cloud = world.cloud()
            await fleet.hears_all(devices)
            assert settled(cloud, 20) == {("model_new", "sent"): 20}
            assert fleet.answered == Counter({(device, 1): 1 for device in devices})

    asyncio.run(story())


def test_who_reports_at_the_first_word_of_the_model_is_answered(world: World) -> None:
    """At its first start, far from the broker, which keeps nothing for it before it has subscribed."""
    devices = names(20)
    listening, endpoint = world.connection(Role.FLEET, "listening"), world.broker.endpoint

    async def story() -> None:
        async with (
            Fleet(world) as fleet,
            aiomqtt.Client(**listening.client_options()) as client,
            Cable(endpoint.port, delay_s=0.2).laid() as cable,
        ):
            await client.subscribe(fleet_topic(MessageKind.MODEL, FLEET), qos=1)
            world.cloud(url=url_with_password(replace(endpoint, port=cable.in_port), Role.CLOUD))
            await anext(client.messages)
            await fleet.ask_all(devices)
            await fleet.hears_all(devices)

    asyncio.run(story())


def test_killed_in_the_middle_of_a_flood_every_device_that_asks_again_is_answered(world: World) -> None:
    devices = names(300)

    async def story() -> None:
        async with Fleet(world) as fleet:
            first = world.cloud().ready()
            flood = asyncio.create_task(fleet.ask_all(devices))
            await fleet.hears(lambda: len(fleet.answered) > 10)
            first.send(signal.SIGKILL)
            await flood
            second = world.cloud().ready()
            left = [device for device in devices if not fleet.answered[device, 1]]
            await fleet.ask_all(left, seq=2)
            await fleet.hears(
                lambda: all(fleet.answered[device, 1] or fleet.answered[device, 2] for device in devices)
            )
            assert second.send(signal.SIGTERM) == 0

    asyncio.run(story())


def test_two_replicas_share_and_answer_each_report_once(world: World) -> None:
    devices = names(200)

    async def story() -> list[dict[tuple[str, str], int]]:
        async with Fleet(world) as fleet:
            clouds = [world.cloud("--replica", name) for name in ("one", "two")]
            for cloud in clouds:
                cloud.ready()
            await fleet.ask_all(devices)
            await fleet.hears_all(devices)
            wait_for(lambda: sum(sum(cloud.became().values()) for cloud in clouds) == 200, "all confirmed")
            assert fleet.answered == Counter({(device, 1): 1 for device in devices})
            return [cloud.became() for cloud in clouds]

    one, two = asyncio.run(story())
    assert set(one) == set(two) == {("model_new", "sent")}


def test_what_the_broker_gave_to_a_dead_replica_is_answered_when_that_comes_back(world: World) -> None:
    devices = names(100)

    async def story() -> None:
        async with Fleet(world) as fleet:
            one, two = [world.cloud("--replica", name).ready() for name in ("one", "two")]
            one.send(signal.SIGKILL)
            await fleet.ask_all(devices)
            again = world.cloud("--replica", "one")
            await fleet.hears_all(devices)
            assert fleet.answered == Counter({(device, 1): 1 for device in devices})
            assert sum(settled(again, 50).values()) + sum(settled(two, 50).values()) == 100

    asyncio.run(story())


def test_a_mad_device_is_limited_and_the_good_ones_are_answered(world: World) -> None:
    devices = names(50)

    async def story() -> dict[tuple[str, str], int]:
        async with Fleet(world) as fleet, Fleet(world, "mad") as mad:
            cloud = world.cloud("--max-rate", "1").ready()  # five at once
            flood = [mad.ask("mad", a_report(seq)) for seq in range(1, 1001)]
            await asyncio.gather(*flood, fleet.ask_all(devices))
            await fleet.hears_all(devices)
            return settled(cloud, 1050)

    became = asyncio.run(story())
    assert became.keys() <= {("model_new", "sent"), ("newer_report", "superseded"), ("rate", "dropped")}
    assert became["rate", "dropped"] > 900
    assert sum(became.values()) == 1050


def test_what_finds_no_room_is_dropped_and_counted(world: World) -> None:
    devices = names(300)

    async def story() -> None:
        async with Fleet(world) as fleet:
            cloud = world.cloud("--max-queue", "5").ready()
            cloud.process.send_signal(signal.SIGSTOP)
            await fleet.ask_all(devices)
            cloud.process.send_signal(signal.SIGCONT)
            became = settled(cloud, 300)
            sent, dropped = became["model_new", "sent"], became["queue_full", "dropped"]
            assert (sent + dropped, len(became)) == (300, 2)
            assert 5 <= sent <= PUBLISHES_AT_ONCE + 5  # what the broker confirms comes behind all reports
            await fleet.hears(lambda: len(fleet.answered) == sent)
            left = [device for device in devices if (device, 1) not in fleet.answered]
            for device in left:
                await fleet.ask(device, a_report(2))
                await fleet.hears_all([device], seq=2)

    asyncio.run(story())


def test_junk_is_counted_by_its_reason_and_the_service_lives(world: World) -> None:
    junk = [
        (b"", "malformed"), (b"\xff\xfe", "malformed"), (b"[" * 4000, "malformed"), (b'{"a":1}', "malformed"),
        (b" " * 5000, "too_large"), (bytes(2**20), "too_large"), (a_report(user=99), "unknown_user"),
        (a_report(user=None), "unknown_group"), (a_report(user=None, group=7), "unknown_group"),
    ]  # fmt: skip

    async def story() -> tuple[Cloud, dict[tuple[str, str], int]]:
        async with Fleet(world) as fleet:
            await fleet.ask("forgotten", a_report(), retain=True)
            cloud = world.cloud().ready()
            for number, (payload, _) in enumerate(junk):
                await fleet.ask(f"junk-{number}", payload)
            await fleet.ask("good", a_report(7))
            await fleet.hears_all(["good"], seq=7)
            return cloud, settled(cloud, len(junk) + 2)

    cloud, became = asyncio.run(story())
    expected = Counter((reason, "rejected") for _, reason in junk)
    assert became == expected + Counter({("retained", "rejected"): 1, ("model_new", "sent"): 1})
    assert cloud.send(signal.SIGTERM) == 0
    (last,) = cloud.said("stopped: ")
    assert {word: last[word] for word in ("received", "sent", "rejected", "failed")} == {
        "received": 11, "sent": 1, "rejected": 10, "failed": 0,
    }  # fmt: skip


def test_a_session_that_brings_another_fleets_reports_answers_nobody(world: World) -> None:
    async def story() -> None:
        before = world.connection(Role.CLOUD, f"cloud:{FLEET}").client_options() | {"clean_session": False}
        async with aiomqtt.Client(**before) as client:
            await client.subscribe("peel/1/other/+/budget", qos=1)
        emulator = world.connection(Role.EMULATOR, "other").client_options()
        async with Fleet(world) as fleet, aiomqtt.Client(**emulator) as other:
            cloud = world.cloud().ready()
            await other.publish("peel/1/other/d1/budget", a_report(), qos=1)
            await fleet.ask("d2", a_report())
            await fleet.hears_all(["d2"])
            assert settled(cloud, 2) == {("unknown_topic", "rejected"): 1, ("model_new", "sent"): 1}
            assert set(fleet.answered) == {("d2", 1)}

    asyncio.run(story())


def test_an_older_report_that_comes_later_does_not_take_the_newers_place(world: World) -> None:
    async def story() -> None:
        async with Fleet(world) as fleet:
            cloud = world.cloud().ready()
            cloud.process.send_signal(signal.SIGSTOP)
            await fleet.ask_all(
                names(PUBLISHES_AT_ONCE)
            )  # they fly when it wakes up; what comes then must wait
            for seq in (5, 9, 3, 9):
                await fleet.ask("turned", a_report(seq))
            cloud.process.send_signal(signal.SIGCONT)
            await fleet.hears_all(["turned"], seq=9)
            became = settled(cloud, PUBLISHES_AT_ONCE + 4)
            assert became["newer_report", "superseded"] == 3
            assert [seq for device, seq in fleet.answered if device == "turned"] == [9]

    asyncio.run(story())


def test_its_log_is_json_without_passwords_and_a_line_is_not_to_be_forged(world: World) -> None:
    endpoint = world.broker.endpoint
    wrong = world.cloud(url=f"mqtt://nobody:{PASSWORD}-too@{endpoint.host}:{endpoint.port}")
    wait_for(lambda: len(wrong.said("broker ")) >= 2, "refused twice")
    assert wrong.metric("peelfleet_cloud_connect_fail_total") >= 2
    assert read(wrong.port, "/readyz")[0] == 503
    assert wrong.send(signal.SIGTERM) == 0

    async def story() -> Cloud:
        async with Fleet(world) as fleet:
            cloud = world.cloud().ready()
            await fleet.ask("d1", b'{"seq\\n2026 INFO forged":1}')
            wait_for(lambda: bool(cloud.said("refused")), "a complaint")
            return cloud

    cloud = asyncio.run(story())
    assert cloud.send(signal.SIGTERM) == 0
    (complaint,) = cloud.said("refused")
    assert "\n" not in complaint["message"]
    assert complaint["reason"] == "malformed"
    for service in (wrong, cloud):
        assert PASSWORD not in service.log.read_text()
        assert all({"time", "level", "logger", "message"} <= line.keys() for line in service.lines)


def test_two_services_with_one_name_are_told_so(world: World) -> None:
    clouds = [world.cloud("--replica", "same") for _ in range(2)]
    wait_for(lambda: any(cloud.said("another client") for cloud in clouds), "said loudly")
    (line, *_) = [line for cloud in clouds for line in cloud.said("another client")]
    assert (line["level"], line["client_id"]) == ("error", f"cloud:{FLEET}:same")


def test_a_replica_and_another_fleet_have_names_of_their_own(world: World) -> None:
    one, two = world.cloud("--fleet", "a", "--replica", "b").ready(), world.cloud("--fleet", "a-b").ready()
    time.sleep(0.5)  # a takeover would come at once
    assert [cloud.metric("peelfleet_cloud_disconnections_total") for cloud in (one, two)] == [0, 0]


@pytest.mark.slow
def test_every_line_is_an_object_whatever_clients_of_the_metrics_port_do(world: World) -> None:
    cloud = world.cloud().ready()
    clients = [socket.create_connection(("127.0.0.1", cloud.port)) for _ in range(100)]
    for at, client in enumerate(clients):
        with contextlib.suppress(OSError):
            client.sendall([b"", b"GET /metrics HTTP/1.0\r\n\r\n", b"\xff\x00\r\n\r\n"][at % 3])
        if at % 2:  # a reset
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
    for client in clients[::2]:
        client.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):
            while client.recv(65_536):
                pass  # until the service has hung up
        client.close()
    assert cloud.send(signal.SIGTERM) == 0
    assert {line["level"] for line in cloud.lines} == {"info"}
