"""Every use of a private attribute of aiomqtt; the version is pinned below 3.

aiomqtt has no public way to do any of this.
"""

import asyncio
import socket
from typing import Any

from aiomqtt import Client, MqttError

NOT_ACCEPTED = "the broker closed the connection before it had accepted it"


def fail_fast(client: Client) -> None:
    """Make *client* raise MqttError as soon as the broker closes a connection that it has not accepted yet.

    aiomqtt would wait for its time-out of ten seconds.
    """
    handle_disconnect, accepted = client._on_disconnect, client._connected

    def on_disconnect(*arguments: Any) -> None:  # Any: as paho calls it, in several versions
        if not accepted.done():
            accepted.set_exception(MqttError(NOT_ACCEPTED))
        handle_disconnect(*arguments)
        if client._disconnected.done() and not client._disconnected.cancelled():
            client._disconnected.exception()  # retrieved: otherwise Python logs it if nobody awaits it

    client._client.on_disconnect = on_disconnect


def send_at_once(client: Client) -> None:
    """Switch Nagle's algorithm off below a WebSocket: aiomqtt sets options of plain sockets only."""
    open_socket = client._client.on_socket_open

    def on_socket_open(paho: Any, userdata: Any, opened: Any) -> None:  # Any: as paho calls it
        if (below := getattr(opened, "_socket", None)) is not None:
            below.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if open_socket is not None:
            open_socket(paho, userdata, opened)

    client._client.on_socket_open = on_socket_open


def disconnection(client: Client) -> asyncio.Future[None]:
    """Return the future that is done, most often with an error, when *client* is disconnected."""
    return client._disconnected


def stop_receiving(client: Client) -> None:
    """Ignore all further messages, and acknowledge none: the broker keeps them for the next connection."""
    client._client.manual_ack_set(True)
    client._client.on_message = None


def close_socket(client: Client) -> None:
    """Close the socket of an attempt that failed: aiomqtt leaves it open if the broker does not answer."""
    client._client.disconnect()
