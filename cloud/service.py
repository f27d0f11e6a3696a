"""The cloud as an MQTT service: a thin shell around the responder.

It subscribes to budget reports, publishes what the responder answers, and announces the model. It
decides nothing and remembers nothing, so it may be killed and started at any moment: a device whose
answer does not come asks again.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field

import aiomqtt

from cloud.versions import Versions
from wire.connection import PUBLISHES_AT_ONCE, RETRY_S, Connection
from wire.errors import RemoteProtocolError
from wire.messages import encode
from wire.topics import (
    TABLE,
    Kind,
    LayerName,
    device_topic,
    fleet_topic,
    layer_topic,
    parse,
    subscription,
)

LOG = logging.getLogger("peelfleet.cloud")


@dataclass
class Counts:
    """What the service has done since it started."""

    answered: int = 0
    parts: int = 0
    broken: int = 0
    """Connections that broke."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refused messages by reason."""


async def serve(
    versions: Versions, connection: Connection, fleet: str, counts: Counts, *, retain_blocks: bool = False
) -> None:
    """Answer the reports of *fleet* until cancelled; reconnect as often as it takes.

    Args:
        versions: what answers.
        connection: the broker.
        fleet: whose reports; the model is announced to this fleet.
        counts: kept up to date.
        retain_blocks: publish every layer's blocks on its own topic, for devices that take them from there.
    """
    while True:
        # A new client each time: the old one would send its unanswered publishes again.
        try:
            async with aiomqtt.Client(**connection.client_options()) as client:
                client.pending_calls_threshold = 2 * PUBLISHES_AT_ONCE
                if retain_blocks:
                    await _retain_blocks(client, versions, fleet)
                await _answer_all(client, versions, fleet, counts)
        except* aiomqtt.MqttError as errors:
            LOG.warning(
                "broker %s:%s: %s; trying again", connection.host, connection.port, errors.exceptions[0]
            )
        counts.broken += 1
        await asyncio.sleep(RETRY_S)


async def _retain_blocks(client: aiomqtt.Client, versions: Versions, fleet: str) -> None:
    """Publish each layer of each user group once; the broker keeps it and fans it out."""
    route, slots = TABLE[Kind.BLOCKS], asyncio.Semaphore(PUBLISHES_AT_ONCE)

    async def publish(name: LayerName) -> None:
        async with slots:
            part = versions.layer_part(name)
            await client.publish(layer_topic(fleet, name), part, qos=route.qos, retain=route.retained)

    async with asyncio.TaskGroup() as publishing:
        for responder in versions.all:
            for group, layer, _ in responder.layer_sizes():
                publishing.create_task(publish(LayerName(responder.store.version, group, layer)))


async def _answer_all(client: aiomqtt.Client, versions: Versions, fleet: str, counts: Counts) -> None:
    await client.subscribe(subscription(Kind.BUDGET, fleet), qos=TABLE[Kind.BUDGET].qos)
    notice = TABLE[Kind.MODEL]
    await client.publish(
        fleet_topic(Kind.MODEL, fleet),
        encode(versions.first.notice()),
        qos=notice.qos,
        retain=notice.retained,
    )
    LOG.info("serving model %s to fleet %s", ", ".join(versions.names), fleet)
    slots = asyncio.Semaphore(PUBLISHES_AT_ONCE)
    async with asyncio.TaskGroup() as replies:
        async for message in client.messages:
            parts = _answer(versions, message, counts)
            if parts:
                await slots.acquire()
                device = parse(message.topic.value).device or ""
                replies.create_task(
                    _reply(client, device_topic(Kind.PEE, fleet, device), parts, slots, counts)
                )


def _answer(versions: Versions, message: aiomqtt.Message, counts: Counts) -> tuple[bytes, ...]:
    try:
        parse(message.topic.value)
        return versions.answer(message.payload)
    except RemoteProtocolError as error:
        counts.refused[error.reason.value] += 1
        LOG.warning("refused a message on %s: %s", message.topic, error)
        return ()


async def _reply(
    client: aiomqtt.Client, topic: str, parts: tuple[bytes, ...], slots: asyncio.Semaphore, counts: Counts
) -> None:
    try:
        for part in parts:
            await client.publish(topic, part, qos=TABLE[Kind.PEE].qos)
        counts.answered += 1
        counts.parts += len(parts)
    except aiomqtt.MqttError as error:
        # The connection is gone and its loop ends too; the device asks again.
        LOG.warning("an answer on %s was not sent: %s", topic, error)
    finally:
        slots.release()
