"""Retained messages of a fleet: what a broker keeps, read and cleared."""

import asyncio
from collections.abc import Iterable
from typing import Final

from wire.mqtt.client import Message, SubscriptionRefusedError, new_client, publish, subscribe
from wire.mqtt.connection import Connection
from wire.topics import TABLE, MessageKind, parse, subscription

QUIET_S: Final = 1.0
"""After this time without a message, all retained messages have arrived."""


RETAINED: Final = tuple(kind for kind, route in TABLE.items() if route.retained)


async def read_retained(
    connection: Connection, fleet: str, kinds: Iterable[MessageKind] = RETAINED
) -> dict[str, bytes]:
    """Return the retained messages of a fleet, by topic, as far as the login may read them."""
    retained, arrived = dict[str, bytes](), asyncio.Event()

    def take(message: Message) -> None:
        if message.retain and message.payload:
            retained[message.topic.value] = message.payload
            arrived.set()

    async with new_client(connection, on_message=take) as client:
        for kind in kinds:
            try:
                await subscribe(client, subscription(kind, fleet), 0)
            except SubscriptionRefusedError:
                continue
        try:
            while True:
                async with asyncio.timeout(QUIET_S):
                    await arrived.wait()
                arrived.clear()
        except TimeoutError:
            return retained


async def clear_retained(connection: Connection, fleet: str, topics: Iterable[str]) -> set[str]:
    """Clear retained messages; return the topics that still have one: the login may not write them."""
    every = set(topics)
    async with new_client(connection) as client:
        for topic in sorted(every):
            await publish(client, parse(topic).kind, topic, b"")
    return every & (await read_retained(connection, fleet)).keys()
