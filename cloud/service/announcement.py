"""The messages that a cloud service leaves with the broker: the notice, and with shared delivery every layer.

A broker that forbids a publish confirms it all the same. So the service listens to its own notice: what it
does not hear, no device hears.
"""

import asyncio

from cloud.service.model_versions import ModelVersions
from cloud.service.statistics import ServiceStatistics
from wire.errors import RemoteProtocolError, RunError
from wire.messages import encode
from wire.mqtt.client import Client, Message, SubscriptionRefusedError, publish, subscribe
from wire.mqtt.connection import PUBLISHES_AT_ONCE
from wire.topics import LayerName, MessageKind, fleet_topic, layer_topic, parse, subscription

ECHO_S = 15.0
"""The time that the broker may take to hand our own notice back."""
QUIET_S = 1.0
"""After so long without one, all retained layers have come."""


class Announcement:
    """Publishes the notice and the layers of a fleet's models, and clears layers of models that are history.

    Args:
        versions: what is served.
        fleet: to whom.
        counts: kept up to date.
        layers: whether each layer's blocks are left with the broker.
    """

    def __init__(
        self, versions: ModelVersions, fleet: str, counts: ServiceStatistics, *, layers: bool
    ) -> None:
        self._versions = versions
        self._fleet = fleet
        self._counts = counts
        self._layers = layers
        self._topic = fleet_topic(MessageKind.MODEL, fleet)
        self._notice = encode(versions.first.notice())
        self._heard = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._old: asyncio.Queue[str] = asyncio.Queue()

    async def confirmed(self) -> None:
        """Wait until the broker has the notice, on this connection."""
        await self._confirmed.wait()

    def begin(self) -> None:
        """Forget what the broker has confirmed: the connection is a new one."""
        self._confirmed.clear()
        self._heard.clear()

    async def publish(self, client: Client) -> None:
        """Leave all of it with the broker, which may have forgotten it; return when we have heard the notice.

        Raises:
            RunError: we are not allowed to hear it, or did not.
        """
        await subscribe(client, self._topic, 1)
        if self._layers:
            await self._publish_layers(client)
        await self._retain(client, MessageKind.MODEL, self._topic, self._notice)
        self._confirmed.set()
        try:
            async with asyncio.timeout(ECHO_S):
                await self._heard.wait()
        except TimeoutError:
            raise RunError(
                f"the broker took our model notice ({len(self._notice)} bytes on {self._topic}) and did not "
                f"hand it back within {ECHO_S:g} s, so no device hears it: may this user write and read that "
                f"topic (is --fleet {self._fleet} right?), and is the broker's payload limit above that?"
            ) from None

    def takes(self, message: Message) -> bool:
        """Take a message that is ours, not a device's; return whether it is."""
        topic = message.topic.value
        if topic == self._topic:
            if not message.retain and message.payload == self._notice:
                self._heard.set()
            return True
        if not topic.startswith(f"{self._topic.removesuffix(MessageKind.MODEL)}{MessageKind.BLOCKS}/"):
            return False
        try:
            layer = parse(topic).layer
        except RemoteProtocolError:
            return False
        served = self._layers and layer is not None and layer.model in self._versions.names
        if message.payload and not served:
            self._old.put_nowait(topic)
        return True

    async def clear_old_layers(self, client: Client) -> int:
        """Clear the retained layers of models that we do not serve, or all where we leave none; count them.

        A broker keeps them for ever otherwise. It sends them at once; where we may not hear them, none come.
        """
        every, cleared = subscription(MessageKind.BLOCKS, self._fleet), 0
        try:
            await subscribe(client, every, 0)
        except SubscriptionRefusedError:
            return 0
        try:
            while True:
                async with asyncio.timeout(QUIET_S):
                    topic = await self._old.get()
                await publish(client, MessageKind.BLOCKS, topic, b"")
                cleared += 1
        except TimeoutError:
            await client.unsubscribe(every)
        return cleared

    async def _publish_layers(self, client: Client) -> None:
        """Publish each layer of each user group once; the broker keeps it and fans it out."""
        slots = asyncio.Semaphore(PUBLISHES_AT_ONCE)

        async def publish_layer(name: LayerName) -> None:
            async with slots:
                part, topic = self._versions.layer_part(name), layer_topic(self._fleet, name)
                await self._retain(client, MessageKind.BLOCKS, topic, part)

        async with asyncio.TaskGroup() as publishing:
            for responder in self._versions.all:
                for group, layer, _ in responder.layer_sizes():
                    publishing.create_task(publish_layer(LayerName(responder.store.version, group, layer)))

    async def _retain(self, client: Client, kind: MessageKind, topic: str, payload: bytes) -> None:
        await publish(client, kind, topic, payload)
        self._counts.sent.add(len(payload))
