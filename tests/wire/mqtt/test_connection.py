"""What a client is told about its broker, and how it hears of one that goes at the wrong moment."""

import asyncio
from collections.abc import Awaitable, Callable

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.mqtt.connection import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    NOT_ACCEPTED,
    Connection,
    backoff_s,
    fail_fast,
    unless_broken,
)


@pytest.mark.parametrize("abort", [False, True])
def test_a_broker_that_dies_before_it_has_accepted_a_connection_is_not_waited_for(*, abort: bool) -> None:
    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)  # CONNECT
        writer.transport.abort() if abort else writer.close()

    async def story(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = aiomqtt.Client(**Connection("127.0.0.1", port, "c").client_options(), timeout=60)
        fail_fast(client, aiomqtt.MqttError(NOT_ACCEPTED))
        async with server, asyncio.timeout(30):
            with pytest.raises(aiomqtt.MqttError, match=NOT_ACCEPTED):
                await client.__aenter__()

    asyncio.run(story(dying))


def test_a_broker_that_dies_before_it_has_confirmed_something_is_not_waited_for() -> None:
    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)  # CONNECT
        writer.write(bytes([0x20, 2, 0, 0]))  # CONNACK: accepted
        await reader.read(1000)  # SUBSCRIBE
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(dying, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = aiomqtt.Client(**Connection("127.0.0.1", port, "c").client_options(), timeout=60)
        async with server, asyncio.timeout(30):
            await client.__aenter__()
            with pytest.raises(aiomqtt.MqttError):
                await unless_broken(client, client.subscribe("t"))

    asyncio.run(story())


@given(st.integers(1, 100), st.floats(0, 1))
def test_the_wait_before_the_next_attempt_doubles_up_to_a_limit_and_half_of_it_is_drawn(
    attempt: int, draw: float
) -> None:
    whole = backoff_s(attempt, 1.0)
    assert whole == min(FIRST_RETRY_S * 2 ** (attempt - 1), LAST_RETRY_S)
    assert whole / 2 <= backoff_s(attempt, draw) <= whole
