"""Devices in WebSockets: a listener of `broker init`, at the address asked for, and URLs that reach it."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.websockets import DEVICE, installed_broker, latencies_ms
from broker_config import mosquitto
from broker_config.endpoint import parse_url
from broker_config.installation import Installation, install
from wire.errors import InputError
from wire.mqtt.client import new_client
from wire.topics import Role


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # mosquitto is another user
        yield Path(directory)


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
@pytest.mark.parametrize(("tls", "scheme"), [(False, "ws"), (True, "wss")])
def test_a_device_in_a_websocket_gets_its_answers(folder: Path, tls: bool, scheme: str) -> None:
    with installed_broker(folder / "broker", tls=tls) as logins:
        assert len(asyncio.run(latencies_ms(logins["cloud"], logins[scheme], 1024))) > 0
        port = logins[scheme].port
        listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        addresses = [tuple(each.laddr) for each in listening]
        assert [address for address in addresses if port in address] == [("127.0.0.1", port)]

        async def option() -> int:
            async with new_client(replace(logins[scheme], client_id=DEVICE)) as client:
                below: socket.socket = vars(client._client.socket())["_socket"]
                return below.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        assert asyncio.run(option()) != 0


def test_a_url_of_a_websocket_is_read_and_written() -> None:
    for text, port, path in (
        ("ws://localhost", 80, "/mqtt"),
        ("wss://localhost:8884", 8884, "/mqtt"),
        ("ws://localhost:9001/ws", 9001, "/ws"),
    ):
        endpoint = parse_url(text)
        assert (endpoint.port, endpoint.websocket_path) == (port, path)
        assert parse_url(endpoint.url) == endpoint
        options = endpoint.connection(Role.CLOUD, "c").client_options()
        assert (options["transport"], options["websocket_path"]) == ("websockets", path)
    assert parse_url("mqtt://localhost").connection(Role.CLOUD, "c").client_options()["transport"] == "tcp"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"websocket_tls": False}, "--no-websocket-tls goes with --websocket-port"),
        ({"websocket_port": 8883}, r"--websocket-port\(=8883\) must be another than --port"),
        ({"websocket_port": 9001, "client_certificates": True}, "is for passwords"),
        ({"websocket_port": 9001, "product": "emqx"}, "is for mosquitto, not for emqx"),
        ({"websocket_port": 9001, "websocket_tls": False}, r"--bind\(=0.0.0.0\) must be loopback"),
    ],
)
def test_what_a_listener_of_websockets_cannot_be_is_refused(
    tmp_path: Path, options: dict[str, object], refusal: str
) -> None:
    with pytest.raises(InputError, match=refusal):
        install(tmp_path / "b", replace(Installation("f", ["localhost"], ()), **options))  # type: ignore[arg-type]
