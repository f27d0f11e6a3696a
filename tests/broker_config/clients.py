"""MQTT clients for the tests of this folder: real ones, over real sockets."""

import asyncio
import socket
import time
from typing import Any

import aiomqtt
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from broker_config.endpoint import Credentials, Endpoint
from broker_config.launch import RunningBroker

NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
FLEET = "f"
DEVICES = {"d1": "one", "d2": "two"}
PATIENCE_S = 20.0


def client(endpoint: Endpoint, who: Credentials, **options: Any) -> aiomqtt.Client:
    """Return a client that is not connected yet; *options* are aiomqtt's, hence Any."""
    return aiomqtt.Client(
        endpoint.host,
        endpoint.port,
        username=who.user,
        password=who.password,
        socket_options=NODELAY,
        max_concurrent_outgoing_calls=1_000,
        **options,
    )


def device(name: str) -> Credentials:
    return Credentials(name, DEVICES[name])


async def receive(subscriber: aiomqtt.Client, count: int, quiet_s: float = 0.2) -> list[aiomqtt.Message]:
    """Wait for *count* messages, then a little longer for any that should not come."""
    messages: list[aiomqtt.Message] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(messages) < count:
            messages.append(await anext(subscriber.messages))
    try:
        async with asyncio.timeout(quiet_s):
            while True:
                messages.append(await anext(subscriber.messages))
    except TimeoutError:
        return messages


def contents(messages: list[aiomqtt.Message]) -> list[tuple[str, bytes]]:
    return [(str(message.topic), bytes(message.payload)) for message in messages]


class RudeClient:
    """A connected client with a last will, which leaves without DISCONNECT, or never says anything again."""

    def __init__(
        self, broker: RunningBroker, who: Credentials, will: str, *, name: str = "", keepalive: int = 60
    ) -> None:
        self._paho = Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._paho.username_pw_set(who.user, who.password)
        self._paho.will_set(will, b"gone", qos=1)
        self._paho.connect(broker.endpoint.host, broker.endpoint.port, keepalive=keepalive)
        deadline = time.monotonic() + PATIENCE_S
        while not self._paho.is_connected() and time.monotonic() < deadline:
            self._paho.loop(0.1)

    def drop(self) -> None:
        """Close the socket and say nothing."""
        connection = self._paho.socket()
        assert connection is not None
        connection.close()
