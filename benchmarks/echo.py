"""A bare aiomqtt responder: answers every report with the number of bytes that it requests."""

import asyncio
import sys

import aiomqtt
import msgspec

from wire.mqtt.connection import PUBLISHES_AT_ONCE, Connection
from wire.topics import MessageKind, device_topic, parse, subscription


async def echo(connection: Connection) -> None:
    """Answer until terminated."""
    slots = asyncio.Semaphore(PUBLISHES_AT_ONCE)
    async with aiomqtt.Client(**connection.client_options()) as client:
        client.pending_calls_threshold = 2 * PUBLISHES_AT_ONCE

        async def answer(budget_topic: str, size: int) -> None:
            topic = device_topic(MessageKind.PEE, "echo", parse(budget_topic).device or "")
            await client.publish(topic, bytes(size), qos=1)
            slots.release()

        await client.subscribe(subscription(MessageKind.BUDGET, "echo"), qos=1)
        print("subscribed", flush=True)
        async with asyncio.TaskGroup() as tasks:
            async for message in client.messages:
                await slots.acquire()
                tasks.create_task(answer(message.topic.value, int(message.payload)))


if __name__ == "__main__":
    host, port, client_id, user, password = msgspec.json.decode(sys.stdin.readline())
    asyncio.run(echo(Connection(host, port, client_id, user, password)))
