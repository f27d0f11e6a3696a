"""The cloud as an MQTT service: a thin shell around the responder.

It subscribes to budget reports, publishes what the responder answers, and announces the model. It decides
nothing and keeps nothing that matters, so it may be killed and started at any moment: what was waiting at the
broker comes to it then, and a device whose answer does not come asks again. Several of them can share the
reports of a fleet.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiomqtt

from cloud.counts import Counts
from cloud.inbox import Inbox, Limits, Taken, Waiting
from cloud.versions import Versions
from wire.complaints import Complaints
from wire.connection import PUBLISHES_AT_ONCE, Connection, backoff_s
from wire.errors import RemoteProtocolError, RunError
from wire.mailbox import Message, mailbox
from wire.messages import encode
from wire.topics import (
    TABLE,
    Kind,
    LayerName,
    device_topic,
    fleet_topic,
    layer_topic,
    parse,
    shared_subscription,
    subscription,
)

LOG = logging.getLogger("peelfleet.cloud")


@dataclass(frozen=True)
class Duty:
    """Whom a service serves, and how."""

    fleet: str
    """Whose reports; the model is announced to this fleet."""
    shared: bool = False
    """Whether several services share the reports."""
    retain_blocks: bool = False
    """Publish every layer's blocks on its own topic, for devices that take them from there."""
    limits: Limits = field(default_factory=Limits)
    grace_s: float = 10.0
    """How long what was taken may take to finish when the service is told to stop."""

    @property
    def filter(self) -> str:
        """What the service subscribes to."""
        if self.shared:
            return shared_subscription(Kind.BUDGET, self.fleet)
        return subscription(Kind.BUDGET, self.fleet)


class Service:
    """A cloud service.

    Args:
        versions: what answers.
        connection: the broker.
        duty: whom it serves, and how.
        counts: kept up to date.
        draw: a number from 0 to 1, for the waits before reconnections.
    """

    def __init__(
        self,
        versions: Versions,
        connection: Connection,
        duty: Duty,
        counts: Counts,
        draw: Callable[[], float],
    ) -> None:
        self._versions = versions
        self._connection = connection
        self._duty = duty
        self._counts = counts
        self._draw = draw
        self._inbox = Inbox(duty.limits)
        self._complaints = Complaints(LOG)
        self._stirred = asyncio.Event()
        self._stopping = asyncio.Event()
        self._pee_topic = device_topic(Kind.PEE, duty.fleet, "device").removesuffix(f"device/{Kind.PEE}")

    @property
    def queued(self) -> int:
        """How many reports wait."""
        return len(self._inbox)

    def stop(self) -> None:
        """Take no more; `serve` returns when what was taken is finished."""
        self._stopping.set()
        self._stirred.set()

    async def serve(self) -> None:
        """Answer reports until stopped or cancelled; reconnect as often as it takes.

        Raises:
            RunError: the broker refuses the subscription.
        """
        failures = 0
        while not self._stopping.is_set():
            was_up = self._counts.connected
            try:
                # A new client each time: the old one would send its unanswered publishes again.
                async with aiomqtt.Client(
                    **self._connection.client_options(), queue_type=mailbox(self._take)
                ) as client:
                    await self._be_there(client)
            except* aiomqtt.MqttError as errors:
                where = f"{self._connection.host}:{self._connection.port}"
                LOG.warning("broker %s: %s; trying again", where, errors.exceptions[0])
            finally:
                self._counts.ready = False
            if self._stopping.is_set():
                return
            self._counts.broken += 1
            failures = 1 if self._counts.connected > was_up else failures + 1
            await asyncio.sleep(backoff_s(failures, self._draw()))

    async def _be_there(self, client: aiomqtt.Client) -> None:
        """Subscribe, announce and answer, until stopped or the connection breaks."""
        client.pending_calls_threshold = 2 * PUBLISHES_AT_ONCE
        await self._announce(client)
        await self._subscribe(client)
        self._counts.connected += 1
        self._counts.ready = True
        LOG.info("serving model %s to fleet %s", ", ".join(self._versions.names), self._duty.fleet)
        async with asyncio.TaskGroup() as tasks:
            broken = tasks.create_task(_until_broken(client))
            await self._answer_all(client, tasks)
            self._counts.ready = False
            broken.cancel()

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        granted = await client.subscribe(self._duty.filter, qos=TABLE[Kind.BUDGET].qos)
        if any((code if isinstance(code, int) else code.value) >= 128 for code in granted):
            raise RunError(f"the broker refuses to let us subscribe to {self._duty.filter}")

    async def _announce(self, client: aiomqtt.Client) -> None:
        """Publish what the broker retains: it may have forgotten it, where it was killed."""
        if self._duty.retain_blocks:
            await self._retain_blocks(client)
        route = TABLE[Kind.MODEL]
        notice = encode(self._versions.first.notice())
        topic = fleet_topic(Kind.MODEL, self._duty.fleet)
        await client.publish(topic, notice, qos=route.qos, retain=route.retained)

    async def _retain_blocks(self, client: aiomqtt.Client) -> None:
        """Publish each layer of each user group once; the broker keeps it and fans it out."""
        route, slots = TABLE[Kind.BLOCKS], asyncio.Semaphore(PUBLISHES_AT_ONCE)

        async def publish(name: LayerName) -> None:
            async with slots:
                part, topic = self._versions.layer_part(name), layer_topic(self._duty.fleet, name)
                await client.publish(topic, part, qos=route.qos, retain=route.retained)

        async with asyncio.TaskGroup() as publishing:
            for responder in self._versions.all:
                for group, layer, _ in responder.layer_sizes():
                    publishing.create_task(publish(LayerName(responder.store.version, group, layer)))

    def _take(self, message: Message) -> None:
        """Take in what has arrived: the broker has been told that it has."""
        counts, now_s = self._counts, time.monotonic()
        counts.received += 1
        topic = message.topic.value
        try:
            address = parse(topic)
        except RemoteProtocolError as error:
            self._refuse(error, topic)
            return
        match self._inbox.put(address.device or "", message.payload, now_s):
            case Taken.QUEUED:
                self._stirred.set()
            case Taken.SUPERSEDED:
                counts.superseded += 1
            case dropped:
                counts.dropped[dropped.value] += 1
                self._complaints.complain(dropped.value, topic, f"dropped: {dropped.value}", now_s)

    def _refuse(self, error: RemoteProtocolError, topic: str) -> None:
        self._counts.refused[error.reason.value] += 1
        self._complaints.complain(error.reason.value, topic, str(error), time.monotonic())

    async def _answer_all(self, client: aiomqtt.Client, tasks: asyncio.TaskGroup) -> None:
        """Answer what waits, so many at a time, until told to stop and nothing is left."""
        slots = asyncio.Semaphore(PUBLISHES_AT_ONCE)
        deadline_s = None
        while True:
            while len(self._inbox):
                await slots.acquire()
                self._answer(client, tasks, slots)
            if self._stopping.is_set():
                if deadline_s is None:
                    deadline_s = time.monotonic() + self._duty.grace_s
                    await self._leave(client)
                if not len(self._inbox) and (not self._counts.flying or time.monotonic() > deadline_s):
                    return
                await asyncio.sleep(0.01)
                continue
            await self._stirred.wait()
            self._stirred.clear()

    async def _leave(self, client: aiomqtt.Client) -> None:
        """Let the others have what comes from now on; alone, the broker keeps it for our next start."""
        LOG.info("stopping: finishing %d reports", len(self._inbox) + self._counts.flying)
        if self._duty.shared:
            await client.unsubscribe(self._duty.filter)

    def _answer(self, client: aiomqtt.Client, tasks: asyncio.TaskGroup, slots: asyncio.Semaphore) -> None:
        counts, waiting, began_s = self._counts, self._inbox.pop(), time.monotonic()
        try:
            parts = self._versions.answer(waiting.payload)
        except RemoteProtocolError as error:
            self._refuse(error, device_topic(Kind.BUDGET, self._duty.fleet, waiting.device))
            slots.release()
            return
        except Exception:  # a mistake of ours: one report of one device must not end the service for all
            LOG.exception("device %s: its report could not be answered", waiting.device)
            counts.refused["internal_error"] += 1
            slots.release()
            return
        counts.selection.add(time.monotonic() - began_s)
        counts.flying += 1
        tasks.create_task(self._reply(client, waiting, parts, slots))

    async def _reply(
        self, client: aiomqtt.Client, waiting: Waiting, parts: tuple[bytes, ...], slots: asyncio.Semaphore
    ) -> None:
        counts, topic = self._counts, f"{self._pee_topic}{waiting.device}/{Kind.PEE.value}"
        try:
            for part in parts:
                await client.publish(topic, part, qos=TABLE[Kind.PEE].qos)
                counts.parts += 1
                counts.part_bytes += len(part)
            counts.answered += 1
            counts.answers.add(time.monotonic() - waiting.arrived_s)
        except aiomqtt.MqttError as error:
            # The connection is gone and its loop ends too; the device asks again.
            counts.unanswered += 1
            LOG.debug("an answer on %s was not sent: %s", topic, error)
        except asyncio.CancelledError:
            counts.unanswered += 1
            raise
        finally:
            counts.flying -= 1
            slots.release()


async def _until_broken(client: aiomqtt.Client) -> None:
    """Wait until the connection breaks; nothing ever comes out of the queue."""
    async for _ in client.messages:
        raise AssertionError("a mailbox keeps nothing")
