"""Behaviour of all brokers that we run; every broker is one small class at the end."""

import asyncio
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import pytest
from aiomqtt import Message

from broker_config import mosquitto
from broker_config.endpoint import Credentials, check_reachable
from broker_config.launch import RunningBroker, launch_broker
from tests.broker_config.clients import DEVICES, FLEET, RudeClient, client, contents, device, receive
from wire.errors import InputError
from wire.topics import (
    TABLE,
    LayerName,
    MessageKind,
    Role,
    cloud_topic,
    device_topic,
    fleet_topic,
    layer_topic,
    subscription,
)

MODEL = fleet_topic(MessageKind.MODEL, FLEET)
BLOCKS = layer_topic(FLEET, LayerName("ab12", 0, 3))
CLOUD = cloud_topic(FLEET, "main")
ALL_TOPICS = [
    *(device_topic(kind, FLEET, name) for kind in TABLE if TABLE[kind].per_device for name in DEVICES),
    MODEL,
    BLOCKS,
    CLOUD,
]


def topics_for(roles: str, role: Role) -> set[str]:
    """Return the topics that *role* may read or write, straight from the table; a device is d1."""
    topics: set[str] = set()
    for kind, route in TABLE.items():
        if role in getattr(route, roles):
            names = ["d1"] if role is Role.DEVICE else list(DEVICES)
            shared = {BLOCKS} if route.per_layer else {CLOUD} if route.per_replica else {MODEL}
            topics |= {device_topic(kind, FLEET, name) for name in names} if route.per_device else shared
    return topics


def topic(kind: MessageKind, name: str = "d1") -> str:
    return device_topic(kind, FLEET, name)


class BrokerContract:
    """Every test starts a broker of its own."""

    kind: ClassVar[Literal["mosquitto", "amqtt"]]

    @pytest.fixture
    def broker(self) -> Iterator[RunningBroker]:
        with launch_broker(self.kind, devices=DEVICES) as broker:
            yield broker
            assert broker.exit_report() is None

    @staticmethod
    def login(broker: RunningBroker, role: Role) -> Credentials:
        return device("d1") if role is Role.DEVICE else broker.endpoint.credentials[role]

    def test_it_is_the_broker_that_was_asked_for(self, broker: RunningBroker) -> None:
        assert broker.endpoint.kind == self.kind
        check_reachable(broker.endpoint, timeout_s=5)

    def test_messages_of_qos_1_arrive_once_and_in_order(self, broker: RunningBroker) -> None:
        async def story() -> list[tuple[str, bytes]]:
            async with (
                client(broker.endpoint, self.login(broker, Role.FLEET)) as fleet,
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud,
            ):
                await cloud.subscribe(subscription(MessageKind.BUDGET), qos=1)
                sending = [fleet.publish(topic(MessageKind.BUDGET), str(n), qos=1) for n in range(300)]
                await asyncio.gather(*sending)
                return contents(await receive(cloud, 300))

        assert asyncio.run(story()) == [(topic(MessageKind.BUDGET), str(n).encode()) for n in range(300)]

    def test_no_message_is_lost_while_others_subscribe(self, broker: RunningBroker) -> None:
        async def story() -> list[tuple[str, bytes]]:
            async with (
                client(broker.endpoint, self.login(broker, Role.FLEET)) as fleet,
                client(broker.endpoint, self.login(broker, Role.OBSERVER)) as observer,
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud,
            ):
                await observer.subscribe(subscription(MessageKind.BUDGET), qos=1)
                await cloud.subscribe(subscription(MessageKind.BUDGET, FLEET), qos=1)
                others = [
                    observer.subscribe(subscription(MessageKind.PEE, device=f"d{n}")) for n in range(300)
                ]
                sending = [fleet.publish(topic(MessageKind.BUDGET), str(n), qos=1) for n in range(300)]
                await asyncio.gather(*others, *sending)
                return contents(await receive(cloud, 300))

        assert asyncio.run(story()) == [(topic(MessageKind.BUDGET), str(n).encode()) for n in range(300)]

    def test_a_retained_message_reaches_who_subscribes_later(self, broker: RunningBroker) -> None:
        async def story() -> list[Message]:
            async with client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud:
                await cloud.publish(MODEL, b"v1", qos=1, retain=True)
                await cloud.publish(MODEL, b"v2", qos=1, retain=True)
            async with client(broker.endpoint, device("d1")) as late:
                await late.subscribe(MODEL, qos=1)
                return await receive(late, 1)

        messages = asyncio.run(story())
        assert contents(messages) == [(MODEL, b"v2")]
        assert messages[0].retain

    def test_a_retained_message_reaches_nobody_who_did_not_subscribe(self, broker: RunningBroker) -> None:
        async def story() -> list[tuple[str, bytes]]:
            async with (
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud,
                client(broker.endpoint, device("d2")) as other,
            ):
                await cloud.subscribe(subscription(MessageKind.STATUS), qos=1)
                await other.publish(topic(MessageKind.STATUS, "d2"), b"online", qos=1, retain=True)
                await receive(cloud, 1)
                async with client(broker.endpoint, device("d1")) as late:
                    await late.subscribe(topic(MessageKind.PEE), qos=1)
                    await cloud.publish(topic(MessageKind.PEE), b"part", qos=1)
                    return contents(await receive(late, 1))

        assert asyncio.run(story()) == [(topic(MessageKind.PEE), b"part")]

    @pytest.mark.parametrize("role", Role)
    def test_what_a_role_may_not_write_is_not_delivered(self, broker: RunningBroker, role: Role) -> None:
        async def story() -> set[str]:
            async with (
                client(broker.endpoint, self.login(broker, Role.OBSERVER)) as observer,
                client(broker.endpoint, self.login(broker, role)) as writer,
            ):
                await observer.subscribe("#", qos=1)
                as_a_device = topic(MessageKind.BUDGET).replace("d1", self.login(broker, role).user)
                for any_topic in [*ALL_TOPICS, "elsewhere", as_a_device]:
                    await writer.publish(any_topic, role.value, qos=1)
                return {name for name, _ in contents(await receive(observer, len(expected)))}

        expected = topics_for("writers", role)
        assert asyncio.run(story()) == expected

    @pytest.mark.parametrize("role", Role)
    def test_what_a_role_may_not_read_does_not_reach_it(self, broker: RunningBroker, role: Role) -> None:
        async def story() -> set[str]:
            async with (
                client(broker.endpoint, self.login(broker, Role.FLEET)) as fleet,
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud,
                client(broker.endpoint, self.login(broker, role)) as reader,
            ):
                await reader.subscribe("#", qos=1)
                for fleet_topic in topics_for("writers", Role.FLEET):
                    await fleet.publish(fleet_topic, b"", qos=1)
                for cloud_topic in topics_for("writers", Role.CLOUD):
                    await cloud.publish(cloud_topic, b"", qos=1)
                return {name for name, _ in contents(await receive(reader, len(expected)))}

        expected = topics_for("readers", role) | {
            MODEL,
            BLOCKS,
            CLOUD,
        }  # a pattern without %u is for everybody
        if role is Role.OBSERVER:
            expected = set(ALL_TOPICS)
        assert asyncio.run(story()) == expected

    def test_a_device_gets_nothing_from_a_subscription_to_another(self, broker: RunningBroker) -> None:
        async def story() -> list[tuple[str, bytes]]:
            async with (
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud,
                client(broker.endpoint, device("d1")) as curious,
            ):
                await curious.subscribe([(topic(MessageKind.PEE, "d2"), 1), (topic(MessageKind.PEE), 1)])
                await cloud.publish(topic(MessageKind.PEE, "d2"), b"secret", qos=1)
                await cloud.publish(topic(MessageKind.PEE), b"own", qos=1)
                return contents(await receive(curious, 1))

        assert asyncio.run(story()) == [(topic(MessageKind.PEE), b"own")]

    def test_a_wrong_password_is_refused(self, broker: RunningBroker) -> None:
        wrong = replace(broker.endpoint, credentials={Role.CLOUD: Credentials("_cloud", "guess")})
        with pytest.raises(InputError, match=r"refuses user '_cloud': Not authorized"):
            check_reachable(wrong, timeout_s=5)

    def test_a_client_without_a_name_is_refused(self, broker: RunningBroker) -> None:
        with pytest.raises(InputError, match="refuses a client without a user name: Not authorized"):
            check_reachable(replace(broker.endpoint, credentials={}), timeout_s=5)

    def test_a_last_will_is_sent_where_the_client_may_write(self, broker: RunningBroker) -> None:
        async def story() -> list[tuple[str, bytes]]:
            async with client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud:
                await cloud.subscribe(subscription(MessageKind.STATUS), qos=1)
                RudeClient(broker, device("d1"), topic(MessageKind.STATUS, "d2")).drop()
                RudeClient(broker, device("d1"), topic(MessageKind.STATUS)).drop()
                return contents(await receive(cloud, 1))

        assert asyncio.run(story()) == [(topic(MessageKind.STATUS), b"gone")]

    def test_messages_wait_for_a_persistent_session(self, broker: RunningBroker) -> None:
        async def story() -> list[tuple[str, bytes]]:
            session = {"identifier": "d1", "clean_session": False}
            async with client(broker.endpoint, device("d1"), **session) as away:
                await away.subscribe(topic(MessageKind.PEE), qos=1)
            async with client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud:
                for n in range(20):
                    await cloud.publish(topic(MessageKind.PEE), str(n), qos=1)
            async with client(broker.endpoint, device("d1"), **session) as back:
                return contents(await receive(back, 20))

        assert broker.endpoint.capabilities.offline_queues
        assert asyncio.run(story()) == [(topic(MessageKind.PEE), str(n).encode()) for n in range(20)]

    def test_shared_subscriptions_are_as_the_broker_says(self, broker: RunningBroker) -> None:
        async def story() -> list[int]:
            async with (
                client(broker.endpoint, self.login(broker, Role.FLEET)) as fleet,
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as one,
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as other,
            ):
                for replica in (one, other):
                    await replica.subscribe(f"$share/clouds/{subscription(MessageKind.BUDGET)}", qos=1)
                for n in range(20):
                    await fleet.publish(topic(MessageKind.BUDGET), str(n), qos=1)
                return [len(await receive(replica, 0)) for replica in (one, other)]

        shared = broker.endpoint.capabilities.shared_subscriptions
        assert asyncio.run(story()) == ([10, 10] if shared else [0, 0])

    def test_wills_of_lost_clients_are_as_the_broker_says(self, broker: RunningBroker) -> None:
        async def story() -> set[tuple[str, bytes]]:
            async with client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud:
                await cloud.subscribe(subscription(MessageKind.STATUS), qos=1)
                silent = RudeClient(broker, device("d1"), topic(MessageKind.STATUS, "d1"), keepalive=1)
                taken = RudeClient(broker, device("d2"), topic(MessageKind.STATUS, "d2"), name="x")
                new = RudeClient(broker, device("d2"), topic(MessageKind.STATUS, "d2"), name="x")
                wills = set(contents(await receive(cloud, len(expected), quiet_s=0.2 if expected else 4)))
                for lost in (silent, taken, new):
                    lost.drop()
                return wills

        said = broker.endpoint.capabilities
        sent = {"d1": said.wills_on_keepalive_expiry, "d2": said.wills_on_takeover}
        expected = {(topic(MessageKind.STATUS, name), b"gone") for name in sent if sent[name]}
        assert asyncio.run(story()) == expected

    def test_replies_do_not_wait_for_acknowledgements_of_tcp(self, broker: RunningBroker) -> None:
        """With Nagle's algorithm in the broker or in a client, the median is 30 to 40 ms."""

        async def story() -> list[float]:
            async with (
                client(broker.endpoint, device("d1")) as sender,
                client(broker.endpoint, self.login(broker, Role.CLOUD)) as cloud,
            ):
                await cloud.subscribe(subscription(MessageKind.BUDGET), qos=1)
                await sender.subscribe(topic(MessageKind.PEE), qos=1)
                connection = sender._client.socket()
                assert isinstance(connection, socket.socket)
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                sent: list[float] = []
                delays: list[float] = []

                async def answer() -> None:
                    async for _ in cloud.messages:
                        await cloud.publish(topic(MessageKind.PEE), bytes(4096), qos=1)

                async def listen() -> None:
                    async for _ in sender.messages:
                        delays.append(time.perf_counter() - sent[len(delays)])
                        if len(delays) == 50:
                            return

                async with asyncio.TaskGroup() as tasks:
                    answering = tasks.create_task(answer())
                    listening = tasks.create_task(listen())
                    for _ in range(50):
                        sent.append(time.perf_counter())
                        tasks.create_task(sender.publish(topic(MessageKind.BUDGET), bytes(60), qos=1))
                        await asyncio.sleep(0.02)
                    await listening
                    answering.cancel()
                return delays

        assert statistics.median(asyncio.run(story())) < 0.02


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
class TestMosquitto(BrokerContract):
    kind = "mosquitto"


class TestEmbedded(BrokerContract):
    kind = "amqtt"
