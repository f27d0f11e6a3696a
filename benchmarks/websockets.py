"""Latency of an answer over TCP and over WebSockets: a cloud on TCP, a device on each kind of connection.

``make bench NAME=websockets`` starts the mosquitto that ``broker init --websocket-port`` writes, in the clear
and with TLS, and prints the table of docs/service.md.
"""

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from broker_config import mosquitto
from broker_config.endpoint import Endpoint, check_reachable, parse_url
from broker_config.installation import CA, CONFIGURATION, Installation, install
from broker_config.ports import LOOPBACK, bind_port
from wire.errors import InputError
from wire.mqtt.client import Client, new_client
from wire.mqtt.connection import Connection
from wire.topics import MessageKind, Role, device_topic, subscription
from wire.units import format_bytes

FLEET, DEVICE, ROUNDS = "browsers", "page", 5
SIZES = (1024, 3584, 2**13, 19 * 1024)
"""Bytes of an answer; 3,584 is what a part may have for it to be sent in one piece."""
_START_S = 20.0


@contextmanager
def installed_broker(folder: Path, *, tls: bool) -> Iterator[dict[str, Connection]]:
    """Run the broker that ``broker init`` writes; yield the logins of cloud and device, by transport."""
    port, websocket_port = bind_port(0), bind_port(0)
    options = Installation(
        FLEET,
        ["localhost", LOOPBACK],
        [DEVICE],
        port,
        LOOPBACK,
        websocket_port=websocket_port,
        websocket_tls=tls,
    )
    passwords = {account.user: account.password for account in install(folder, options)}
    program = mosquitto.executable()
    assert program is not None, "mosquitto must be installed"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", CONFIGURATION], cwd=folder, stdout=log, stderr=log)

    def endpoint(user: str, scheme: str) -> Endpoint:
        where = f"{LOOPBACK}:{websocket_port if scheme.startswith('ws') else port}"
        ca = "" if scheme == "ws" else f"?ca={folder / CA}"
        return parse_url(f"{scheme}://{user}:{passwords[user]}@{where}{ca}")

    try:
        cloud = endpoint("_cloud", "mqtts")
        _wait_until_reachable(cloud)
        logins = {"cloud": cloud.connection(Role.CLOUD, "cloud")}
        for scheme in ("mqtts", "wss" if tls else "ws"):
            logins[scheme] = endpoint(DEVICE, scheme).connection(Role.DEVICE, DEVICE)
        yield logins
    finally:
        process.terminate()
        process.wait()


def _wait_until_reachable(endpoint: Endpoint) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return check_reachable(endpoint, 1.0)
        except InputError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


async def latencies_ms(cloud: Connection, device: Connection, size: int) -> list[float]:
    """Return the times from a report to its answer of *size* bytes, one after the other."""
    async with new_client(cloud) as answering, new_client(device) as asking:
        await answering.subscribe(subscription(MessageKind.BUDGET, FLEET), qos=1)
        await asking.subscribe(device_topic(MessageKind.PEE, FLEET, DEVICE), qos=1)
        task = asyncio.ensure_future(_answer(answering, size))
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            await asking.publish(device_topic(MessageKind.BUDGET, FLEET, DEVICE), bytes(60), qos=1)
            await anext(aiter(asking.messages))
            times.append((time.perf_counter() - begun) * 1e3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return times


async def _answer(client: Client, size: int) -> None:
    async for _ in client.messages:
        await client.publish(device_topic(MessageKind.PEE, FLEET, DEVICE), bytes(size), qos=1)


def main() -> None:
    """Print a row for each size: median and largest of each transport, in ms."""
    rows: dict[int, dict[str, str]] = {size: {} for size in SIZES}
    for tls in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)  # the broker's user passes through it
            with installed_broker(Path(folder) / "broker", tls=tls) as logins:
                for scheme in [name for name in logins if name != "cloud"]:
                    for size in SIZES:
                        device = replace(logins[scheme], client_id=DEVICE)
                        times = asyncio.run(latencies_ms(logins["cloud"], device, size))
                        rows[size][scheme] = f"{statistics.median(times):.1f} ({max(times):.0f})"
    schemes = list(rows[SIZES[0]])
    print(
        "| answer | " + " | ".join(f"`{scheme}`" for scheme in schemes) + " |", "|---|---|---|---|", sep="\n"
    )
    for size, cells in rows.items():
        print(f"| {format_bytes(size)} | " + " | ".join(cells[scheme] for scheme in schemes) + " |")


if __name__ == "__main__":
    main()
