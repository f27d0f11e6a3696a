"""What an MQTT client is told about its broker, the same at both ends."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""aiomqtt leaves Nagle's algorithm on, which turns a millisecond into forty."""

PUBLISHES_AT_ONCE = 64
"""aiomqtt scans every pending publish at each call, so more of them cost quadratically."""

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
"""How long to wait, at least and at most, before connecting again."""

NOT_ACCEPTED = "the broker closed the connection before it had accepted it"

KEEP_ALIVE_S = 60
"""How long a client may be silent before the broker takes it for gone, half as long again."""


@dataclass(frozen=True)
class Tls:
    """How the broker is verified, and how the client shows who it is."""

    ca: Path | None = None
    """Certificates of the authorities that are trusted (PEM); None: those of the system."""
    certificate: Path | None = None
    """The client's own certificate (PEM), where the broker wants one."""
    key: Path | None = None
    """Its private key (PEM)."""


@cache
def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return how to speak TLS: the server's certificate and its host name are always verified.

    Thousands of clients of one process share it.
    """
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


@dataclass(frozen=True)
class Connection:
    """Where the broker is, and who the client is there."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    """None: the bytes travel in the clear."""
    persistent: bool = False
    """Whether the broker keeps the session, and what is sent to it, while the client is away."""
    keep_alive_s: int = KEEP_ALIVE_S

    def client_options(self) -> dict[str, Any]:  # Any: they are the keyword arguments of aiomqtt.Client
        """Return the keyword arguments for an MQTT client."""
        return {
            "hostname": self.host,
            "port": self.port,
            "identifier": self.client_id,
            "username": self.user,
            "password": self.password,
            "tls_context": None if self.tls is None else tls_context(self.tls),
            "clean_session": not self.persistent,
            "keepalive": self.keep_alive_s,
            "socket_options": NODELAY,
            "max_inflight_messages": PUBLISHES_AT_ONCE,
        }


def fail_fast(client: Any, error: Exception) -> None:  # Any: an aiomqtt client, which nothing here imports
    """Let *client* raise *error* as soon as the broker closes a connection that it has not accepted yet.

    aiomqtt would wait for its time-out: a broker that dies at the wrong moment would cost ten seconds. It has
    no other way to hear of it: the attributes are private, and the version is pinned.
    """
    told, accepted = client._client.on_disconnect, client._connected

    def on_disconnect(*arguments: Any) -> None:  # Any: what paho tells
        if not accepted.done():
            accepted.set_exception(error)
        told(*arguments)
        if client._disconnected.done() and not client._disconnected.cancelled():
            client._disconnected.exception()  # seen: else Python would complain where nobody waits for it

    client._client.on_disconnect = on_disconnect


async def unless_broken(client: Any, doing: Coroutine[Any, Any, Result]) -> Result:  # Any: as above
    """Return what *doing* returns; raise the client's error as soon as the connection breaks.

    What waits for the broker's word would wait for ten seconds, as above.
    """
    task, broken = asyncio.ensure_future(doing), client._disconnected
    try:
        await asyncio.wait((task, broken), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and (error := broken.exception()) is not None:
            raise error
        return await task
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # seen: what broke the connection is what counts


async def leave(client: Any, within_s: float) -> None:  # Any: as above
    """Let the broker know that *client* goes, for so long at most, whether or not the connection stands."""
    with contextlib.suppress(Exception):  # it hears nothing more of us, or we of it
        await asyncio.wait_for(client.__aexit__(None, None, None), within_s)


async def unless_set(event: asyncio.Event, doing: Coroutine[Any, Any, object]) -> bool:  # Any: as above
    """Do something, but give it up when *event* is set; return whether it was done."""
    task, wait = asyncio.ensure_future(doing), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, wait), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        task.cancel()
        wait.cancel()
        await asyncio.gather(task, wait, return_exceptions=True)


def refuses(granted: Iterable[Any]) -> bool:  # Any: numbers, or the client's own type
    """Tell whether a broker that answered a subscription with *granted* refuses a part of it."""
    return any((code if isinstance(code, int) else code.value) >= 128 for code in granted)


def weakens(granted: Iterable[Any], qos: int) -> bool:  # Any: as above
    """Tell whether a broker that answered a subscription with *granted* delivers with less than *qos*."""
    return any((code if isinstance(code, int) else code.value) < qos for code in granted)


def backoff_s(attempt: int, draw: float) -> float:
    """Return how long to wait before connecting again.

    It doubles with each attempt up to half a minute; half of it is drawn, so that those who lost their
    connections together do not come back together.

    Args:
        attempt: how many attempts have failed in a row, from 1.
        draw: a number from 0 to 1.
    """
    whole = min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 16), LAST_RETRY_S)
    return whole * (0.5 + 0.5 * draw)
