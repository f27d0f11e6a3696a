"""The loop of every client: connect, serve, connect again; and its end."""

import asyncio
from collections.abc import Callable

import pytest

from wire.errors import RunError
from wire.mqtt.backoff import Backoff
from wire.mqtt.client import Client, SubscriptionRefusedError, new_client, subscribe
from wire.mqtt.connection import Connection
from wire.mqtt.reconnection import Ended, connections

ACCEPTED, NOT_AUTHORIZED = bytes([0x20, 2, 0, 0]), bytes([0x20, 2, 0, 5])
SUBSCRIBED, REFUSED = bytes([0x90, 3, 0, 1, 1]), bytes([0x90, 3, 0, 1, 0x80])


async def lives(
    answers: list[list[bytes]], *, prepare: bool = False, enough: Callable[[list[Ended]], bool]
) -> list[Ended]:
    """Return the connections to a broker that gives *answers*, a list for each, and then closes."""
    rest, closed = iter(answers), asyncio.Event()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed.clear()
        for answer in next(rest):
            await reader.read(1000)
            writer.write(answer)
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def open_client() -> Client:
        return new_client(Connection("127.0.0.1", port, "c"))

    async def subscribe_to_t(client: Client) -> None:
        await subscribe(client, "t", 1, "the test")

    async def read(client: Client) -> None:
        async for _ in client.messages:
            pass

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endings, stopping = [], asyncio.Event()
    async with server, asyncio.timeout(30):
        try:
            async for ended in connections(
                open_client, read, Backoff(lambda: 0.0, longest_s=0.01), stopping=stopping,
                prepare=subscribe_to_t if prepare else None,
            ):  # fmt: skip
                endings.append(ended)
                if enough(endings):
                    stopping.set()
        finally:
            await closed.wait()
    return endings


def test_a_client_connects_again_after_a_refused_login_and_after_a_break() -> None:
    endings = asyncio.run(lives([[NOT_AUTHORIZED], [ACCEPTED]], enough=lambda endings: len(endings) == 2))
    assert endings[0] == Ended(None, "the broker refuses the login: Not authorized", login_refused=True)
    assert endings[1].lasted_s is not None
    assert endings[1].reason == "the broker closed the connection"


def test_a_connection_that_breaks_before_it_is_prepared_was_never_up() -> None:
    answers = [[ACCEPTED], [ACCEPTED, SUBSCRIBED]]
    endings = asyncio.run(lives(answers, prepare=True, enough=lambda endings: len(endings) == 2))
    assert [ended.lasted_s is not None for ended in endings] == [False, True]


def test_a_refused_subscription_ends_the_loop() -> None:
    with pytest.raises(SubscriptionRefusedError, match="refuses to let the test subscribe to t") as refused:
        asyncio.run(lives([[ACCEPTED, REFUSED]], prepare=True, enough=lambda _: False))
    assert isinstance(refused.value, RunError)
