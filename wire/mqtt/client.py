"""An MQTT client: make one, subscribe, publish, and stop waiting when its connection breaks."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiomqtt import Client, Message, MqttError, Will
from aiomqtt.exceptions import MqttConnectError

from wire.errors import RunError
from wire.messages import Status, encode
from wire.mqtt.client_patches import disconnection, fail_fast, send_at_once
from wire.mqtt.connection import PUBLISHES_AT_ONCE, Connection
from wire.mqtt.direct_queue import direct_queue
from wire.topics import TABLE, MessageKind

__all__ = ["Client", "Message", "MqttError"]

Result = TypeVar("Result")

LOST = "connection lost"
"""The reason that a last will gives."""
LOGIN_REFUSED = (134, 135)
"""CONNACK: bad user name or password, not authorized. paho gives the numbers of MQTT 5."""
_CODED = re.compile(r"\[code:(\d+)\] (.*)", re.DOTALL)
_CLOSED = 128
_CLOSED_MEANWHILE = "Disconnected during message iteration"


class SubscriptionRefusedError(RunError):
    """The broker refuses a subscription."""


def new_client(
    connection: Connection,
    *,
    last_will: tuple[str, bytes] | None = None,
    on_message: Callable[[Message], None] | None = None,
) -> Client:
    """Return a client that is not connected yet.

    Use it for one connection only: connected again, aiomqtt's client repeats its unconfirmed publishes.

    Args:
        connection: the broker and the login.
        last_will: topic and payload of a status that the broker retains when the connection is lost.
        on_message: called with each message on its arrival; None: `Client.messages` yields them.
    """
    options = connection.client_options()
    if last_will is not None:
        route = TABLE[MessageKind.STATUS]
        options["will"] = Will(*last_will, qos=route.qos, retain=route.retained)
    if on_message is not None:
        options["queue_type"] = direct_queue(on_message)
    client = Client(**options)
    client.pending_calls_threshold = 2 * PUBLISHES_AT_ONCE
    fail_fast(client)
    if connection.websocket_path is not None:
        send_at_once(client)
    return client


def device_will(status_topic: str) -> tuple[str, bytes]:
    """Return the last will of a device."""
    return status_topic, encode(Status(online=False, reason=LOST))


async def subscribe(client: Client, topic: str, qos: int, who: str = "us") -> bool:
    """Subscribe to *topic*; return whether the broker grants *qos*, not less.

    Raises:
        SubscriptionRefusedError: the broker refuses; the message names *who*.
    """
    granted = await client.subscribe(topic, qos=qos)
    codes = [code if isinstance(code, int) else code.value for code in granted]
    if any(code >= 128 for code in codes):
        raise SubscriptionRefusedError(f"the broker refuses to let {who} subscribe to {topic}")
    return all(code >= qos for code in codes)


async def publish(client: Client, kind: MessageKind, topic: str, payload: bytes) -> None:
    """Publish with the QoS and the retain flag of *kind*."""
    route = TABLE[kind]
    await client.publish(topic, payload, qos=route.qos, retain=route.retained)


async def or_disconnected(
    client: Client, coroutine: Coroutine[Any, Any, Result]
) -> Result:  # Any: as in `Coroutine`
    """Return the result of *coroutine*; raise the client's error as soon as the connection breaks.

    aiomqtt would let it wait for ten seconds for an answer of the broker.
    """
    task, broken = asyncio.ensure_future(coroutine), disconnection(client)
    try:
        await asyncio.wait((task, broken), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and (error := broken.exception()) is not None:
            raise error
        return await task
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # retrieved: the error that broke the connection is the one to raise


async def done_before(event: asyncio.Event, coroutine: Coroutine[Any, Any, object]) -> bool:  # Any: as above
    """Run *coroutine*, but cancel it when *event* is set; return whether it has run to its end."""
    task, wait = asyncio.ensure_future(coroutine), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, wait), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        task.cancel()
        wait.cancel()
        await asyncio.gather(task, wait, return_exceptions=True)


async def leave(client: Client, within_s: float) -> None:
    """Disconnect from the broker, within *within_s* seconds; never raise an error."""
    with contextlib.suppress(Exception):  # the connection may be gone already
        await asyncio.wait_for(client.__aexit__(None, None, None), within_s)


def is_login_refused(error: BaseException) -> bool:
    """Tell whether *error* says that the broker refuses the user or the password."""
    return isinstance(error, MqttConnectError) and error.rc in LOGIN_REFUSED


def describe(error: BaseException) -> str:
    """Return the message of a client's *error* in words, without the numbers of its library."""
    if str(error) == _CLOSED_MEANWHILE:
        return "the broker closed the connection"
    if (coded := _CODED.fullmatch(str(error))) is None:
        return str(error)
    code, words = int(coded[1]), coded[2]
    if code == _CLOSED:
        return "the broker closed the connection"
    return f"the broker refuses the login: {words}" if code in LOGIN_REFUSED else words
