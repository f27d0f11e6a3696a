"""What a broker spends on a connection: in the clear and with TLS, as devices make them, on one mosquitto."""

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from broker_config import mosquitto
from broker_config.endpoint import Endpoint, check_reachable, parse_url
from broker_config.installation import Installation, install
from broker_config.launch import launch_broker
from devices.mqtt.sessions import Sessions, check_open_files
from devices.mqtt.settings import RealtimeSettings
from wire.errors import InputError
from wire.mqtt.connection import Connection
from wire.topics import Role

FLEET = "handshakes"
CONNECTIONS = 1000


def measure() -> dict[str, object]:
    """Return how many connections are made in a second, and in a second of the broker's processor time."""
    check_open_files(CONNECTIONS)
    figures: dict[str, object] = {}
    for name, running in (("plain", _plain()), ("tls", _with_tls())):
        with running as (connection, process):
            before, began_s = sum(process.cpu_times()[:2]), time.monotonic()
            asyncio.run(_connect(connection))
            took_s = time.monotonic() - began_s
            spent_s = sum(process.cpu_times()[:2]) - before
        figures[f"connects_per_second_{name}"] = round(CONNECTIONS / took_s, 1)
        figures[f"connects_per_broker_cpu_second_{name}"] = round(CONNECTIONS / spent_s, 1)
    return figures


async def _connect(connection: Connection) -> None:
    """Connect all devices, subscriptions included, as a shard does; its core is shared with the broker's."""
    sessions = Sessions(
        lambda name: replace(connection, client_id=name),
        FLEET,
        RealtimeSettings(connect_rate=100_000),
        on_connected=lambda _: None,
        on_disconnected=lambda _: None,
        on_answer=lambda _: None,
        rng=np.random.default_rng(1),
    )
    async with sessions.running():
        for number in range(CONNECTIONS):
            sessions.connect(f"d{number}")
        while sessions.up < CONNECTIONS:
            sessions.check()
            await asyncio.sleep(0.01)


@contextmanager
def _plain() -> Iterator[tuple[Connection, psutil.Process]]:
    with launch_broker("mosquitto") as broker:
        children = psutil.Process().children(recursive=True)
        yield (
            broker.endpoint.connection(Role.FLEET, ""),
            next(each for each in children if each.name() == "mosquitto"),
        )


@contextmanager
def _with_tls() -> Iterator[tuple[Connection, psutil.Process]]:
    """Run a broker as `broker init` writes it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # mosquitto is another user
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        accounts = install(folder / "broker", Installation(FLEET, ["localhost"], [], port, "127.0.0.1"))
        password = next(each.password for each in accounts if each.role is Role.FLEET)
        program = mosquitto.executable()
        assert program is not None
        command = [program, "-c", "mosquitto.conf"]
        process = stack.enter_context(
            subprocess.Popen(command, cwd=folder / "broker", stderr=subprocess.DEVNULL)
        )
        stack.callback(process.terminate)
        endpoint = parse_url(f"mqtts://_fleet:{password}@localhost:{port}?ca={folder / 'broker' / 'ca.crt'}")
        _wait_until_reachable(endpoint)
        yield endpoint.connection(Role.FLEET, ""), psutil.Process(process.pid)


def _wait_until_reachable(endpoint: Endpoint) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            check_reachable(endpoint, 1.0)
        except InputError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
