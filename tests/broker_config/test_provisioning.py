"""Users that are added, revoked and given new logins while the broker runs; the others notice nothing."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker_config import mosquitto
from broker_config.accounts import read_credentials
from broker_config.installation import Installation, install
from broker_config.provisioning import BrokerUsers
from emulator.cli.verbs import load_verb
from tests.broker_config.test_security import World, running
from tests.cloud.services import free_port
from wire.errors import InputError
from wire.mqtt.connection import Connection, Tls

needs_broker = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def login(world: World, user: str) -> Connection:
    """Return the connection of *user* with the password that the folder has for it now."""
    accounts = {account.user: account for account in read_credentials(world.directory / "credentials.csv")}
    return replace(world.connection(None), user=user, password=accounts[user].password, client_id=user)


def with_certificate(world: World, user: str, folder: Path) -> Connection:
    """Return the connection of *user* with the certificate in *folder*."""
    tls = Tls(world.directory / "ca.crt", folder / f"{user}.crt", folder / f"{user}.key")
    return replace(world.connection(None, tls=tls), client_id=user)


async def enters(connection: Connection) -> bool:
    """Tell if the broker accepts a client."""
    try:
        async with aiomqtt.Client(**connection.client_options(), timeout=5):
            return True
    except aiomqtt.MqttError:
        return False


async def reloaded(world: World) -> None:
    world.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.3)


def lines_of(directory: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the lines about *names* in each file of users."""
    hashes = (directory / "passwords").read_text().splitlines()
    logins = (directory / "credentials.csv").read_text().splitlines()
    return {
        "passwords": [line for line in hashes if line.partition(":")[0] in names],
        "credentials.csv": [line for line in logins if line.split(",")[1] in names],
    }


class TestPasswords:
    pytestmark = needs_broker

    def test_devices_come_and_go_and_the_others_stay_connected(self) -> None:
        async def story(world: World) -> None:
            users, others = BrokerUsers(world.directory), ("d2", "_cloud", "_fleet")
            before = lines_of(world.directory, others)
            async with world.client("d2") as bystander, world.client("d1") as device:
                await bystander.subscribe("peel/1/f/model", qos=1)
                users.add(["d3"])
                assert not await enters(login(world, "d3"))
                await reloaded(world)
                assert await enters(login(world, "d3"))
                was = login(world, "d3")
                users.rotate(["d3"])
                await reloaded(world)
                assert (await enters(was), await enters(login(world, "d3"))) == (False, True)
                revoked = login(world, "d1")
                users.revoke(["d1"])
                await reloaded(world)
                with pytest.raises(aiomqtt.MqttError):  # its open connection is cut
                    await device.publish("peel/1/f/d1/status", b"x", qos=1)
                assert not await enters(revoked)
                async with world.client("_cloud") as cloud:
                    await cloud.publish("peel/1/f/model", b"notice", qos=1)
                async with asyncio.timeout(5):
                    assert (await anext(bystander.messages)).payload == b"notice"
            assert lines_of(world.directory, others) == before
            assert [each.user for each in users.list_users()] == ["_fleet", "_cloud", "_observer", "d2", "d3"]
            assert read_credentials(world.directory / "credentials.csv")[3].user == "d2"

        with running() as world:
            try:
                asyncio.run(story(world))
            except* aiomqtt.MqttError:  # the device that was cut off, as it leaves
                pass


class TestServicePort:
    pytestmark = needs_broker

    def test_a_device_cannot_take_the_session_of_another_and_services_choose_their_ids(self) -> None:
        port = free_port()

        async def story(world: World) -> list[bytes]:
            users = BrokerUsers(world.directory)
            thief = replace(login(world, "d2"), client_id="d1")
            cloud = [
                replace(login(world, "_cloud"), port=port, client_id=f"cloud:f:{name}") for name in ("a", "b")
            ]
            owner = replace(login(world, "d1"), persistent=True)
            async with (
                aiomqtt.Client(**owner.client_options()) as device,
                aiomqtt.Client(**cloud[0].client_options()) as sender,
                aiomqtt.Client(**cloud[1].client_options()),
            ):
                await device.subscribe("peel/1/f/d1/pee", qos=1)
                assert await enters(thief)
                assert not await enters(replace(login(world, "d2"), port=port))
                assert not await enters(replace(login(world, "_cloud"), client_id="cloud"))
                await sender.publish("peel/1/f/d1/pee", b"while it is there", qos=1)
                heard = [(await anext(device.messages)).payload]
            users.rotate(["_cloud", "d1"])
            await reloaded(world)
            new = replace(login(world, "_cloud"), port=port)
            assert [await enters(each) for each in (cloud[0], new)] == [False, True]
            async with aiomqtt.Client(**new.client_options()) as sender:
                await sender.publish("peel/1/f/d1/pee", b"while it is away", qos=1)
            back = replace(login(world, "d1"), persistent=True)
            async with aiomqtt.Client(**back.client_options()) as device, asyncio.timeout(10):
                return [*heard, (await anext(device.messages)).payload]

        with running(service_port=port) as world:
            assert asyncio.run(story(world)) == [b"while it is there", b"while it is away"]


class TestCertificates:
    pytestmark = needs_broker

    @pytest.mark.slow
    def test_a_revoked_certificate_opens_nothing_and_an_open_connection_may_do_nothing(
        self, tmp_path: Path
    ) -> None:
        async def story(world: World) -> None:
            users, clients = BrokerUsers(world.directory), world.directory / "clients"
            kept = shutil.copytree(clients, tmp_path / "clients")
            old = {name: with_certificate(world, name, kept) for name in ("d1", "d2", "_observer")}
            others = (clients / "_cloud.crt").read_bytes()
            async with (
                aiomqtt.Client(**old["d1"].client_options()) as device,
                aiomqtt.Client(**old["_observer"].client_options()) as observer,
            ):
                await observer.subscribe("peel/#", qos=1)
                users.revoke(["d1"])
                users.rotate(["d2"])
                users.add(["d3"])
                await reloaded(world)
                await device.publish("peel/1/f/d1/status", b"x", qos=1)
                new = {name: with_certificate(world, name, clients) for name in ("d2", "d3")}
                async with aiomqtt.Client(**new["d2"].client_options()) as other:
                    await other.publish("peel/1/f/d2/status", b"y", qos=1)
                assert (await anext(observer.messages)).topic.value == "peel/1/f/d2/status"
                assert [await enters(old[name]) for name in ("d1", "d2")] == [False, False]
                assert [await enters(each) for each in new.values()] == [True, True]
            users.add(["d1"])
            await reloaded(world)
            again = with_certificate(world, "d1", clients)
            assert (await enters(again), await enters(old["d1"])) == (True, False)
            async with (
                aiomqtt.Client(**again.client_options()) as device,
                aiomqtt.Client(**old["_observer"].client_options()) as observer,
            ):
                await observer.subscribe("peel/1/f/d1/status", qos=1)
                await device.publish("peel/1/f/d1/status", b"back", qos=1)
                assert (await anext(observer.messages)).payload == b"back"
            assert (clients / "_cloud.crt").read_bytes() == others

        with running(client_certificates=True) as world:
            asyncio.run(story(world))


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_a_folder_that_was_copied_is_an_installation_like_before() -> None:
    with tempfile.TemporaryDirectory() as name, running() as world:
        Path(name).chmod(0o755)  # mosquitto is another user
        world.process.terminate()
        world.process.wait()
        moved = Path(name) / "elsewhere"
        command = ["cp", "-a", str(world.directory), str(moved)]
        subprocess.run(command, check=True)
        shutil.rmtree(world.directory / "state")
        program = mosquitto.executable()
        assert program is not None
        assert str(world.directory) not in (moved / "mosquitto.conf").read_text()
        with subprocess.Popen(
            [program, "-c", "mosquitto.conf"], cwd=moved, stderr=subprocess.DEVNULL
        ) as broker:
            try:
                asyncio.run(soon(world.connection("d1")))
            finally:
                broker.terminate()
        assert list((moved / "state").iterdir())


async def soon(connection: Connection) -> None:
    deadline = time.monotonic() + 20
    while not await enters(connection):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def test_what_cannot_be_changed_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    install(folder, Installation("f", ["localhost"], ("d1",), client_certificates=True))
    before = contents(folder)
    users = BrokerUsers(folder)
    with pytest.raises(InputError, match=r"broker user\(='d1'\) must be unique"):
        users.add(["d2", "d1"])
    with pytest.raises(InputError, match=r"broker user\(='_x'\) is no user name for role device"):
        users.add(["_x"])
    with pytest.raises(InputError, match="'d9': is no user of the broker in"):
        users.revoke(["d1", "d9"])
    (folder / "clients" / "d1.crt").rename(folder / "clients" / "elsewhere")
    with pytest.raises(InputError, match=r"d1\.crt: is not there: its number is needed to revoke it"):
        users.revoke(["d1"])
    (folder / "clients" / "elsewhere").rename(folder / "clients" / "d1.crt")
    key = (folder / "ca.key").read_bytes()
    (folder / "ca.key").unlink()
    with pytest.raises(InputError, match=r"ca\.key: must be the authority's key: No such file"):
        users.rotate(["d1"])
    (folder / "ca.key").write_bytes(key)
    assert contents(folder) == before
    text = (folder / "mosquitto.conf").read_text()
    (folder / "mosquitto.conf").write_text(text.replace("crlfile", "# crlfile is later:"))
    with pytest.raises(InputError, match=r"mosquitto\.conf: has no line `crlfile revoked\.pem`"):
        BrokerUsers(folder).revoke(["d1"])


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"client_certificates": True}, "--service-port is for passwords"),
        ({"product": "emqx"}, "--service-port is for mosquitto, not for emqx"),
        ({"port": 1884}, r"--service-port\(=1884\) must be another than --port"),
    ],
)
def test_a_port_for_services_that_would_keep_nobody_apart_is_refused(
    tmp_path: Path, options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InputError, match=rule):
        install(tmp_path / "b", replace(Installation("f", ["localhost"], (), service_port=1884), **options))


def test_a_folder_that_is_no_installation_is_refused(tmp_path: Path) -> None:
    install(tmp_path / "emqx", Installation("f", ["localhost"], ("d1",), product="emqx"))
    for folder in (tmp_path / "emqx", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"must be a folder that `broker init` wrote for mosquitto"):
            BrokerUsers(folder)


def test_the_verbs_say_what_they_did_and_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "b"
    install(folder, Installation("f", ["localhost"], ("d1",)))

    def said(verb: str, *words: str) -> list[str]:
        load_verb("broker").main([verb, str(folder), *words], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    next_steps = [
        f"elsewhere: where the broker runs on another machine, copy from {folder}: passwords acl",
        "reload:    kill -HUP PID, of mosquitto: it reads them again; the others stay connected",
    ]
    logins = f"logins:    {folder / 'credentials.csv'}"
    assert said("add", "d2", "d3") == [f"{folder}: added d2, d3", logins, *next_steps]
    rotated = f"{folder}: new logins for d1; the old ones are not valid any more"
    assert said("rotate", "d1") == [rotated, logins, *next_steps]
    assert said("revoke", "d2") == [f"{folder}: revoked d2", *next_steps]
    assert said("list") == [
        "fleet\t_fleet\tpassword", "cloud\t_cloud\tpassword", "observer\t_observer\tpassword",
        "device\td1\tpassword", "device\td3\tpassword",
    ]  # fmt: skip
