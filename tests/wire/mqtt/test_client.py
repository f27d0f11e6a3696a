"""A broker that goes at the wrong moment, and the words for an error of the client."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from wire.mqtt.client import MqttError, describe, new_client, or_disconnected
from wire.mqtt.client_patches import NOT_ACCEPTED
from wire.mqtt.connection import Connection


@pytest.mark.parametrize("abort", [False, True])
def test_a_broker_that_dies_before_it_has_accepted_a_connection_is_not_waited_for(*, abort: bool) -> None:
    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)  # CONNECT
        writer.transport.abort() if abort else writer.close()

    async def story(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = new_client(Connection("127.0.0.1", server.sockets[0].getsockname()[1], "c"))
        client.timeout = 60
        async with server, asyncio.timeout(30):
            with pytest.raises(MqttError, match=NOT_ACCEPTED):
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
        client = new_client(Connection("127.0.0.1", server.sockets[0].getsockname()[1], "c"))
        client.timeout = 60
        async with server, asyncio.timeout(30):
            await client.__aenter__()
            with pytest.raises(MqttError):
                await or_disconnected(client, client.subscribe("t"))

    asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("[code:128] Unspecified error", "the broker closed the connection"),
        ("[code:135] Not authorized", "the broker refuses the login: Not authorized"),
        ("[code:134] Bad user name or password", "the broker refuses the login: Bad user name or password"),
        ("[code:7] The connection was lost.", "The connection was lost."),
        ("Operation timed out", "Operation timed out"),
        ("Disconnected during message iteration", "the broker closed the connection"),
    ],
)
def test_an_error_is_described_without_the_numbers_of_the_library(error: str, words: str) -> None:
    assert describe(Exception(error)) == words
