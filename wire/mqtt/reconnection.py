"""Connect, serve, and connect again when the connection breaks: one loop for every client of the product."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from wire.errors import first_error
from wire.mqtt.backoff import Backoff
from wire.mqtt.client import (
    Client,
    MqttError,
    describe,
    done_before,
    is_login_refused,
    leave,
    or_disconnected,
)
from wire.mqtt.client_patches import close_socket, stop_receiving

Step = Callable[[Client], Coroutine[Any, Any, None]]  # Any: as in `Coroutine`


@dataclass(frozen=True)
class Ended:
    """A connection that has ended, or an attempt that failed."""

    lasted_s: float | None = None
    """Seconds that the connection lasted; None: it was never up."""
    reason: str = ""
    """Reason of its end; empty: it was ended on purpose."""
    login_refused: bool = False
    """True if the broker refused the user or the password."""


async def connections(
    new_client: Callable[[], Awaitable[Client]],
    serve: Step,
    backoff: Backoff,
    *,
    prepare: Step | None = None,
    stopping: asyncio.Event | None = None,
    leave_s: float = 10.0,
) -> AsyncIterator[Ended]:
    """Connect and serve, again and again, until *stopping* is set; yield each connection after its end.

    Nothing is open while an item is yielded. The wait before the next attempt comes after it.

    Args:
        new_client: returns a new client for each attempt.
        serve: uses the connection; when it returns, the connection is ended.
        backoff: counts the connections, and says how long to wait.
        prepare: awaited before *serve*; the connection counts as up when it returns.
        stopping: ends connecting and waiting at once; *serve* has to look at it itself. None: never.
        leave_s: seconds that the broker may take to confirm the end of a connection.

    Raises:
        Exception: any error of *prepare* or *serve* but MqttError.
    """
    stopping, task = stopping or asyncio.Event(), asyncio.current_task()
    assert task is not None
    # Not `while True`: aiomqtt waits with wait_for, which in Python 3.11 swallows a cancellation that comes
    # together with a confirmation.
    while not (stopping.is_set() or task.cancelling()):
        ended = await _connect_and_serve(await new_client(), serve, prepare, stopping, leave_s)
        backoff.ended(ended.lasted_s)
        yield ended
        await done_before(stopping, asyncio.sleep(backoff.wait_s()))


async def _connect_and_serve(
    client: Client, serve: Step, prepare: Step | None, stopping: asyncio.Event, leave_s: float
) -> Ended:
    connected, up_s, error = False, None, None
    try:
        if not await done_before(stopping, client.__aenter__()):
            stop_receiving(client)  # it may still connect
            return Ended()
        connected = True
        try:
            if prepare is not None:
                await or_disconnected(client, prepare(client))
            up_s = time.monotonic()
            await serve(client)
        finally:
            await leave(client, leave_s)
    except* MqttError as errors:
        error = first_error(errors)
        if not connected:
            close_socket(client)
    lasted_s = None if up_s is None else time.monotonic() - up_s
    if error is None:
        return Ended(lasted_s)
    return Ended(lasted_s, describe(error), is_login_refused(error))
