"""Retained messages of a cloud service: the model notice, its status and, with shared delivery, every layer.

A broker confirms a publish even if an access rule forbids it. So the service subscribes to its own notice: if
the service does not receive it, no device does.
"""

import asyncio

from cloud.service.model_versions import ModelVersions
from cloud.service.statistics import ServiceStatistics
from wire.errors import InputError, RemoteProtocolError, RunError
from wire.messages import (
    MAX_JSON_BYTES,
    MAX_NAMED_MODELS,
    PROTOCOL,
    CloudStatus,
    RolloutNotice,
    encode,
)
from wire.mqtt.client import LOST, Client, Message, SubscriptionRefusedError, publish, subscribe
from wire.mqtt.connection import PUBLISHES_AT_ONCE
from wire.mqtt.retained import QUIET_S
from wire.signatures import Sign, check_json, knows_own, sign_json, sign_part
from wire.topics import LayerName, MessageKind, cloud_topic, fleet_topic, layer_topic, parse, subscription

ECHO_S = 15.0
"""Seconds to wait for our own notice to come back from the broker."""


class Announcement:
    """Publishes the notice and the layers of a fleet's models, and clears layers of old models.

    Args:
        versions: the models that are served.
        fleet: the fleet's name in topics.
        statistics: updated here.
        layers: whether the blocks of each layer are retained by the broker.
        replica: the name of the service among those of the fleet's cloud.
        sign: signs the notice and the layers; None: they have no signature.

    Raises:
        InputError: with its signature the notice is too large.
    """

    def __init__(
        self,
        versions: ModelVersions,
        fleet: str,
        statistics: ServiceStatistics,
        *,
        layers: bool,
        replica: str,
        sign: Sign | None = None,
    ) -> None:
        self._versions = versions
        self._fleet = fleet
        self._statistics = statistics
        self._layers = layers
        self._status_topic = cloud_topic(fleet, replica)
        self._connections = 0
        self._topic = fleet_topic(MessageKind.MODEL, fleet)
        self._rollout_topic = fleet_topic(MessageKind.ROLLOUT, fleet)
        self._sign = sign
        self._notice = self._notice_of(versions.first.store.version)
        if len(self._notice) > MAX_JSON_BYTES:
            raise InputError(f"the model notice has {len(self._notice)} bytes, at most {MAX_JSON_BYTES}")
        self._layered: set[str] = set()
        """Versions whose layers the broker has, of this connection."""
        self._echoed = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._old: asyncio.Queue[str] = asyncio.Queue()

    @property
    def last_will(self) -> tuple[str, bytes]:
        """The topic and the payload of the service's last will."""
        return self._status_topic, self._status(online=False, reason=LOST)

    def _status(self, *, online: bool, reason: str) -> bytes:
        return encode(
            CloudStatus(
                online=online,
                reason=reason,
                protocol=PROTOCOL,
                models=self._versions.names[:MAX_NAMED_MODELS],
                max_part=self._versions.first.max_payload_bytes,
                layers=self._layers,
            )
        )

    async def publish_status(self, client: Client, *, online: bool, reason: str) -> None:
        """Say that the service answers reports, or does so no more."""
        payload = self._status(online=online, reason=reason)
        await self._retain(client, MessageKind.CLOUD, self._status_topic, payload)

    async def confirmed(self) -> None:
        """Wait until the broker has confirmed the notice on this connection."""
        await self._confirmed.wait()

    def begin(self) -> None:
        """Start again for a new connection: the broker has confirmed nothing yet."""
        self._confirmed.clear()
        self._echoed.clear()
        self._layered.clear()

    async def publish(self, client: Client) -> None:
        """Publish all retained messages, which the broker may have lost; wait for the notice to come back.

        Raises:
            RunError: the broker refuses our subscription to the notice, or the notice did not come back.
        """
        await subscribe(client, self._topic, 1)
        await self._publish_layers(client)
        notice = await self._publish_notice(client, self._versions.first.store.version)
        self._confirmed.set()
        try:
            async with asyncio.timeout(ECHO_S):
                await self._echoed.wait()
        except TimeoutError:
            raise RunError(
                f"the broker took our model notice ({len(notice)} bytes on {self._topic}) and did not "
                f"hand it back within {ECHO_S:g} s, so no device gets it: may this user write and read that "
                f"topic (is --fleet {self._fleet} right?), and is the broker's payload limit above that?"
            ) from None
        self._connections += 1
        reason = "start" if self._connections == 1 else "reconnect"
        await self.publish_status(client, online=True, reason=reason)

    async def publish_versions(self, client: Client) -> None:
        """Say which versions are served, after one has come or gone; before that, publish its layers."""
        await self._publish_layers(client)
        await self.publish_status(client, online=True, reason="models")

    async def announce(self, client: Client, version: str) -> None:
        """Make *version* that of all devices: its answers come after its notice."""
        await self._publish_notice(client, version)
        self._versions.choose_first(version)
        await self.publish_status(client, online=True, reason="models")

    def rollout_payload(self, notice: RolloutNotice) -> bytes:
        """Return a notice of a rollout as it is published."""
        return sign_json(encode(notice), self._rollout_topic, self._sign)

    def check_rollout(self, payload: bytes) -> bytes:
        """Return a notice of a rollout that was heard, if a service of this cloud has signed it.

        It is passed on with a signature of our own, so where there is a key nobody else's is taken.

        Raises:
            RemoteProtocolError: none has, and there is a key.
        """
        return check_json(payload, self._rollout_topic, knows_own(self._sign))

    async def publish_rollout(self, client: Client, notice: RolloutNotice) -> None:
        """Publish how far a rollout has come."""
        await self._retain(client, MessageKind.ROLLOUT, self._rollout_topic, self.rollout_payload(notice))

    async def _publish_notice(self, client: Client, version: str) -> bytes:
        self._notice = self._notice_of(version)
        await self._retain(client, MessageKind.MODEL, self._topic, self._notice)
        return self._notice

    def _notice_of(self, version: str) -> bytes:
        return sign_json(encode(self._versions.notice(version)), self._topic, self._sign)

    def handle(self, message: Message) -> bool:
        """Handle a message of the service itself; return False for the message of a device."""
        topic = message.topic.value
        if topic == self._topic:
            if not message.retain and message.payload == self._notice:
                self._echoed.set()
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
        """Clear the retained layers that we do not serve; return their number.

        A broker would keep them for ever. It sends all of them after the subscription, or none if we may not
        read them.
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
        """Publish each layer of each user group once; the broker retains it and sends it to each device."""
        if not self._layers:
            return
        missing = [each for each in self._versions.all if each.store.version not in self._layered]
        slots = asyncio.Semaphore(PUBLISHES_AT_ONCE)

        async def publish_layer(name: LayerName) -> None:
            async with slots:
                topic = layer_topic(self._fleet, name)
                part = sign_part(self._versions.layer_part(name), topic, self._sign)
                await self._retain(client, MessageKind.BLOCKS, topic, part)

        async with asyncio.TaskGroup() as tasks:
            for responder in missing:
                for group, layer, _ in responder.layer_sizes():
                    tasks.create_task(publish_layer(LayerName(responder.store.version, group, layer)))
        self._layered |= {responder.store.version for responder in missing}

    async def _retain(self, client: Client, kind: MessageKind, topic: str, payload: bytes) -> None:
        await publish(client, kind, topic, payload)
        self._statistics.sent.add(len(payload))
