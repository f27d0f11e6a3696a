"""The rights of every role over TLS, on a broker of `broker init`, for every topic of the table."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest

from broker_config import mosquitto
from broker_config.accounts import Account, read_credentials
from broker_config.certificates import Authority
from broker_config.endpoint import check_reachable, parse_url
from broker_config.installation import LARGEST_MESSAGE as LARGEST
from broker_config.installation import Installation, install
from wire.errors import InputError
from wire.mqtt.connection import Connection, Tls
from wire.topics import (
    TABLE,
    LayerName,
    MessageKind,
    Role,
    access_rules,
    cloud_topic,
    device_topic,
    fleet_topic,
    layer_topic,
    matches,
    shared_subscription,
)

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
    # paho leaves the socket of a handshake that failed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DEVICES = ("d1", "d2")
FLEETS = ("f", "g")
QUIET_S = 0.4


def topics(fleet: str) -> list[str]:
    """Every topic of the table, for two devices."""
    every_topic = []
    for kind, route in TABLE.items():
        if route.per_device:
            every_topic += [device_topic(kind, fleet, device) for device in DEVICES]
        elif route.per_layer:
            every_topic.append(layer_topic(fleet, LayerName("m", 0, 1)))
        elif route.per_replica:
            every_topic.append(cloud_topic(fleet, "main"))
        else:
            every_topic.append(fleet_topic(kind, fleet))
    return every_topic


EVERY = [topic for fleet in FLEETS for topic in topics(fleet)]
OF_D1 = {
    "write": {f"peel/1/f/d1/{name}" for name in ("budget", "quality", "status")},
    "read": {
        *(f"peel/1/f/d1/{name}" for name in ("pee", "error")),
        *("peel/1/f/model", "peel/1/f/blocks/m/0/1", "peel/1/f/cloud/main/status", "peel/1/f/rollout"),
    },
}


@dataclass(frozen=True)
class World:
    """A running broker, and who may connect to it."""

    directory: Path
    port: int
    accounts: dict[str, Account]
    process: "subprocess.Popen[bytes]"

    def connection(self, user: str | None, **other: object) -> Connection:
        account = self.accounts[user] if user else None
        password = account.password if account else None
        settings = {"tls": Tls(self.directory / "ca.crt"), "password": password, **other}
        return Connection("localhost", self.port, f"c-{user}-{time.monotonic_ns()}", user, **settings)  # type: ignore[arg-type]

    def client(self, user: str | None, **other: object) -> aiomqtt.Client:
        return aiomqtt.Client(**self.connection(user, **other).client_options(), timeout=5)


@contextmanager
def running(
    *,
    client_certificates: bool = False,
    hosts: tuple[str, ...] = ("localhost",),
    devices: tuple[str, ...] = DEVICES,
    service_port: int | None = None,
) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        Path(folder).chmod(0o755)  # mosquitto is another user
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        directory = Path(folder) / "broker"
        options = Installation(
            "f", hosts, devices, port, "127.0.0.1",
            client_certificates=client_certificates, service_port=service_port,
        )  # fmt: skip
        accounts = install(directory, options)
        program = mosquitto.executable()
        assert program is not None
        with subprocess.Popen(
            [program, "-c", "mosquitto.conf"], cwd=directory, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_for(port)
                yield World(directory, port, {account.user: account for account in accounts}, process)
            finally:
                process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the broker does not listen")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running() as world:
        yield world


async def heard(subscriber: aiomqtt.Client) -> set[str]:
    """Return the topics of all messages until it is quiet."""
    received = set()
    try:
        while True:
            async with asyncio.timeout(QUIET_S):
                received.add((await anext(subscriber.messages)).topic.value)
    except TimeoutError:
        return received


def allowed(role: Role, access: str) -> set[str]:
    rules = [rule.filter for rule in access_rules(role, "f") if rule.access == access]
    return {topic for topic in EVERY for rule in rules if matches(rule, topic)}


async def written(world: World, user: str) -> set[str]:
    """Return on which topics what *user* publishes arrives: at an observer, or at the cloud that reads it."""
    async with world.client("_observer") as observer, world.client(user) as writer:
        await observer.subscribe("#", qos=1)
        for topic in EVERY:
            await writer.publish(topic, b"x", qos=1)
        return await heard(observer)


async def read(world: World, user: str) -> set[str]:
    """Return on which topics *user* hears what fleet and cloud publish, whatever it subscribes to."""
    async with world.client(user) as reader, world.client("_fleet") as fleet, world.client("_cloud") as cloud:
        for topic_filter in ("#", "+/#", "peel/1/#", "$SYS/#", *EVERY):
            await reader.subscribe(topic_filter, qos=1)
        await heard(reader)
        for topic in EVERY:
            await fleet.publish(topic, b"x", qos=1)
            await cloud.publish(topic, b"x", qos=1)
        return await heard(reader)


def test_a_device_writes_and_reads_its_own_topics_and_nothing_else(world: World) -> None:
    assert asyncio.run(written(world, "d1")) == OF_D1["write"]
    assert asyncio.run(read(world, "d1")) == OF_D1["read"]


@pytest.mark.parametrize("role", [Role.FLEET, Role.CLOUD])
def test_fleet_and_cloud_have_what_the_table_gives_them(world: World, role: Role) -> None:
    assert asyncio.run(written(world, f"_{role}")) == allowed(role, "write")
    public = {topic for topic in OF_D1["read"] if "/d1/" not in topic}  # a rule for all devices is for all
    assert asyncio.run(read(world, f"_{role}")) == allowed(role, "read") | public
    assert all(topic.startswith("peel/1/f/") for topic in allowed(role, "write") | allowed(role, "read"))


def test_an_observer_reads_its_fleet_and_writes_nothing(world: World) -> None:
    received = asyncio.run(read(world, "_observer"))
    assert {topic for topic in received if not topic.startswith("$SYS/")} == set(topics("f"))
    assert asyncio.run(written(world, "_observer")) == set()


def test_retained_messages_and_last_wills_go_no_further(world: World) -> None:
    async def story() -> tuple[set[str], set[str]]:
        async with world.client("_cloud") as cloud:
            await cloud.publish("peel/1/f/d2/pee", b"secret", qos=1, retain=True)
            await cloud.publish("peel/1/f/model", b"notice", qos=1, retain=True)
        async with world.client("d1") as reader:
            await reader.subscribe("peel/1/#", qos=1)
            retained = await heard(reader)
        will = aiomqtt.Will("peel/1/f/d2/status", b"gone", qos=1)
        async with world.client("_observer") as observer:
            await observer.subscribe("peel/1/f/+/status", qos=1)
            rude = aiomqtt.Client(**world.connection("d1").client_options(), will=will)
            await rude.__aenter__()
            rude._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]  # as a crash would
            willed = await heard(observer)
        async with world.client("_cloud") as cloud:
            await cloud.publish("peel/1/f/d2/pee", b"", qos=1, retain=True)
            await cloud.publish("peel/1/f/model", b"", qos=1, retain=True)
        return retained, willed

    assert asyncio.run(story()) == ({"peel/1/f/model"}, set())


def test_only_the_cloud_can_share_the_reports(world: World) -> None:
    async def taken(user: str) -> set[str]:
        async with world.client(user) as reader, world.client("d1") as device:
            await reader.subscribe(shared_subscription(MessageKind.BUDGET, "f"), qos=1)
            await reader.subscribe("$share/x/peel/1/f/#", qos=1)
            await device.publish("peel/1/f/d1/budget", b"{}", qos=1)
            return await heard(reader)

    assert asyncio.run(taken("_cloud")) == {"peel/1/f/d1/budget"}
    assert asyncio.run(taken("d2")) == set()


def test_a_device_with_the_client_id_of_another_hears_nothing_that_was_meant_for_it(world: World) -> None:
    async def story() -> tuple[list[bytes], list[bytes]]:
        def client(user: str) -> aiomqtt.Client:
            connection = replace(world.connection(user), client_id="f.d2", persistent=True)
            return aiomqtt.Client(**connection.client_options(), timeout=5)

        async def opened(user: str) -> list[bytes]:
            async with client(user) as session:
                payloads = []
                with contextlib.suppress(TimeoutError):
                    while True:
                        async with asyncio.timeout(QUIET_S):
                            payloads.append(bytes((await anext(session.messages)).payload))
                return payloads

        async with client("d2") as owner:
            await owner.subscribe("peel/1/f/d2/pee", qos=1)
        async with world.client("_cloud") as cloud:
            await cloud.publish("peel/1/f/d2/pee", b"for d2", qos=1)
            heard_by_owner = await opened("d2")
            await cloud.publish("peel/1/f/d2/pee", b"for d2 again", qos=1)
            return heard_by_owner, await opened("d1")

    assert asyncio.run(story()) == ([b"for d2"], [])


def test_a_user_whose_line_is_taken_out_is_cut_off_and_the_others_stay() -> None:
    with running() as world:

        async def taken_out() -> None:
            async with world.client("d1") as device, asyncio.timeout(5):
                passwords = world.directory / "passwords"
                lines = passwords.read_text().splitlines(keepends=True)
                passwords.write_text("".join(line for line in lines if not line.startswith("d1:")))
                world.process.send_signal(signal.SIGHUP)
                await anext(device.messages)

        async def story() -> str:
            async with world.client("d2") as other, world.client("_cloud") as cloud:
                await other.subscribe("peel/1/f/model", qos=1)
                with pytest.raises(aiomqtt.MqttError):
                    await taken_out()
                with pytest.raises(aiomqtt.MqttError):
                    await _enter(world.connection("d1"))
                await cloud.publish("peel/1/f/model", b"notice", qos=1)
                return (await anext(other.messages)).topic.value

        assert asyncio.run(story()) == "peel/1/f/model"


def test_devices_called_like_parts_of_topics_are_devices_like_others() -> None:
    names = ("model", "blocks", "pee", "peel", "1", "f")
    with running(devices=names) as world:

        async def story(name: str) -> set[str]:
            async with world.client("_observer") as observer, world.client(name) as device:
                await observer.subscribe("peel/#", qos=1)
                for other in names:
                    for kind in MessageKind:
                        await device.publish(f"peel/1/f/{other}/{kind}", b"x", qos=1)
                for kind in (MessageKind.MODEL, MessageKind.BLOCKS):
                    await device.publish(fleet_topic(kind, "f"), b"x", qos=1)
                await device.publish("peel/1/f/blocks/m/0/1", b"x", qos=1)
                return await heard(observer)

        for name in names:
            own = {f"peel/1/f/{name}/{kind}" for kind in ("budget", "quality", "status")}
            assert asyncio.run(story(name)) == own


def test_who_is_unknown_does_not_get_in(world: World) -> None:
    stranger = Connection("localhost", world.port, "c", "mallory", "guess", Tls(world.directory / "ca.crt"))
    for connection in (
        stranger,
        world.connection(None),
        world.connection("d1", password="guess"),
        world.connection("d1", password=world.accounts["d2"].password),
    ):
        with pytest.raises(aiomqtt.MqttError):
            asyncio.run(_enter(connection))


def test_a_broker_that_cannot_prove_who_it_is_is_not_talked_to(world: World, tmp_path: Path) -> None:
    account = world.accounts["_cloud"]
    login = f"{account.user}:{account.password}"
    good = parse_url(f"mqtts://{login}@localhost:{world.port}?ca={world.directory / 'ca.crt'}")
    check_reachable(good, 5)
    Authority.new("somebody else").signed.write(tmp_path / "other.crt", tmp_path / "other.key")
    for url in (
        f"mqtts://{login}@localhost:{world.port}?ca={tmp_path / 'other.crt'}",
        f"mqtts://{login}@localhost:{world.port}",
        f"mqtts://{login}@127.0.0.1:{world.port}?ca={world.directory / 'ca.crt'}",  # another name
    ):
        with pytest.raises(InputError, match=r"does not answer: .*certificate verify failed") as caught:
            check_reachable(parse_url(url), 5)
        assert account.password not in str(caught.value)
    with pytest.raises(InputError, match=r"does not answer: .*; does the port speak TLS \(mqtts\)\?"):
        check_reachable(parse_url(f"mqtt://{login}@127.0.0.1:{world.port}"), 2)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=1000)
    authority = Authority.new("old", long_ago)
    authority.signed.write(tmp_path / "ca.crt", tmp_path / "ca.key")
    authority.server(["localhost"], long_ago).write(tmp_path / "s.crt", tmp_path / "s.key")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "s.crt", tmp_path / "s.key")

    async def story() -> None:
        server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0, ssl=served)
        port = server.sockets[0].getsockname()[1]
        connection = Connection("localhost", port, "c", "u", "p", Tls(tmp_path / "ca.crt"))
        with pytest.raises(aiomqtt.MqttError, match="certificate has expired"):
            async with aiomqtt.Client(**connection.client_options(), timeout=3):
                raise AssertionError("it got in")
        server.close()

    asyncio.run(story())


@pytest.mark.slow
def test_with_client_certificates_the_certificate_says_who_it_is() -> None:
    with running(client_certificates=True) as world:
        own = {
            user: Tls(world.directory / "ca.crt", folder / f"{user}.crt", folder / f"{user}.key")
            for folder in (world.directory / "clients",)
            for user in ("d1", "d2", "_observer")
        }

        async def story() -> set[str]:
            def client(user: str, claimed: str | None = None) -> aiomqtt.Client:
                connection = Connection("localhost", world.port, f"c-{user}", claimed, None, own[user])
                return aiomqtt.Client(**connection.client_options(), timeout=5)

            async with client("_observer") as observer, client("d1", "d2") as liar:
                await observer.subscribe("peel/1/f/#", qos=1)
                for device in DEVICES:
                    await liar.publish(f"peel/1/f/{device}/budget", b"x", qos=1)
                return await heard(observer)

        assert asyncio.run(story()) == {"peel/1/f/d1/budget"}
        nobody = world.connection("d1")
        server = Tls(
            world.directory / "ca.crt", world.directory / "server.crt", world.directory / "server.key"
        )
        Authority.new("peelfleet f").client("d1").write(world.directory / "x.crt", world.directory / "x.key")
        forged = Tls(world.directory / "ca.crt", world.directory / "x.crt", world.directory / "x.key")
        for connection in (
            nobody,
            world.connection("d1", tls=server),  # it is no client's
            world.connection("d1", tls=forged),  # of an authority that has the name of ours
        ):
            with pytest.raises(aiomqtt.MqttError):
                asyncio.run(_enter(connection))


async def _enter(connection: Connection) -> None:
    async with aiomqtt.Client(**connection.client_options(), timeout=3) as client:
        await client.publish("peel/1/f/d1/budget", b"x", qos=1)


def test_a_message_that_is_too_large_goes_no_further_and_the_others_are_served(world: World) -> None:
    async def story() -> list[int]:
        async with world.client("_cloud") as cloud:
            await cloud.subscribe("peel/1/f/+/budget", qos=1)
            async with world.client("d1") as device, world.client("d2") as other:
                await device.publish("peel/1/f/d1/budget", bytes(LARGEST - 64), qos=1)
                with contextlib.suppress(aiomqtt.MqttError):  # the broker closes the connection
                    await device.publish("peel/1/f/d1/budget", bytes(LARGEST + 64), qos=1, timeout=2)
                await other.publish("peel/1/f/d2/budget", b"x", qos=1)
                messages = [await anext(cloud.messages) for _ in range(2)]
            return [len(message.payload) for message in messages]

    assert asyncio.run(story()) == [LARGEST - 64, 1]


def test_nobody_else_can_read_what_is_secret_and_nothing_is_overwritten(tmp_path: Path) -> None:
    directory = tmp_path / "broker"
    accounts = install(directory, Installation("f", ["localhost"], DEVICES))
    assert read_credentials(directory / "credentials.csv") == accounts
    for name in ("ca.key", "server.key", "passwords", "acl", "credentials.csv", "mosquitto.conf"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
    text = (directory / "passwords").read_text()
    assert not any(account.password in text for account in accounts)
    with pytest.raises(InputError, match="is there already; --force"):
        install(directory, Installation("f", ["localhost"], DEVICES))
    install(directory, Installation("f", ["localhost"], ("d3",)), force=True)
    assert [account.user for account in read_credentials(directory / "credentials.csv")][-1] == "d3"
    assert os.listdir(tmp_path) == ["broker"]
    shutil.rmtree(directory)
    with pytest.raises(InputError, match=r"broker user\(='d1'\) must be unique"):
        install(directory, Installation("f", ["localhost"], ("d1", "d1")))
    assert not directory.exists()
